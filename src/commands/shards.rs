//! An export in shards: which one this is, how lanes are dealt out, and the whole brought together.

use cwlake::cli::{AskArgs, GatherArgs, PlanArgs, RangeArgs, ShardArgs};
use cwlake::config::{Environment, ShardTyped, group_name, shard};
use cwlake::exit::Usage;
use cwlake::model::{GroupName, Member, Shard};
use cwlake::run::{Planned, RunContext, ShardRequest, Sharing, group_of};
use cwlake::telemetry::{Progress, stop_on_signals};

use super::{context, print_result, report_of};

/// The shard that this process is, as it was typed or as its engine says.
pub(super) fn sharing(
    typed: &ShardArgs,
    range: &RangeArgs,
    ask: &AskArgs,
    context: &RunContext,
) -> anyhow::Result<Sharing> {
    let words = ShardTyped {
        shard: typed.shard.clone(),
        group: typed.group.group.clone(),
    };
    let Some(found) = shard(&words, &Environment::of_process())? else {
        return Ok(Sharing::Whole);
    };
    let group = match found.group {
        Some(group) => group,
        None => group_of(context.range)?,
    };
    let member = Member {
        group,
        shard: found.shard,
    };
    context
        .progress
        .stage(&format!("{member}, as {} says", found.said_by));
    Ok(Sharing::Asked(ShardRequest {
        member,
        is_dated: range.date.is_some() || range.from.is_some() || ask.only_failed.is_some(),
    }))
}

/// The name of a group, typed or of the days that are asked.
fn group(typed: Option<&str>, context: &RunContext) -> anyhow::Result<GroupName> {
    Ok(match typed {
        Some(text) => group_name("--group", text)?,
        None => group_of(context.range)?,
    })
}

/// Shows how the lanes of a plan are dealt out, and keeps that when it is asked to.
pub(super) async fn deal(
    args: &PlanArgs,
    of: u32,
    (asked, context): (&RunContext, &RunContext),
    planned: &Planned,
) -> anyhow::Result<u8> {
    if Shard::new(1, of).is_none() {
        let text = format!("--shards: a run has 1 to {} shards, not {of}", Shard::MOST);
        return Err(Usage(text).into());
    }
    let group = group(args.shard.group.group.as_deref(), context)?;
    let dealt = cwlake::run::deal_lanes(context, planned, &group, of);
    if args.write {
        dealt.keep(asked).await?;
    }
    print_result(args.json, &dealt, || dealt.text(args.write))?;
    Ok(planned.report(context).exit_code())
}

pub(super) async fn gather(args: &GatherArgs, progress: Progress) -> anyhow::Result<u8> {
    let context = context(&args.config, None, &args.range, false, progress).await?;
    let group = group(args.group.group.as_deref(), &context)?;
    stop_on_signals(context.stop.clone())?;
    let ended = cwlake::run::gather(&context, &group).await;
    let report = report_of(ended, &context, &args.metrics).await?;
    context.progress.finish();
    print_result(args.json, &report, || report.text())?;
    Ok(report.exit_code())
}
