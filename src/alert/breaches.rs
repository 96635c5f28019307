//! Breaches of budgets: found in what the lake has of charges, and told to every channel once.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};

use super::{Message, SendError, Sent, mail, send};
use crate::config::{AlertConfig, Channel};
use crate::given::context::RunContext;
use crate::given::place::base_session;
use crate::lake::table::SPEND;
use crate::lake::{UnitId, layout};
use crate::model::{AccountId, Cause, CauseKind, Claim, Day, Lane};
use crate::normalize::{ChargeState, DayCharge, decode_spend};
use crate::report::AlertReport;
use crate::sources::source::stage::each_batch;
use crate::spend::{AccountRows, BudgetCheck, SpendReport, account_rows, spend_report};
use crate::store::{AcquireError, Holder, Store, StoreError};

/// Months that are read: the day's, and one before it for means and charts.
const MONTHS: i64 = 2;

/// What the lake tells of a day's month and of those before it that count.
pub(crate) struct LakeRows {
    rows: BTreeMap<AccountId, AccountRows>,
    /// Accounts that tell of others' charges.
    payers: BTreeSet<AccountId>,
}

pub(crate) fn report_of(
    context: &RunContext,
    store: &dyn Store,
    day: Day,
    read: &LakeRows,
) -> SpendReport {
    let config = &context.config;
    let LakeRows { rows, payers } = read;
    let mut wanted: BTreeMap<AccountId, Option<String>> = BTreeMap::new();
    // Every account, whatever the flags leave of them: a budget of several is about all of its own.
    for account in config.all_accounts() {
        let is_read = config.spend.as_ref().is_some_and(|s| s.reads(&account.id));
        // A payer without charges of its own is not expected to have any.
        let pays_alone = payers.contains(&account.id) && !rows.contains_key(&account.id);
        if is_read && !pays_alone || rows.contains_key(&account.id) {
            wanted.insert(account.id.clone(), account.name.clone());
        }
    }
    // Members that a payer tells of, and nobody has configured.
    for id in rows.keys() {
        if !wanted.contains_key(id) && is_alive(&rows[id], day) {
            wanted.insert(id.clone(), None);
        }
    }
    spend_report(
        day,
        context.now,
        store.describe(),
        &wanted,
        rows,
        &config.budgets,
    )
}

/// An account that had charges in the month, and is not one that was closed in it or before.
fn is_alive(rows: &AccountRows, day: Day) -> bool {
    let month = || rows.days.range(day.month_start()..=day);
    let is_closed = rows
        .days
        .get(&day)
        .is_some_and(|r| r.state == ChargeState::Vanished);
    !is_closed && month().any(|(_, row)| row.month_to_date.is_some())
}

/// The same for every day of a month.
pub(crate) async fn read_rows(store: &dyn Store, day: Day) -> Result<LakeRows, Cause> {
    let mut payers = BTreeSet::new();
    let mut lanes: Vec<(Lane, Vec<DayCharge>)> = Vec::new();
    let mut month = day.month_start();
    for _ in 0..MONTHS {
        let folder = format!("{SPEND}/month={}/", month.month());
        for entry in store.list(&folder).await? {
            let Some(UnitId { lane, .. }) = layout::parse_unit(&SPEND, &entry.key) else {
                continue;
            };
            let hint =
                format!("cwlake export --dataset spend --force --date {month} writes it anew");
            let mut rows = Vec::new();
            let read = each_batch(store, &entry.key, &hint, |batch| {
                rows.extend(decode_spend(batch)?);
                Ok(())
            });
            read.await?;
            if rows.iter().any(|r| r.key.linked_account.is_some()) {
                payers.insert(lane.account.clone());
            }
            lanes.push((lane, rows));
        }
        month = month.plus(-1).month_start();
    }
    let rows = account_rows(lanes);
    Ok(LakeRows { rows, payers })
}

/// Days before yesterday that alerts look at again: charges are published for a day after the day's end, and corrected later; and a channel may
/// have failed.
const ALERT_DAYS: i64 = 3;

/// What is claimed by whoever tells of the breaches of a day and of those before it: two runs tell nobody twice.
pub(crate) fn claim_of_alerts(last: Day) -> Claim {
    Claim::nothing().and(layout::ALERTS, last.plus(-ALERT_DAYS), last)
}

/// How often, and after what pauses, a run asks whether another has told what it tells of.
const TURNS: u32 = 60;
const PAUSE: Duration = Duration::from_secs(1);

/// The same after an export: whatever goes wrong is in the report.
pub(crate) async fn alert_after_export(
    context: &RunContext,
    store: &dyn Store,
    run_id: &str,
) -> Option<AlertReport> {
    context.config.alert.as_ref()?;
    let yesterday = Day::containing(context.now).plus(-1);
    let (holder, claim) = (Holder::of_this_process(run_id), claim_of_alerts(yesterday));
    let mut taken = store.acquire(&holder, &claim).await;
    for _ in 0..TURNS {
        if !matches!(taken, Err(AcquireError::Taken { .. })) || context.stop.is_cancelled() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        taken = store.acquire(&holder, &claim).await;
    }
    let held = match taken {
        Ok(held) => held,
        Err(error) => {
            let cause = match error {
                AcquireError::Store(error) => error.into(),
                taken @ AcquireError::Taken { .. } => {
                    Cause::new(CauseKind::Destination, taken.to_string())
                }
            };
            return Some(AlertReport {
                cause: Some(cause.with_hint("the next run, or cwlake spend --alert, tries again")),
                ..AlertReport::default()
            });
        }
    };
    let told = alert_of_days(context, store, yesterday).await;
    held.release().await;
    Some(told)
}

/// Tells of the breaches of a day, and of those of the days before it that a run has looked at before; and of the week on its day.
pub(crate) async fn alert_of_days(
    context: &RunContext,
    store: &dyn Store,
    last: Day,
) -> AlertReport {
    let mut told = AlertReport::default();
    let mut months: BTreeMap<Day, LakeRows> = BTreeMap::new();
    for n in (0..=ALERT_DAYS).rev() {
        let day = last.plus(-n);
        let done = async {
            // Of a day that nobody has looked at in its time, nobody is told now.
            let is_looked_at = n == 0 || Sent::is_there(store, &layout::alerts(day)).await?;
            let is_week = is_end_of_week(context, day);
            if !is_looked_at && !is_week {
                return Ok(AlertReport::default());
            }
            let read = match months.entry(day.month_start()) {
                Entry::Occupied(read) => read.into_mut(),
                Entry::Vacant(none) => none.insert(read_rows(store, day).await?),
            };
            let report = report_of(context, store, day, read);
            let mut told = AlertReport::default();
            if is_looked_at {
                told.add(alert(context, store, day, &report).await);
            }
            // A week waits for its last day, as long as runs look back.
            if is_week && (report.missing.is_empty() || n == ALERT_DAYS) {
                told.add(tell_of_week(context, store, day, &report).await);
            }
            Ok::<_, Cause>(told)
        };
        match done.await {
            Ok(of_day) => told.add(of_day),
            Err(cause) => told.cause = Some(cause),
        }
    }
    told
}

/// Whether the next day is the one on which a week is told of.
fn is_end_of_week(context: &RunContext, day: Day) -> bool {
    let digest = context.config.alert.as_ref().and_then(|a| a.digest);
    digest == Some(day.plus(1).weekday())
}

/// Records that are read side by side.
const AT_ONCE: usize = 8;

/// What was told of a month on its other days: a threshold of the month stays passed.
async fn told_in_month(store: &dyn Store, day: Day) -> Result<Sent, StoreError> {
    let mut told = Sent::default();
    let keys = store.list(&layout::alerts_folder()).await?.into_iter();
    let days = keys.filter_map(|e| layout::parse_alerts(&e.key));
    let month = day.month_start()..day.next_month();
    let others = days.filter(|d| month.contains(d) && *d != day);
    let read = stream::iter(others).map(|day| async move {
        let key = layout::alerts(day);
        Sent::read(store, &key).await
    });
    let read: Vec<Sent> = read.buffered(AT_ONCE).try_collect().await?;
    read.into_iter().for_each(|sent| told.add(sent));
    Ok(told)
}

/// Tells every channel of the breaches of a day that it was not told of. Of a threshold of the month it is told once in the month, and again when
/// there is something else to tell.
pub(crate) async fn alert(
    context: &RunContext,
    store: &dyn Store,
    day: Day,
    report: &SpendReport,
) -> AlertReport {
    let mut told = AlertReport::default();
    let Some(config) = &context.config.alert else {
        return told;
    };
    let breaches = report.breaches();
    told.breaches = breaches.len();
    let key = layout::alerts(day);
    let known = async {
        let mut sent = Sent::read(store, &key).await?;
        // Looked at: later runs look again.
        sent.write(store, &key).await?;
        let is_of_month = |b: &&BudgetCheck| b.threshold.is_of_month();
        let of_month = if breaches.iter().any(is_of_month) {
            told_in_month(store, day).await?
        } else {
            Sent::default()
        };
        Ok::<_, StoreError>((sent, of_month))
    };
    let (mut sent, of_month) = match known.await {
        Ok(known) => known,
        Err(error) => {
            told.cause = Some(Cause::from(error));
            return told;
        }
    };
    for channel in &config.channels {
        let name = channel.name();
        let is_known = |b: &&BudgetCheck| {
            let (key, of_month) = (b.key(), b.threshold.is_of_month().then_some(&of_month));
            sent.has(name, &key) || of_month.is_some_and(|told| told.has(name, &key))
        };
        let (known, news): (Vec<&BudgetCheck>, _) = breaches.iter().copied().partition(is_known);
        if news.is_empty() {
            continue;
        }
        let going_on = known.into_iter().filter(|b| b.threshold.is_of_month());
        let message = Message::of(report, &news, &going_on.collect::<Vec<_>>());
        match send_by(context, config, channel, &message).await {
            Ok(()) => {
                told.sent.insert(name.to_owned(), news.len());
                let keys = news.iter().map(|b| b.key());
                if let Err(error) = sent.note(store, &key, name, keys).await {
                    told.cause = Some(Cause::from(error));
                }
            }
            Err(error) => {
                told.failed.insert(name.to_owned(), error.to_string());
            }
        }
    }
    told
}

/// What the record of a week's last day says when the week was told of.
const WEEK: &str = "week";

/// Tells every channel of the seven days up to a day, once.
async fn tell_of_week(
    context: &RunContext,
    store: &dyn Store,
    day: Day,
    report: &SpendReport,
) -> AlertReport {
    let mut told = AlertReport::default();
    let Some(config) = &context.config.alert else {
        return told;
    };
    // Nothing is known of it: a mail without a number helps nobody.
    if report.total.weeks().0.is_none() {
        return told;
    }
    let key = layout::alerts(day);
    let mut sent = match Sent::read(store, &key).await {
        Ok(sent) => sent,
        Err(error) => {
            told.cause = Some(Cause::from(error));
            return told;
        }
    };
    let message = Message::of_week(report);
    for channel in &config.channels {
        let name = channel.name();
        if sent.has(name, WEEK) {
            continue;
        }
        match send_by(context, config, channel, &message).await {
            Ok(()) => {
                told.digests.push(name.to_owned());
                let what = [WEEK.to_owned()].into_iter();
                if let Err(error) = sent.note(store, &key, name, what).await {
                    told.cause = Some(Cause::from(error));
                }
            }
            Err(error) => {
                told.failed.insert(name.to_owned(), error.to_string());
            }
        }
    }
    told
}

/// Sends a message by one channel, within the time that a call may take.
pub(super) async fn send_by(
    context: &RunContext,
    config: &AlertConfig,
    channel: &Channel,
    message: &Message,
) -> Result<(), SendError> {
    let sending = async {
        let base = match channel {
            Channel::Smtp { .. } => None,
            _ => {
                let base = base_session(context).await;
                Some(base.map_err(|e| SendError(e.to_string()))?)
            }
        };
        let mail = config.mail.as_ref();
        let base = base.as_ref();
        Box::pin(send(message, channel, mail, base, &context.config)).await
    };
    // A server that falls silent, or credentials that never come, keep nobody waiting: what was not told of is told of by the next run.
    let limit = context.config.limits.attempt_timeout;
    tokio::select! {
        sent = tokio::time::timeout(limit, sending) => sent.unwrap_or_else(|_| {
            Err(SendError(format!("no answer within {} s", limit.as_secs())))
        }),
        () = context.stop.cancelled() => Err(SendError("stopped by a signal".to_owned())),
    }
}

/// The e-mail that would be sent about all breaches of a report; of a configuration without addresses the text alone. `None` without a breach.
///
/// # Errors
/// [`SendError`] when it cannot be made.
pub fn alert_as_file(
    context: &RunContext,
    report: &SpendReport,
) -> Result<Option<Vec<u8>>, SendError> {
    let breaches = report.breaches();
    if breaches.is_empty() {
        return Ok(None);
    }
    let message = Message::of(report, &breaches, &[]);
    let addresses = context.config.alert.as_ref().and_then(|a| a.mail.as_ref());
    Ok(Some(match addresses {
        Some(addresses) => mail(&message, addresses)?,
        None => message.text.into_bytes(),
    }))
}
