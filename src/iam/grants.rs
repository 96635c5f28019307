//! From a configuration to the policies it needs.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::ExposeSecret;

use crate::lake::layout::{COMPACTED, CONTROL_FOLDER, SPOOL};
use crate::lake::table::unit_tables;
use crate::model::{AccountId, Dataset};
use serde_json::{Map, Value, json};

use super::parts::{
    ACCOUNT, ExternalIds, GrantsError, Others, external_ids, name_in, wildcard, writer_statements,
};
use super::policy::{Policy, Statement};
use super::principal::{OrgId, Principal};
use crate::config::{
    AccountConfig, Channel, Destination, ExportConfig, OrganizationConfig, RegionChoice,
    RoleConfig, Source,
};

/// Everything a configuration needs to be allowed.
#[derive(Clone, Debug)]
pub struct Grants<'a> {
    config: &'a ExportConfig,
}

/// The role of a template: one name for all accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderRole {
    /// With slashes at both ends.
    pub path: String,
    /// With `{account_id}` where the account's id stands.
    pub name: String,
    /// What its trust policy asks for.
    pub external_ids: ExternalIds,
    /// What it may do.
    pub policy: Policy,
}

/// What reading with the given actions takes. Their resource is always `*`: CloudWatch and EC2 describe calls know no other.
///
/// # Source
/// Service authorization reference, "Actions defined by Amazon CloudWatch" and "… Amazon EC2".
pub fn reader_statement(actions: &[&str]) -> Statement {
    Statement::allow("CwlakeRead", actions, vec!["*".to_owned()])
}

impl<'a> Grants<'a> {
    /// The grants of a configuration.
    pub fn of(config: &'a ExportConfig) -> Self {
        Self { config }
    }

    /// Actions a reader needs, whose regions are found by themselves or not. Their resource is `*`.
    fn reader_actions(&self, finds_regions: bool) -> BTreeSet<&'static str> {
        let config = self.config;
        let selections = || config.selections.iter();
        let mut actions = BTreeSet::new();
        for dataset in Dataset::ALL.into_iter().filter(|d| config.configures(*d)) {
            match dataset {
                Dataset::Metrics => {
                    actions.insert("cloudwatch:GetMetricData");
                    if selections().any(|s| matches!(s.source, Source::List)) {
                        actions.insert("cloudwatch:ListMetrics");
                    }
                    if selections().any(|s| matches!(s.source, Source::Ec2(_))) {
                        actions.insert("ec2:DescribeInstances");
                    }
                }
                Dataset::Instances => {
                    actions.insert("ec2:DescribeInstances");
                }
                // Events are allowed by group, in a statement of their own.
                Dataset::Logs => {
                    actions.insert("logs:DescribeLogGroups");
                }
                Dataset::Spend => {
                    actions.extend(["cloudwatch:GetMetricData", "cloudwatch:ListMetrics"]);
                }
                Dataset::Alarms => {
                    actions.insert("cloudwatch:DescribeAlarms");
                }
                Dataset::AlarmHistory => {
                    actions.insert("cloudwatch:DescribeAlarmHistory");
                }
            }
        }
        if self.links() {
            actions.insert("cloudwatch:ListMetrics");
        }
        if finds_regions {
            actions.insert("ec2:DescribeRegions");
        }
        actions
    }

    /// What reading takes.
    fn reader_statements(&self, finds_regions: bool) -> Vec<Statement> {
        let actions: Vec<&str> = self.reader_actions(finds_regions).into_iter().collect();
        let mut statements = vec![reader_statement(&actions)];
        statements.extend(self.logs_statement());
        statements
    }

    /// What reading log events takes: of the groups that are selected, and no others.
    ///
    /// # Source
    /// Service authorization reference, "Actions defined by Amazon CloudWatch Logs": `FilterLogEvents` is about a log group, `GetLogEvents` about
    /// a stream of one.
    pub fn logs_statement(&self) -> Option<Statement> {
        let logs = &self.config.logs;
        let mut actions = Vec::new();
        if logs.iter().any(|s| !s.reads_streams()) {
            actions.push("logs:FilterLogEvents");
        }
        if logs.iter().any(crate::config::LogSelection::reads_streams) {
            actions.push("logs:GetLogEvents");
        }
        if actions.is_empty() {
            return None;
        }
        let partition = self.config.partition().as_str();
        let groups = logs.iter().flat_map(|s| s.groups.texts());
        let groups: BTreeSet<String> = groups.map(|g| wildcard(g)).collect();
        let resource = |group: &String| format!("arn:{partition}:logs:*:*:log-group:{group}:*");
        let resources = groups.iter().map(resource).collect();
        Some(Statement::allow("CwlakeLogs", &actions, resources))
    }

    /// What sending an alert takes.
    ///
    /// # Source
    /// SES developer guide, "Controlling access to Amazon SES": a raw message needs `SendRawEmail` as well.
    fn alert_statement(&self, channel: &Channel) -> Option<Statement> {
        let allow = |sid: &str, action: &str, arn: &str| {
            Some(Statement::allow(sid, &[action], vec![arn.to_owned()]))
        };
        match channel {
            Channel::Ses {
                region,
                role,
                configuration_set,
            } => {
                let from = self.config.alert.as_ref()?.mail.as_ref()?.from.clone();
                let actions = ["ses:SendEmail", "ses:SendRawEmail"];
                let owner = role.as_ref().and_then(RoleConfig::account);
                let owner = owner.map_or("*".to_owned(), |id| id.to_string());
                let partition = region.partition().as_str();
                let of = |what: &str| format!("arn:{partition}:ses:{region}:{owner}:{what}");
                // The identity may be the address, its domain, or one above it.
                let mut resources = vec![of("identity/*")];
                let set = configuration_set.as_ref();
                resources.extend(set.map(|set| of(&format!("configuration-set/{set}"))));
                let statement = Statement::allow("CwlakeMail", &actions, resources);
                Some(statement.when("StringEquals", "ses:FromAddress", from))
            }
            Channel::EventBus { arn, .. } => allow("CwlakeEvent", "events:PutEvents", arn),
            Channel::Sns { arn, .. } => allow("CwlakeTopic", "sns:Publish", arn),
            Channel::Smtp { .. } => None,
        }
    }

    fn channels(&self) -> impl Iterator<Item = &Channel> {
        self.config.alert.iter().flat_map(|a| &a.channels)
    }

    fn links(&self) -> bool {
        self.config.accounts.iter().any(|a| a.linked_accounts)
    }

    fn finds_regions(&self) -> bool {
        let organization = self.config.organization.as_ref();
        self.config
            .accounts
            .iter()
            .any(|a| a.regions == RegionChoice::Auto)
            || organization.is_some_and(OrganizationConfig::finds_regions)
    }

    /// The policy of the role in each account.
    pub fn reader_policy(&self) -> Policy {
        Policy::of(self.reader_statements(self.finds_regions()))
    }

    /// The trust policy of a role.
    pub fn trust_policy(
        principal: &Principal,
        external_id: Option<&str>,
        organization: Option<&OrgId>,
    ) -> Policy {
        let mut statement = Statement::allow("CwlakeAssume", &["sts:AssumeRole"], Vec::new())
            .to("AWS", principal.arn());
        if let Some(id) = external_id {
            statement = statement.when("StringEquals", "sts:ExternalId", id);
        }
        if let Some(organization) = organization {
            statement = statement.when("StringEquals", "aws:PrincipalOrgID", organization.as_str());
        }
        Policy::of(vec![statement])
    }

    /// The policy of whoever runs cwlake: to assume the roles, to list the organization, and to do itself what no role does for it.
    /// `None` when that is nothing.
    pub fn caller_policy(&self) -> Option<Policy> {
        let mut statements = Vec::new();
        let mut roles: BTreeSet<String> = self.roles().map(|r| r.arn.clone()).collect();
        if let Some(organization) = &self.config.organization {
            roles.insert(organization.role_pattern("*", "*"));
            match &organization.role {
                Some(role) => {
                    roles.insert(role.arn.clone());
                }
                None => statements.push(self.organization_statement()),
            }
        }
        if let Destination::S3(s3) = &self.config.destination {
            match &s3.role {
                Some(role) => {
                    roles.insert(role.arn.clone());
                }
                None => statements.extend(self.writer_statements()),
            }
        }
        if self.config.accounts.iter().any(|a| a.role.is_none()) {
            let base = self.config.accounts.iter().filter(|a| a.role.is_none());
            let finds = base.clone().any(|a| a.regions == RegionChoice::Auto);
            statements.splice(0..0, self.reader_statements(finds));
        }
        for channel in self.channels() {
            match channel.role() {
                Some(role) => {
                    roles.insert(role.arn.clone());
                }
                None => statements.extend(self.alert_statement(channel)),
            }
        }
        if !roles.is_empty() {
            let roles = roles.into_iter().collect();
            statements.insert(
                0,
                Statement::allow("CwlakeAssume", &["sts:AssumeRole"], roles),
            );
        }
        (!statements.is_empty()).then(|| Policy::of(statements))
    }

    /// The policy of the role that lists the organization, when the configuration names one.
    pub fn organization_policy(&self) -> Option<Policy> {
        let organization = self.config.organization.as_ref()?;
        organization.role.as_ref()?;
        Some(Policy::of(vec![self.organization_statement()]))
    }

    /// The policy of whoever writes to the bucket.
    ///
    /// # Errors
    /// [`GrantsError::LocalDestination`].
    pub fn writer_policy(&self) -> Result<Policy, GrantsError> {
        match &self.config.destination {
            Destination::Local(_) => Err(GrantsError::LocalDestination),
            Destination::S3(_) => Ok(Policy::of(self.writer_statements())),
        }
    }

    /// What writing to the destination takes; nothing for a folder.
    pub fn writer_statements(&self) -> Vec<Statement> {
        match &self.config.destination {
            Destination::Local(_) => Vec::new(),
            Destination::S3(s3) => {
                let written = unit_tables().filter(|t| self.config.configures(t.dataset));
                // A forced empty unit, and compacted files that others took the place of.
                let mut tables: Vec<String> = written.map(|t| format!("{t}/*")).collect();
                let prunes = self.config.compact.prune_after_days.is_some();
                tables.extend(prunes.then(|| format!("{COMPACTED}*")));
                tables.sort_unstable();
                // The probe of cwlake doctor, the locks of shards, old reports, and answers that were kept.
                let mut removes: Vec<String> = ["probe-*", "locks/*", "runs/*", "groups/*"]
                    .map(|of_lake| format!("{CONTROL_FOLDER}/{of_lake}"))
                    .into();
                let shares = self.config.run.spool_in_bucket;
                removes.extend(shares.then(|| format!("{SPOOL}*")));
                removes.extend(tables);
                writer_statements(s3, self.config.partition(), &removes)
            }
        }
    }

    /// What listing the organization takes.
    ///
    /// # Source
    /// Organizations API reference; the resource of list calls is `*` in the service authorization reference, or the organization's root.
    pub fn organization_statement(&self) -> Statement {
        let organization = self.config.organization.as_ref();
        let by_units = organization.is_some_and(OrganizationConfig::has_units);
        let actions: &[&str] = if by_units {
            &[
                "organizations:ListAccountsForParent",
                "organizations:ListOrganizationalUnitsForParent",
                "organizations:ListRoots",
            ]
        } else {
            &["organizations:ListAccounts"]
        };
        Statement::allow("CwlakeOrganization", actions, vec!["*".to_owned()])
    }

    /// The accounts of the file, or those of them that are named by flag.
    fn accounts(&self) -> impl Iterator<Item = &AccountConfig> {
        let accounts = self.config.accounts.iter();
        accounts.filter(|a| self.config.is_about(&a.id))
    }

    fn roles(&self) -> impl Iterator<Item = &crate::config::RoleConfig> {
        self.config.accounts.iter().filter_map(|a| a.role.as_ref())
    }

    /// The one role that a template can create in every account.
    ///
    /// # Errors
    /// Accounts whose roles or external ids differ in more than the account, or no role at all.
    pub fn reader_role(&self) -> Result<ReaderRole, GrantsError> {
        let ids = self.known_ids()?;
        let own = self.accounts().filter_map(|a| {
            let resource = name_in(&a.role.as_ref()?.arn);
            Some(resource.replace(a.id.as_str(), ACCOUNT))
        });
        let mut names: BTreeSet<String> = own.collect();
        let is_listed = |id: &AccountId| self.config.accounts.iter().any(|a| a.id == *id);
        let has_flag = self.config.has_account_flag();
        // Of accounts named by flag that all have a role of their own, the organization's is none.
        let are_own = has_flag && ids.keys().all(is_listed) && !names.is_empty();
        if let (Some(organization), false) = (&self.config.organization, are_own) {
            let pattern = organization.role_pattern(ACCOUNT, "{name}");
            names.insert(name_in(&pattern).to_owned());
        }
        let mut all = names.into_iter();
        let Some(resource) = all.next() else {
            return Err(GrantsError::NoRole);
        };
        let others: Vec<String> = all.collect();
        if !others.is_empty() {
            return Err(GrantsError::DifferentRoles(format!(
                "{resource}, {}",
                others.join(", ")
            )));
        }
        if resource.contains("{name}") {
            return Err(GrantsError::UnknownNames);
        }
        let (path, name) = match resource.rsplit_once('/') {
            Some((path, name)) => (format!("/{path}/"), name.to_owned()),
            None => ("/".to_owned(), resource.clone()),
        };
        Ok(ReaderRole {
            path,
            name,
            external_ids: external_ids(ids, &self.others())?,
            policy: self.reader_policy(),
        })
    }

    /// All policies as one document: what `cwlake iam` prints.
    ///
    /// # Errors
    /// Roles without anybody who assumes them.
    pub fn document(
        &self,
        principal: Option<&Principal>,
        organization: Option<&OrgId>,
    ) -> Result<Value, GrantsError> {
        let mut document = Map::new();
        let mut add = |key: &str, policy: Option<Policy>| {
            if let Some(policy) = policy {
                document.insert(key.to_owned(), policy.json());
            }
        };
        add("caller_policy", self.caller_policy());
        add("organization_policy", self.organization_policy());
        if self.roles().next().is_some() || self.config.organization.is_some() {
            add("reader_policy", Some(self.reader_policy()));
            let principal = principal.ok_or(GrantsError::NoPrincipal)?;
            document.insert(
                "trust_policies".to_owned(),
                self.trust_policies(principal, organization)?,
            );
        }
        if let Destination::S3(s3) = &self.config.destination
            && s3.role.is_some()
        {
            let policy = Policy::of(self.writer_statements());
            document.insert("writer_policy".to_owned(), policy.json());
        }
        for channel in self.channels().filter(|c| c.role().is_some()) {
            if let Some(statement) = self.alert_statement(channel) {
                let key = format!("alert_{}_policy", channel.name());
                document.insert(key, Policy::of(vec![statement]).json());
            }
        }
        Ok(Value::Object(document))
    }

    /// By account; `organization` stands for every account of it that has no external id of its own.
    ///
    /// # Errors
    /// [`GrantsError::WithoutId`].
    pub fn trust_policies(
        &self,
        principal: &Principal,
        organization: Option<&OrgId>,
    ) -> Result<Value, GrantsError> {
        let mut by_account = Map::new();
        let trust = |id: Option<&str>| Self::trust_policy(principal, id, organization).json();
        if let Others::Send(form) = self.others() {
            by_account.insert("organization".to_owned(), trust(form.as_deref()));
        }
        for (account, id) in self.known_ids()? {
            by_account.insert(account.to_string(), trust(id.as_deref()));
        }
        Ok(json!(by_account))
    }

    /// What the accounts of the organization send that are not known here.
    fn others(&self) -> Others {
        let Some(organization) = &self.config.organization else {
            return Others::Nobody;
        };
        let form = organization.external_id_form();
        // Where a file lists the ids, every account is meant to be in it.
        let is_listed = form.is_none() && !organization.external_ids().is_empty();
        if self.config.has_account_flag() || is_listed {
            Others::Nobody
        } else {
            Others::Send(form)
        }
    }

    /// What each account that is known here sends, none where it sends none.
    fn known_ids(&self) -> Result<BTreeMap<AccountId, Option<String>>, GrantsError> {
        let mut ids: BTreeMap<AccountId, Option<String>> = BTreeMap::new();
        if let Some(organization) = &self.config.organization {
            let usual = organization.external_id_form();
            let listed = organization.external_ids();
            let flagged = self.config.flagged_accounts();
            let known = if flagged.is_empty() {
                listed.keys().cloned().collect()
            } else {
                flagged
            };
            for id in known {
                let form = usual.as_ref().map(|f| f.replace(ACCOUNT, id.as_str()));
                let own = listed.get(&id).cloned().or(form);
                ids.insert(id, own);
            }
        }
        for account in self.accounts() {
            match &account.role {
                Some(role) => {
                    let id = role.external_id.as_ref();
                    let id = id.map(|id| id.expose_secret().to_owned());
                    ids.insert(account.id.clone(), id);
                }
                None => {
                    ids.remove(&account.id);
                }
            }
        }
        // A file lists the ids: an account that is not in it would get a role that never asks for the one it is given later.
        let without = ids.iter().find(|(_, id)| id.is_none());
        match without {
            Some((account, _)) if self.config.external_ids_file.is_some() => {
                Err(GrantsError::WithoutId(account.clone()))
            }
            _ => Ok(ids),
        }
    }
}
