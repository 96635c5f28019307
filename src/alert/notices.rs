//! Word about a run: that it failed, misses something for a reason that is new, or found far less than the day before. Each cause is told once: one
//! that lasts is not told again every night.

use std::time::Duration;

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

/// All that telling may take, whatever does not answer.
const LIMIT: Duration = Duration::from_mins(2);

/// Tells every channel what it was not told of, and asks for the heartbeat's address when there is nothing new to tell. Whatever goes wrong is in
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
    let (mut of_today, before) = match store {
        Some(store) => known(store, today).await,
        None => Default::default(),
    };
    let mut is_news = false;
    for channel in context.config.alert.iter().flat_map(|a| &a.channels) {
        let name = channel.name();
        let is_known =
            |n: &&Notice| of_today.has(name, &n.key) || n.lasts && before.has(name, &n.key);
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
        if let Some(store) = store {
            let keys = noted.iter().map(|n| n.key.clone());
            let noting = of_today.note(store, &key, name, keys);
            if let Err(error) = noting.await {
                tracing::warn!(%error, "noting what was told");
            }
        }
    }
    let has_channels = context.config.alert.is_some();
    let all_is_well = ending.notices.is_empty() || has_channels && !is_news;
    let may_beat = all_is_well && matches!(ending.exit_code, 0 | 3);
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

/// What was told today, and in the days before. A record that cannot be read is as none: telling twice is better than not at all.
async fn known(store: &dyn Store, today: Day) -> (Sent, Sent) {
    let mut before = Sent::default();
    for n in 1..=REMEMBERED {
        match Sent::read(store, &layout::notices(today.plus(-n))).await {
            Ok(sent) => before.add(sent),
            Err(error) => tracing::warn!(%error, "reading what was told"),
        }
    }
    let of_today = Sent::read(store, &layout::notices(today)).await;
    (of_today.unwrap_or_default(), before)
}
