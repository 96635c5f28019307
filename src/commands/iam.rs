//! `iam`.

use cwlake::cli::{IamArgs, IamFormat, IamPart};
use cwlake::exit::Usage;
use cwlake::iam::{
    AlarmThreshold, BillingAlarm, Grants, GrantsError, OrgId, Principal, reader_module,
    reader_template, writer_module, writer_template,
};
use cwlake::model::AccountId;
use serde_json::json;

use super::{load_config, print};

pub(super) async fn iam(args: &IamArgs) -> anyhow::Result<u8> {
    let organization = args.org_id.as_deref().map(OrgId::parse).transpose()?;
    let config = load_config(&args.config, None).await?;
    let alarm = match (args.with_billing_alarm, &args.event_bus) {
        (Some(usd), Some(bus)) => {
            let threshold = match usd {
                Some(usd) => AlarmThreshold::One(usd),
                None => AlarmThreshold::of_budgets(&config).map_err(Usage)?,
            };
            Some(BillingAlarm::new(threshold, bus).map_err(Usage)?)
        }
        _ => None,
    };
    let principal = args.principal.as_deref();
    let principal = principal
        .map(|text| Principal::parse(text, config.partition()))
        .transpose()?;
    let grants = Grants::of(&config);
    let organization = organization.as_ref();
    let who = || principal.as_ref().ok_or(GrantsError::NoPrincipal);
    let unfit = || Usage("--part: a template is of the reader or of the writer".to_owned());
    let only_in_templates = || {
        Usage("--with-billing-alarm: a part of the cloudformation template of the reader, and of --part bus".to_owned())
    };
    let text = match (args.format, args.part) {
        (IamFormat::Cloudformation, None | Some(IamPart::Reader)) => {
            reader_template(&grants.reader_role()?, who()?, organization, alarm.as_ref())?
        }
        (IamFormat::Json, Some(IamPart::Bus)) => {
            let alarm = alarm.ok_or_else(|| {
                Usage("--part bus: --with-billing-alarm and --event-bus say which".to_owned())
            })?;
            let accounts: Vec<AccountId> = config.accounts.iter().map(|a| a.id.clone()).collect();
            if organization.is_none() && (config.organization.is_some() || accounts.is_empty()) {
                return Err(
                    Usage("--part bus: --org-id says whose accounts may send".to_owned()).into(),
                );
            }
            format!("{:#}\n", alarm.bus_policy(organization, &accounts))
        }
        _ if alarm.is_some() => return Err(only_in_templates().into()),
        (IamFormat::Cloudformation, Some(IamPart::Writer)) => {
            writer_template(&grants.writer_policy()?)
        }
        (IamFormat::Terraform, None | Some(IamPart::Reader)) => {
            reader_module(&grants.reader_role()?, who()?, organization)
        }
        (IamFormat::Terraform, Some(IamPart::Writer)) => writer_module(&grants.writer_policy()?),
        (IamFormat::Cloudformation | IamFormat::Terraform, Some(_)) => return Err(unfit().into()),
        (IamFormat::Json, part) => {
            let value = match part {
                None => grants.document(principal.as_ref(), organization)?,
                Some(IamPart::Reader) => grants.reader_policy().json(),
                Some(IamPart::Trust) => grants.trust_policies(who()?, organization)?,
                Some(IamPart::Caller) => grants.caller_policy().map_or(json!({}), |p| p.json()),
                Some(IamPart::Writer) => grants.writer_policy()?.json(),
                Some(IamPart::Bus) => return Err(unfit().into()),
            };
            format!("{value:#}\n")
        }
    };
    print(&text)?;
    Ok(0)
}
