//! A shard's part of a run: its group found or begun, its time and dollars taken from that.

use std::sync::Arc;

use crate::commit::{Group, Question, join_group, read_group};
use crate::config::Range;
use crate::fetch::Budget;
use crate::given::context::RunContext;
use crate::given::error::RunError;
use crate::given::shard::{OwnShard, Sharing};
use crate::store::Store;

/// The same run with its part of the lanes, and with the time and the dollars that its group leaves it. A group that is not there is begun when
/// the run `writes`.
///
/// # Errors
/// [`RunError::Group`].
pub(crate) async fn with_share(
    context: &RunContext,
    store: &dyn Store,
    writes: bool,
) -> Result<RunContext, RunError> {
    let Sharing::Asked(asked) = &context.sharing else {
        return Ok(context.clone());
    };
    let question = question_of(context, asked.is_dated);
    let member = &asked.member;
    let there = if writes {
        None
    } else {
        read_group(store, &member.group)
            .await
            .map_err(RunError::Store)?
    };
    let group = match there {
        Some(group) => group,
        None if writes => join_group(store, member, &question, context.now).await?,
        None => Group::new(member.shard.of, &question, context.now),
    };
    let mut context = context.clone();
    if let Some(window) = group.window() {
        context.range = Range::Window(window);
    }
    if let Some(cap) = context.config.run.max_spend_usd {
        let mut config = (*context.config).clone();
        config.run.max_spend_usd = Some(cap * part_of(&group, member.shard.index));
        context.config = Arc::new(config);
    }
    let own = OwnShard::new(member.clone(), group, Arc::default(), &context.config);
    context.sharing = Sharing::Own(Arc::new(own));
    Ok(context)
}

/// The same run without the dollars that earlier tries of its shard have spent. Read under the shard's lock: the last try notes its spending to the end.
///
/// # Errors
/// The store's.
pub(crate) async fn less_spent(
    context: RunContext,
    store: &dyn Store,
) -> Result<RunContext, RunError> {
    let (Some(own), Some(cap)) = (context.sharing.own(), context.config.run.max_spend_usd) else {
        return Ok(context);
    };
    let before = own.read_spent(store).await.map_err(RunError::Store)?;
    let mut config = (*context.config).clone();
    config.run.max_spend_usd = Some((cap - before).max(0.0));
    Ok(RunContext {
        config: Arc::new(config),
        ..context
    })
}

/// The part of the dollars that one shard may spend: as they were planned, else all alike.
fn part_of(group: &Group, shard: u32) -> f64 {
    let alike = 1.0 / f64::from(group.shards);
    let Some(plan) = &group.plan else {
        return alike;
    };
    let all: f64 = plan.dollars.iter().sum();
    let own = plan.dollars.get(shard as usize - 1);
    own.filter(|_| all > 0.0).map_or(alike, |own| own / all)
}

/// What the shards of a run have to agree on.
pub(crate) fn question_of(context: &RunContext, is_typed: bool) -> Question {
    Question {
        window: match context.range {
            Range::Window(window) => Some(window),
            Range::SinceLast { .. } => None,
        },
        asks: context.config.question_of_all(),
        is_typed,
    }
}

/// Notes what a shard whose dollars are capped has spent so far.
pub(crate) async fn note_spent(context: &RunContext, store: &dyn Store, budget: &Budget) {
    if let Some(own) = context.sharing.own()
        && context.config.run.max_spend_usd.is_some()
    {
        own.note_spent(store, budget.spent()).await;
    }
}
