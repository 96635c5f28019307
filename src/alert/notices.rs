//! Word about a run: that it failed, misses something for a reason that is new, or found far less than the day before. Each cause is told once: one
//! that lasts is not told again every night.

use std::time::Duration;

use futures::{StreamExt, stream};
use secrecy::ExposeSecret;

use super::breaches::send_by;
use super::ending::{Ending, Notice};
use super::{Message, Sent};
use crate::aws::beat;
use crate::given::context::RunContext;
use crate::lake::layout;
use crate::model::Day;
use crate::report::NoticeReport;
use crate::store::Store;

/// Days for which a cause that lasts is remembered: a weekly run knows what the last one told.
const REMEMBERED: i64 = 8;

/// Time for finding out what was told before.
const READ_LIMIT: Duration = Duration::from_secs(20);

/// All that telling may take, whatever does not answer.
const LIMIT: Duration = Duration::from_mins(2);

/// Tells every channel what it was not told of, and asks for the heartbeat's address when the run ended with 0, or with 3 for what is known. Whatever goes wrong is in
/// what is returned. Without a `store` nobody knows what was told before.
pub(crate) async fn tell_of_run(
    context: &RunContext,
    store: Option<&dyn Store>,
    ending: &Ending,
) -> Option<NoticeReport> {
    context.config.notify.as_ref()?;
    let telling = tell(context, store, ending);
    let told = tokio::time::timeout(LIMIT, Box::pin(telling)).await;
    let told = told.unwrap_or_else(|_| {
        let mut late = NoticeReport::default();
        let text = format!("no answer within {} s", LIMIT.as_secs());
        late.failed.insert("everybody".to_owned(), text);
        late
    });
    (told.notices > 0 || !told.failed.is_empty()).then_some(told)
}

async fn tell(context: &RunContext, store: Option<&dyn Store>, ending: &Ending) -> NoticeReport {
    let mut told = NoticeReport {
        notices: ending.notices.len(),
        ..NoticeReport::default()
    };
    let today = Day::containing(context.now);
    let key = layout::notices(today);
    let known = match store {
        Some(store) => tokio::time::timeout(READ_LIMIT, known(store, today))
            .await
            .ok(),
        None => None,
    };
    let (of_today, before) = known.unwrap_or_default();
    // What could not be read is not written over.
    let mut record = of_today.clone();
    let of_today = of_today.unwrap_or_default();
    let mut is_news = false;
    for channel in context.config.alert.iter().flat_map(|a| &a.channels) {
        let name = channel.name();
        let was_told =
            |lasts: bool, key: &String| of_today.has(name, key) || lasts && before.has(name, key);
        let is_known = |n: &&Notice| n.keys.iter().all(|key| was_told(n.lasts, key));
        let (known, news): (Vec<&Notice>, _) = ending.notices.iter().partition(is_known);
        is_news |= !news.is_empty();
        let mut noted: Vec<&Notice> = known;
        if !news.is_empty() {
            let message = Message::of_run(ending, &news, &context.config.destination.to_string());
            let config = context.config.alert.as_ref().expect("it has this channel");
            match send_by(context, config, channel, &message).await {
                Ok(()) => {
                    told.sent.insert(name.to_owned(), news.len());
                    noted.extend(&news);
                }
                Err(error) => {
                    told.failed.insert(name.to_owned(), error.to_string());
                }
            }
        }
        // What lasts is remembered for as long as it does.
        if let (Some(store), Some(record)) = (store, &mut record) {
            let keys = noted.iter().flat_map(|n| n.keys.iter().cloned());
            let noting = record.note(store, &key, name, keys);
            if let Err(error) = noting.await {
                tracing::warn!(%error, "noting what was told");
            }
        }
    }
    let is_known = context.config.alert.is_some() && !is_news;
    let may_beat = ending.exit_code == 0 || ending.exit_code == 3 && is_known;
    let heartbeat = context.config.notify.as_ref();
    if let Some(url) = heartbeat.and_then(|n| n.heartbeat_url.as_ref())
        && may_beat
    {
        let limit = context.config.limits.attempt_timeout;
        let beating = beat(url.expose_secret(), &context.config.network);
        let beaten = tokio::time::timeout(limit, beating).await;
        let late = || Err(format!("no answer within {} s", limit.as_secs()));
        if let Err(why) = beaten.unwrap_or_else(|_| late()) {
            told.failed.insert("the heartbeat".to_owned(), why);
        }
    }
    told
}

/// What was told today, none when that cannot be read, and in the days before. Telling twice is better than not at all.
async fn known(store: &dyn Store, today: Day) -> (Option<Sent>, Sent) {
    let read = stream::iter(0..=REMEMBERED).map(|n| async move {
        let read = Sent::read(store, &layout::notices(today.plus(-n))).await;
        read.inspect_err(|error| tracing::warn!(%error, "reading what was told"))
            .ok()
    });
    let mut read: Vec<Option<Sent>> = read.buffered(4).collect().await;
    let of_today = read.remove(0);
    let mut before = Sent::default();
    read.into_iter().flatten().for_each(|sent| before.add(sent));
    (of_today, before)
}
