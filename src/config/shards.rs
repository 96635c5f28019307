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
            "'{}' is no shard{}: write 3/16 for the third of sixteen, {} at most",
            text.escape_debug(),
            if flag == said_by {
                String::new()
            } else {
                format!(" of what {said_by} says there are")
            },
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

type Said = (&'static str, &'static str, String);

/// The first that says it: which flag or variable, who, and the text of the shard.
fn said(typed: &ShardTyped, environment: &Environment) -> Result<Option<Said>, RangeError> {
    if let Some(text) = &typed.shard {
        return Ok(Some((TYPED, TYPED, text.clone())));
    }
    if let Some(text) = environment.get(VARIABLE) {
        return Ok(Some((VARIABLE, VARIABLE, text)));
    }
    for engine in ENGINES {
        let Some(index) = environment.get(engine.index) else {
            continue;
        };
        // Half an answer must not become all of the run in every task.
        let Some(count) = environment.get(engine.count) else {
            return Err(RangeError {
                flag: engine.index,
                message: format!(
                    "{}: set {} to it, or type --shard 1/1 to run all in this one",
                    engine.without_count, engine.count
                ),
            });
        };
        let set = |name: &str| (!name.is_empty()).then(|| environment.get(name)).flatten();
        let number = |text: Option<String>, otherwise: u32| match text {
            Some(text) => text.parse().ok(),
            None => Some(otherwise),
        };
        let from_one = || {
            let from_first =
                number(Some(index.clone()), 0)?.checked_sub(number(set(engine.first), 0)?)?;
            (from_first / number(set(engine.step), 1)?.max(1)).checked_add(1)
        };
        // What is no number is shown as it stands.
        let shard = from_one().map_or_else(|| index.clone(), |n| n.to_string());
        return Ok(Some((
            engine.index,
            engine.name,
            format!("{shard}/{count}"),
        )));
    }
    match environment.get(KUBERNETES.count) {
        Some(count) => Err(RangeError {
            flag: KUBERNETES.count,
            message: format!(
                "there are {count} shards, and which this is is not said: set {} or type --shard",
                KUBERNETES.index
            ),
        }),
        None => Ok(None),
    }
}

/// How an engine says which task of an array a process is.
struct Engine {
    name: &'static str,
    index: &'static str,
    count: &'static str,
    /// What it calls the array; it is another name each time one is started.
    group: &'static str,
    /// The first index, where that is not 0.
    first: &'static str,
    /// From one index to the next, where that is not 1.
    step: &'static str,
    without_count: &'static str,
}

const BATCH: Engine = Engine {
    name: "AWS Batch",
    index: "AWS_BATCH_JOB_ARRAY_INDEX",
    count: "AWS_BATCH_JOB_ARRAY_SIZE",
    group: "AWS_BATCH_JOB_ID",
    first: "",
    step: "",
    without_count: "this is a child of an array, and how many there are is not said",
};

const SLURM: Engine = Engine {
    name: "Slurm",
    index: "SLURM_ARRAY_TASK_ID",
    count: "SLURM_ARRAY_TASK_COUNT",
    group: "SLURM_ARRAY_JOB_ID",
    first: "SLURM_ARRAY_TASK_MIN",
    step: "SLURM_ARRAY_TASK_STEP",
    without_count: "this is a task of an array, and how many there are is not said",
};

/// Every Indexed Job sets the index, and none tells the number.
const KUBERNETES: Engine = Engine {
    name: "Kubernetes",
    index: "JOB_COMPLETION_INDEX",
    count: "CWLAKE_SHARDS",
    group: "",
    first: "",
    step: "",
    without_count: "this is a pod of an Indexed Job, and its completions are not said",
};

const ENGINES: [&Engine; 3] = [&BATCH, &SLURM, &KUBERNETES];

/// What the engine calls the group.
fn engine_group(said_by: &str, environment: &Environment) -> Option<GroupName> {
    let engine = ENGINES.iter().find(|engine| engine.name == said_by)?;
    let name = environment.get(engine.group)?;
    // Of Batch it is `JOB:INDEX`.
    let name = name.split(':').next()?;
    GroupName::parse(name)
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
