//! Which shard of which group a process is: as it was typed, else as the engine that started it says.

use super::given::Environment;
use super::range::RangeError;
use crate::model::{GroupName, Shard};

/// What was typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardTyped {
    /// `--shard`.
    pub shard: Option<String>,
    /// `--group`, or `CWLAKE_GROUP`.
    pub group: Option<String>,
}

/// A shard, and the group it belongs to if that has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardFound {
    /// Which.
    pub shard: Shard,
    /// The name of its group; without one it is named by what is asked.
    pub group: Option<GroupName>,
    /// Who said so, for people.
    pub said_by: &'static str,
}

const GROUP_HINT: &str = "use letters, digits, - and _, 100 at most";

/// Reads the name of a group.
///
/// # Errors
/// [`RangeError`] for a name that cannot be part of a key.
pub fn group_name(flag: &'static str, text: &str) -> Result<GroupName, RangeError> {
    let message = || {
        format!(
            "'{}' cannot name a group: {GROUP_HINT}",
            text.escape_debug()
        )
    };
    GroupName::parse(text).ok_or_else(|| RangeError {
        flag,
        message: message(),
    })
}

/// The shard that this process is, if it is one.
///
/// # Errors
/// [`RangeError`] for a shard that is none, or an engine that does not say how many there are.
///
/// # Source
/// AWS Batch user guide, "Array jobs" and "Job environment variables"; Kubernetes, "Indexed Job"; Slurm `sbatch(1)`, "Job arrays".
pub fn shard(
    typed: &ShardTyped,
    environment: &Environment,
) -> Result<Option<ShardFound>, RangeError> {
    let group = typed.group.as_deref();
    let group = group.map(|text| group_name("--group", text)).transpose()?;
    let Some((flag, said_by, text)) = said(typed, environment)? else {
        return match group {
            // Who names a group has meant to run a part of it.
            Some(group) if typed.shard.is_none() => Err(RangeError {
                flag: "--group",
                message: format!(
                    "{group} needs to know which shard this is: add --shard, such as 3/16"
                ),
            }),
            _ => Ok(None),
        };
    };
    let shard = Shard::parse(&text).ok_or_else(|| RangeError {
        flag,
        message: format!(
            "'{}' is no shard: write 3/16 for the third of sixteen, {} at most",
            text.escape_debug(),
            Shard::MOST
        ),
    })?;
    Ok(Some(ShardFound {
        shard,
        group: group.or_else(|| engine_group(said_by, environment)),
        said_by,
    }))
}

const TYPED: &str = "--shard";
const VARIABLE: &str = "CWLAKE_SHARD";
const BATCH: &str = "AWS Batch";
const SLURM: &str = "Slurm";
const KUBERNETES: &str = "Kubernetes";

type Said = (&'static str, &'static str, String);

/// The first that says it: which flag or variable, who, and the text of the shard.
fn said(typed: &ShardTyped, environment: &Environment) -> Result<Option<Said>, RangeError> {
    if let Some(text) = &typed.shard {
        return Ok(Some((TYPED, TYPED, text.clone())));
    }
    if let Some(text) = environment.get(VARIABLE) {
        return Ok(Some((VARIABLE, VARIABLE, text)));
    }
    let from_zero = |index: &str, first: &str| {
        let number = |text: &str| text.parse::<u32>().ok();
        let index = number(index)?.checked_sub(number(first)?)?;
        Some(index.saturating_add(1).to_string())
    };
    // What is no number is shown as it stands.
    let of = |index: String, first: &str, count: &str| {
        let index = from_zero(&index, first).unwrap_or(index);
        format!("{index}/{count}")
    };
    let batch = "AWS_BATCH_JOB_ARRAY_INDEX";
    if let (Some(index), Some(count)) = (
        environment.get(batch),
        environment.get("AWS_BATCH_JOB_ARRAY_SIZE"),
    ) {
        return Ok(Some((batch, BATCH, of(index, "0", &count))));
    }
    let slurm = "SLURM_ARRAY_TASK_ID";
    if let (Some(index), Some(count)) = (
        environment.get(slurm),
        environment.get("SLURM_ARRAY_TASK_COUNT"),
    ) {
        let first = environment.get("SLURM_ARRAY_TASK_MIN").unwrap_or_default();
        return Ok(Some((slurm, SLURM, of(index, &first, &count))));
    }
    let indexed = "JOB_COMPLETION_INDEX";
    let Some(index) = environment.get(indexed) else {
        return Ok(None);
    };
    // It is set by every Indexed Job, and tells no number.
    match environment.get("CWLAKE_SHARDS") {
        Some(count) => Ok(Some((indexed, KUBERNETES, of(index, "0", &count)))),
        None => Err(RangeError {
            flag: indexed,
            message: "this is a pod of an Indexed Job, and how many there are is not said: set CWLAKE_SHARDS to the Job's completions, or type --shard 1/1 to run all in this one".to_owned(),
        }),
    }
}

/// What the engine calls the group: it is another one each time the array is started.
fn engine_group(said_by: &str, environment: &Environment) -> Option<GroupName> {
    let name = match said_by {
        BATCH => {
            let job = environment.get("AWS_BATCH_JOB_ID")?;
            // `JOB:INDEX`.
            job.split(':').next().map(str::to_owned)?
        }
        SLURM => environment.get("SLURM_ARRAY_JOB_ID")?,
        _ => return None,
    };
    GroupName::parse(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(
        typed: (&str, &str),
        variables: &[(&str, &str)],
    ) -> Result<Option<ShardFound>, RangeError> {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let typed = ShardTyped {
            shard: given(typed.0),
            group: given(typed.1),
        };
        let variables = variables
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        shard(&typed, &variables.collect())
    }

    fn text(found: &Result<Option<ShardFound>, RangeError>) -> String {
        match found {
            Ok(None) => "none".to_owned(),
            Ok(Some(ShardFound {
                shard,
                group,
                said_by,
            })) => {
                let group = group.as_ref().map_or("-", GroupName::as_str);
                format!("{shard} {group} {said_by}")
            }
            Err(error) => format!("{} refused", error.flag),
        }
    }

    #[test]
    fn engines_say_which_shard_it_is_unless_it_is_typed() {
        let batch = [
            ("AWS_BATCH_JOB_ARRAY_INDEX", "2"),
            ("AWS_BATCH_JOB_ARRAY_SIZE", "16"),
            ("AWS_BATCH_JOB_ID", "a1b2-c3:2"),
        ];
        let slurm = [
            ("SLURM_ARRAY_TASK_ID", "12"),
            ("SLURM_ARRAY_TASK_MIN", "10"),
            ("SLURM_ARRAY_TASK_COUNT", "4"),
            ("SLURM_ARRAY_JOB_ID", "77"),
        ];
        let pod = [("JOB_COMPLETION_INDEX", "0"), ("CWLAKE_SHARDS", "3")];
        for (name, typed, variables, expected) in [
            ("nothing", ("", ""), &[][..], "none"),
            ("typed", ("3/16", ""), &[], "3/16 - --shard"),
            ("typed with a group", ("3/16", "g"), &[], "3/16 g --shard"),
            (
                "a variable",
                ("", ""),
                &[("CWLAKE_SHARD", "2/4")],
                "2/4 - CWLAKE_SHARD",
            ),
            ("batch", ("", ""), &batch, "3/16 a1b2-c3 AWS Batch"),
            ("batch with a group", ("", "g"), &batch, "3/16 g AWS Batch"),
            ("typed over batch", ("1/2", ""), &batch, "1/2 - --shard"),
            ("slurm", ("", ""), &slurm, "3/4 77 Slurm"),
            ("a pod", ("", "g"), &pod, "1/3 g Kubernetes"),
            (
                "a pod without a number",
                ("", ""),
                &pod[..1],
                "JOB_COMPLETION_INDEX refused",
            ),
            ("a group alone", ("", "g"), &[], "--group refused"),
            ("a group's name", ("1/2", "a/b"), &[], "--group refused"),
            ("no shard", ("17/16", ""), &[], "--shard refused"),
            (
                "a broken variable",
                ("", ""),
                &[("CWLAKE_SHARD", "x")],
                "CWLAKE_SHARD refused",
            ),
            (
                "a broken engine",
                ("", ""),
                &[
                    ("AWS_BATCH_JOB_ARRAY_INDEX", "x"),
                    ("AWS_BATCH_JOB_ARRAY_SIZE", "4"),
                ],
                "AWS_BATCH_JOB_ARRAY_INDEX refused",
            ),
        ] {
            assert_eq!(text(&found(typed, variables)), expected, "{name}");
        }
    }
}
