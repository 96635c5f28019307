//! Organizations: the tree of units and the accounts in it, AWS JSON 1.1.
//!
//! # Source
//! botocore `data/organizations/2016-11-28/service-2.json`: pages of 20 at most, callable from the management account and delegated
//! administrators.

use super::answer::Refusal;
use super::wire::Value;
use super::world::{AccountSpec, ROOT, UnitSpec, World};

const PAGE_SIZE: usize = 20;

pub(super) fn handle(
    world: &World,
    caller: &str,
    operation: &str,
    input: &Value,
) -> Result<Value, Refusal> {
    let Some(organization) = &world.organization else {
        return Err(refusal(
            "AWSOrganizationsNotInUseException",
            "Your account is not a member of an organization.",
        ));
    };
    if organization.management != caller && !organization.delegates.iter().any(|d| d == caller) {
        return Err(refusal(
            "AccessDeniedException",
            "You don't have permissions to access this resource.",
        ));
    }
    match operation {
        "ListRoots" => Ok(map("Roots", vec![named(ROOT, "Root")], None)),
        "ListAccounts" => {
            let accounts = world.accounts.iter().map(account).collect();
            page("Accounts", accounts, input)
        }
        "ListAccountsForParent" => {
            let parent = parent(world, input)?;
            let accounts = world.accounts.iter().filter(|a| a.ou == parent);
            page("Accounts", accounts.map(account).collect(), input)
        }
        "ListOrganizationalUnitsForParent" => {
            let parent = parent(world, input)?;
            let units = world.units.iter().filter(|u| u.parent == parent);
            let units = units.map(|u: &UnitSpec| named(&u.id, &u.name)).collect();
            page("OrganizationalUnits", units, input)
        }
        other => Err(refusal(
            "InvalidAction",
            &format!("{other} is not emulated"),
        )),
    }
}

fn parent<'a>(world: &World, input: &'a Value) -> Result<&'a str, Refusal> {
    let id = input.str("ParentId").unwrap_or("");
    if id == ROOT || world.units.iter().any(|u| u.id == id) {
        return Ok(id);
    }
    Err(refusal(
        "ParentNotFoundException",
        "You specified parent that doesn't exist.",
    ))
}

fn account(given: &AccountSpec) -> Value {
    let name = given.name.as_deref().unwrap_or(&given.id);
    let pair = |key: &str, value: &str| (key.to_owned(), Value::text(value));
    Value::Map(vec![
        pair("Id", &given.id),
        pair("Name", name),
        pair("State", &given.state),
    ])
}

fn named(id: &str, name: &str) -> Value {
    Value::Map(vec![
        ("Id".to_owned(), Value::text(id)),
        ("Name".to_owned(), Value::text(name)),
    ])
}

fn page(key: &str, all: Vec<Value>, input: &Value) -> Result<Value, Refusal> {
    let from = match input.str("NextToken") {
        None => 0,
        Some(token) => token
            .strip_prefix("org-")
            .and_then(|n| n.parse::<usize>().ok())
            .ok_or_else(|| {
                refusal(
                    "InvalidInputException",
                    "The next token is not one of ours.",
                )
            })?,
    };
    let rest = all.len().saturating_sub(from);
    let token = (rest > PAGE_SIZE).then(|| format!("org-{}", from + PAGE_SIZE));
    Ok(map(
        key,
        all.into_iter().skip(from).take(PAGE_SIZE).collect(),
        token,
    ))
}

fn map(key: &str, list: Vec<Value>, token: Option<String>) -> Value {
    let mut pairs = vec![(key.to_owned(), Value::List(list))];
    pairs.extend(token.map(|token| ("NextToken".to_owned(), Value::Text(token))));
    Value::Map(pairs)
}

fn refusal(code: &'static str, message: &str) -> Refusal {
    Refusal {
        status: 400,
        code,
        message: message.to_owned(),
    }
}
