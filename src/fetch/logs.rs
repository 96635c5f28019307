//! Log groups and their events. Follows `CloudWatch` Logs `DescribeLogGroups`, `FilterLogEvents` and `GetLogEvents`.
//!
//! # Source
//! botocore `data/logs/2014-03-28/service-2.json`: a page holds up to 1 MB or 10,000 events, may be empty and still have a token;
//! `FilterLogEvents` ends without a token and may take the events *at* its end time, `GetLogEvents` ends when its forward token repeats and
//! does not.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use serde::de::{Deserializer, Visitor};

use crate::aws::{
    Api, CallStats, LaneClient, Pages, Turns, filter_log_events, get_log_events, listed,
};
use crate::model::{Cause, CauseKind, LogEvent, TimeWindow};

/// A log group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogGroup {
    /// Its name.
    pub name: String,
    /// Its events can be read by the calls we use.
    ///
    /// # Source
    /// CloudWatch Logs user guide, "Log classes": `FilterLogEvents` and `GetLogEvents` are of the standard class alone.
    pub is_readable: bool,
    /// Bytes it holds.
    pub stored_bytes: u64,
    /// When it was made, seconds since the epoch.
    pub created: i64,
    /// Days that events are kept; for ever when none.
    pub retention_days: Option<u32>,
}

/// Which events of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogQuery {
    /// Those of all streams, or of some, that match.
    Filter {
        /// Only streams whose name begins so.
        stream_prefix: Option<String>,
        /// Only these streams.
        streams: Vec<String>,
        /// Only events that match.
        pattern: Option<String>,
    },
    /// Those of one stream.
    Stream(Arc<str>),
}

/// Groups on one page.
const GROUPS_A_PAGE: i32 = 50;

/// Every log group of the lane whose name begins with `prefix`.
///
/// # Errors
/// The cause of the page that failed, or a token that repeats.
pub async fn log_groups(
    client: &LaneClient,
    prefix: &str,
    stats: &mut CallStats,
) -> Result<Vec<LogGroup>, Cause> {
    let mut groups = Vec::new();
    let mut pages = Pages::of(Api::DescribeLogGroups.name());
    loop {
        let page = client
            .call(Api::DescribeLogGroups, 0.0, false, stats, async || {
                let request = client
                    .logs()
                    .describe_log_groups()
                    .limit(GROUPS_A_PAGE)
                    .set_log_group_name_prefix((!prefix.is_empty()).then(|| prefix.to_owned()))
                    .set_next_token(pages.token());
                let page = request.send().await?;
                let has_list = page.log_groups.is_some();
                listed(page, has_list)
            })
            .await?;
        for group in page.log_groups() {
            let class = group
                .log_group_class()
                .map(aws_sdk_cloudwatchlogs::types::LogGroupClass::as_str);
            // Groups of the delivery class hand their events on and keep none.
            let Some(name) = group.log_group_name().filter(|_| class != Some("DELIVERY")) else {
                continue;
            };
            groups.push(LogGroup {
                name: name.to_owned(),
                is_readable: class != Some("INFREQUENT_ACCESS"),
                stored_bytes: u64::try_from(group.stored_bytes().unwrap_or(0)).unwrap_or(0),
                created: group.creation_time().unwrap_or(0).div_euclid(1_000),
                retention_days: group
                    .retention_in_days()
                    .and_then(|d| u32::try_from(d).ok()),
            });
        }
        if !pages.follow(page.next_token)? {
            return Ok(groups);
        }
    }
}

/// Reads all events of a group in a window and hands them to `take`, a page at a time, in one turn a page.
///
/// # Shape
/// In the order they arrive, which is not promised; an event may arrive twice. All lie in the window.
///
/// # Errors
/// The cause of the page that failed, a token that repeats, or whatever `take` refuses.
pub async fn read_events<T>(
    client: &LaneClient,
    group: &Arc<str>,
    query: &LogQuery,
    window: TimeWindow,
    turns: &Turns,
    stats: &mut CallStats,
    take: impl Fn(Vec<LogEvent>) -> T,
) -> Result<(), Cause>
where
    T: Future<Output = Result<(), Cause>>,
{
    let mut pages = Pages::of(api_of(query).name());
    let mut turn = Turn::default();
    loop {
        client.pace(api_of(query), 0.0).await;
        let of_page = turns.turn().await;
        let page = match page(
            &client.under(&of_page),
            group,
            query,
            window,
            pages.token(),
            stats,
        )
        .await
        {
            Ok(page) => page,
            Err(cause) if pages.restarts_after(&of_token(&cause)) => {
                turn.begin_anew(query);
                continue;
            }
            Err(cause) => return Err(cause),
        };
        let next = page.next(query).map(str::to_owned);
        let inside = window.start * 1_000..window.end * 1_000;
        let events = page.events(group, query);
        let is_empty = events.is_empty();
        let events: Vec<LogEvent> = events
            .into_iter()
            .filter(|e| inside.contains(&e.ts))
            .collect();
        let events = turn.unread(events);
        if !events.is_empty() {
            take(events).await?;
        }
        drop(of_page);
        let repeats = next.is_some() && next == pages.token();
        // The end of a stream is told by the token that was given.
        if repeats && matches!(query, LogQuery::Stream(_)) {
            return Ok(());
        }
        turn.check_end(is_empty, query)
            .map_err(|why| no_end(group, query, why))?;
        if turn.may_repeat(repeats && is_empty) {
            tokio::time::sleep(REPEAT_PAUSE).await;
            continue;
        }
        if !pages.follow(next)? {
            return Ok(());
        }
    }
}

/// Pages of a stream in a row without an event.
///
/// # Source
/// boto3#4591: on a stream whose events have expired `GetLogEvents` hands out tokens without an end.
const MOST_EMPTY_PAGES: u32 = 300;

/// How often the token that was given may come back with an empty page, in a row, and the pause before it is asked for again.
const MOST_REPEATS: u32 = 5;
const REPEAT_PAUSE: Duration = Duration::from_millis(200);

/// How far the reading of a group has come.
#[derive(Debug, Default)]
struct Turn {
    /// Events of a stream that were taken; they have no ids to know them by.
    taken: usize,
    /// Events of a stream that come again after its reading began anew.
    to_skip: usize,
    /// Pages in a row without an event.
    empty: u32,
    /// Pages in a row whose token was the one that was given.
    repeats: u32,
}

impl Turn {
    /// A stream is read in its own order, so that what was taken comes first again; other events are told apart by their ids.
    fn begin_anew(&mut self, query: &LogQuery) {
        if matches!(query, LogQuery::Stream(_)) {
            self.to_skip = self.taken;
        }
    }

    fn unread(&mut self, mut events: Vec<LogEvent>) -> Vec<LogEvent> {
        let again = self.to_skip.min(events.len());
        self.to_skip -= again;
        events.drain(..again);
        self.taken += events.len();
        events
    }

    /// # Errors
    /// Why the stream has no end.
    fn check_end(&mut self, is_empty: bool, query: &LogQuery) -> Result<(), &'static str> {
        self.empty = if is_empty { self.empty + 1 } else { 0 };
        if self.empty > MOST_EMPTY_PAGES && matches!(query, LogQuery::Stream(_)) {
            return Err("three hundred pages in a row have no event");
        }
        Ok(())
    }

    /// Whether the page is to be asked for once more.
    fn may_repeat(&mut self, repeats: bool) -> bool {
        self.repeats = if repeats { self.repeats + 1 } else { 0 };
        repeats && self.repeats <= MOST_REPEATS
    }
}

/// A refused token has no code of its own everywhere: what is wrong with a request that was good for the page before is its token.
fn of_token(cause: &Cause) -> Cause {
    match cause.kind {
        CauseKind::Validation => Cause {
            kind: CauseKind::InvalidToken,
            ..cause.clone()
        },
        _ => cause.clone(),
    }
}

fn no_end(group: &str, query: &LogQuery, why: &str) -> Cause {
    let of = match query {
        LogQuery::Stream(stream) => format!("stream {stream} of {group}"),
        LogQuery::Filter { .. } => group.to_owned(),
    };
    let text = format!("{}: {why}: {of}", api_of(query).name());
    Cause::new(CauseKind::Protocol, text)
        .with_hint("leave the stream out of streams: its events may all have expired")
}

/// Whether `CloudWatch` takes a pattern: one event of one millisecond is asked for.
///
/// # Errors
/// [`CauseKind::Validation`](crate::model::CauseKind::Validation) when it does not; other causes say nothing about the pattern.
pub async fn try_pattern(
    client: &LaneClient,
    group: &str,
    pattern: &str,
    now: i64,
    stats: &mut CallStats,
) -> Result<(), Cause> {
    let call = client.call(Api::FilterLogEvents, 0.0, false, stats, || {
        let request = client
            .logs()
            .filter_log_events()
            .log_group_name(group)
            .set_filter_pattern((!pattern.is_empty()).then(|| pattern.to_owned()))
            .start_time((now - 1) * 1_000)
            .end_time((now - 1) * 1_000)
            .limit(1);
        filter_log_events(request, Page::decode)
    });
    call.await.map(|_| ())
}

/// Whether a stream of a group may be read: one event of one millisecond is asked for. A stream that is not there may be.
///
/// # Errors
/// The cause of a refusal.
pub async fn try_stream(
    client: &LaneClient,
    group: &str,
    stream: &str,
    now: i64,
    stats: &mut CallStats,
) -> Result<(), Cause> {
    let call = client.call(Api::GetLogEvents, 0.0, false, stats, || {
        let request = client
            .logs()
            .get_log_events()
            .log_group_name(group)
            .log_stream_name(stream)
            .start_time((now - 1) * 1_000)
            .end_time(now * 1_000 - 999)
            .start_from_head(true)
            .limit(1);
        get_log_events(request, Page::decode)
    });
    match call.await {
        Err(cause) if !cause.is("ResourceNotFoundException") => Err(cause),
        _ => Ok(()),
    }
}

fn api_of(query: &LogQuery) -> Api {
    match query {
        LogQuery::Filter { .. } => Api::FilterLogEvents,
        LogQuery::Stream(_) => Api::GetLogEvents,
    }
}

async fn page(
    client: &LaneClient,
    group: &str,
    query: &LogQuery,
    window: TimeWindow,
    token: Option<String>,
    stats: &mut CallStats,
) -> Result<Page, Cause> {
    let api = api_of(query);
    match query {
        LogQuery::Filter {
            stream_prefix,
            streams,
            pattern,
        } => {
            let call = client.call(api, 0.0, true, stats, || {
                let request = client
                    .logs()
                    .filter_log_events()
                    .log_group_name(group)
                    .set_log_stream_name_prefix(stream_prefix.clone())
                    .set_log_stream_names((!streams.is_empty()).then(|| streams.clone()))
                    .set_filter_pattern(pattern.clone())
                    .start_time(window.start * 1_000)
                    // Events at the end time are answered by some, and not by others (aws-cli#4262).
                    .end_time(window.end * 1_000)
                    .set_next_token(token.clone());
                filter_log_events(request, Page::decode)
            });
            call.await
        }
        LogQuery::Stream(stream) => {
            let call = client.call(api, 0.0, true, stats, || {
                let request = client
                    .logs()
                    .get_log_events()
                    .log_group_name(group)
                    .log_stream_name(&**stream)
                    .start_time(window.start * 1_000)
                    .end_time(window.end * 1_000)
                    .start_from_head(true)
                    .set_next_token(token.clone());
                get_log_events(request, Page::decode)
            });
            call.await
        }
    }
}

/// One answer of either call.
#[derive(Debug)]
struct Page {
    /// Without their group, and without their stream where it was asked for by name.
    events: Vec<LogEvent>,
    next_token: Option<String>,
    next_forward_token: Option<String>,
}

/// The same as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(borrow)]
    events: Option<Vec<Event<'a>>>,
    next_token: Option<String>,
    next_forward_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    timestamp: i64,
    ingestion_time: Option<i64>,
    #[serde(borrow, default)]
    log_stream_name: Text<'a>,
    #[serde(borrow, rename = "eventId")]
    id: Option<Text<'a>>,
    #[serde(borrow, default)]
    message: Text<'a>,
}

/// Events of either answer, in the order they stand there.
#[cfg(any(test, fuzzing))]
pub(crate) fn decode_events(body: &[u8]) -> Option<Vec<LogEvent>> {
    Page::decode(body).ok().map(|page| page.events)
}

impl Page {
    fn decode(body: &[u8]) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let body: Body<'_> = serde_json::from_slice(body)?;
        let Some(events) = body.events else {
            return Err("the answer has no list of events".into());
        };
        let nobody: Arc<str> = Arc::from("");
        let mut stream = Arc::clone(&nobody);
        let event = |event: Event<'_>| {
            // Neighbours are mostly of one stream: its name is kept once.
            if *stream != *event.log_stream_name.0 {
                stream = Arc::from(event.log_stream_name.0);
            }
            LogEvent {
                ts: event.timestamp,
                ingested_at: event.ingestion_time.unwrap_or(event.timestamp),
                group: Arc::clone(&nobody),
                stream: Arc::clone(&stream),
                id: event.id.map(|id| id.0.into()),
                message: event.message.0.into(),
            }
        };
        Ok(Self {
            events: events.into_iter().map(event).collect(),
            next_token: body.next_token,
            next_forward_token: body.next_forward_token,
        })
    }

    fn next(&self, query: &LogQuery) -> Option<&str> {
        let token = match query {
            LogQuery::Filter { .. } => &self.next_token,
            LogQuery::Stream(_) => &self.next_forward_token,
        };
        token.as_deref().filter(|t| !t.is_empty())
    }

    fn events(mut self, group: &Arc<str>, query: &LogQuery) -> Vec<LogEvent> {
        for event in &mut self.events {
            event.group = Arc::clone(group);
            if let LogQuery::Stream(stream) = query {
                event.stream = Arc::clone(stream);
            }
        }
        self.events
    }
}

/// Text whatever its bytes: JSON can escape half of a surrogate pair, which is no Unicode, and one such message must not stop the others.
/// What is no Unicode becomes U+FFFD.
#[derive(Default)]
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Text<'de>, E> {
                Ok(Text(match std::str::from_utf8(bytes) {
                    Ok(text) => Cow::Borrowed(text),
                    Err(_) => Cow::Owned(lossy(bytes)),
                }))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Text<'de>, E> {
                let text = std::str::from_utf8(bytes).map(str::to_owned);
                Ok(Text(Cow::Owned(text.unwrap_or_else(|_| lossy(bytes)))))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&without_halves(bytes)).into_owned()
}

/// Half a surrogate pair comes as three bytes, and is one sign.
fn without_halves(bytes: &[u8]) -> Vec<u8> {
    let is_half = |w: &[u8]| w[0] == 0xed && (0xa0..=0xbf).contains(&w[1]);
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        if rest.len() >= 3 && is_half(rest) {
            plain.extend_from_slice("\u{fffd}".as_bytes());
            rest = &rest[3..];
        } else {
            plain.push(*first);
            rest = &rest[1..];
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(body: &[u8]) -> Vec<String> {
        let query = LogQuery::Stream(Arc::from("s"));
        let page = Page::decode(body).expect("read");
        let events = page.events(&Arc::from("g"), &query);
        events.into_iter().map(|e| e.message.into()).collect()
    }

    #[test]
    fn a_message_that_is_no_unicode_stops_no_other() {
        let escaped = br#"{"events":[{"timestamp":1,"message":"a\ud800b"},{"timestamp":2,"message":"\ud83d\ude00\u0000\n\"<"}]}"#;
        let read = messages(escaped);
        assert_eq!(read[0], "a\u{fffd}b");
        assert_eq!(read[1], "\u{1f600}\0\n\"<");
        let raw = b"{\"events\":[{\"timestamp\":1,\"message\":\"a\xffb\"}]}";
        assert_eq!(messages(raw), ["a\u{fffd}b"]);
    }

    #[test]
    fn an_answer_without_events_is_no_empty_page() {
        assert!(Page::decode(b"{}").is_err());
        assert!(Page::decode(b"<html>").is_err());
        assert!(messages(br#"{"events":[],"nextToken":"t"}"#).is_empty());
    }
}
