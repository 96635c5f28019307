//! `CloudWatch` Logs: `DescribeLogGroups`, `FilterLogEvents`, `GetLogEvents`, AWS JSON 1.1.
//!
//! # Source
//! botocore `data/logs/2014-03-28/service-2.json`: pages of 50 groups; pages of 10,000 events or 1 MB, which may be empty and still have a
//! token; `FilterLogEvents` takes the events at its end time, `GetLogEvents` does not, and ends with the token it was given.

use super::answer::Refusal;
use super::faults::{Fault, FaultKind, mix, unit};
use super::fleet::seed_of;
use super::wire::Value;
use super::world::{AccountSpec, LogGroupSpec, World};

const GROUPS_A_PAGE: usize = 50;
const EVENTS_A_PAGE: usize = 10_000;
const BYTES_A_PAGE: usize = 1 << 20;
const DAY: i64 = 86_400_000;

pub(super) fn handle(
    world: &World,
    account: &AccountSpec,
    region: &str,
    now: i64,
    (operation, input): (&str, &Value),
    faults: &[Fault],
) -> Result<Value, Refusal> {
    let mut groups: Vec<&LogGroupSpec> = account
        .log_groups
        .iter()
        .filter(|g| g.region.as_deref().is_none_or(|r| r == region))
        .collect();
    groups.sort_by(|a, b| a.name.cmp(&b.name));
    match operation {
        "DescribeLogGroups" => describe(&groups, now, input),
        "FilterLogEvents" | "GetLogEvents" => {
            let name = input.str("logGroupName").unwrap_or("");
            let group = groups.iter().find(|g| g.name == name);
            let group = group.ok_or_else(|| not_found("log group"))?;
            let source = Source {
                group,
                seed: seed_of(world.seed, &[&account.id, region, name]),
                now: now * 1_000,
            };
            if operation == "FilterLogEvents" {
                source.filter(input, faults)
            } else {
                source.get(input, faults)
            }
        }
        other => Err(Refusal {
            status: 400,
            code: "InvalidAction",
            message: format!("{other} is not emulated"),
        }),
    }
}

fn not_found(what: &str) -> Refusal {
    Refusal {
        status: 400,
        code: "ResourceNotFoundException",
        message: format!("The specified {what} does not exist."),
    }
}

fn invalid(message: &str) -> Refusal {
    Refusal {
        status: 400,
        code: "InvalidParameterException",
        message: message.to_owned(),
    }
}

fn describe(groups: &[&LogGroupSpec], now: i64, input: &Value) -> Result<Value, Refusal> {
    let prefix = input.str("logGroupNamePrefix").unwrap_or("");
    let size = input.number("limit").map_or(GROUPS_A_PAGE, whole);
    if !(1..=GROUPS_A_PAGE).contains(&size) {
        return Err(invalid("limit must be 1 to 50"));
    }
    let from = match input.str("nextToken") {
        None => 0,
        Some(token) => token
            .strip_prefix("groups-")
            .and_then(|n| n.parse().ok())
            .ok_or_else(|| invalid("The specified nextToken is invalid."))?,
    };
    let wanted: Vec<&&LogGroupSpec> = groups
        .iter()
        .filter(|g| g.name.starts_with(prefix))
        .collect();
    let page = wanted.iter().skip(from).take(size).map(|g| {
        let kept = g.retention_days.map_or(100, i64::from);
        let bytes =
            i64::from(g.events_per_day) * i64::try_from(g.message_bytes + 26).unwrap_or(0) * kept;
        let mut pairs = vec![
            ("logGroupName".to_owned(), Value::text(&g.name)),
            (
                "creationTime".to_owned(),
                Value::Integer((now - 100 * 86_400) * 1_000),
            ),
            ("storedBytes".to_owned(), Value::Integer(bytes)),
        ];
        pairs.extend(
            g.retention_days
                .map(|d| ("retentionInDays".to_owned(), Value::Integer(d.into()))),
        );
        Value::Map(pairs)
    });
    let mut answer = vec![("logGroups".to_owned(), Value::List(page.collect()))];
    if from + size < wanted.len() {
        let token = format!("groups-{}", from + size);
        answer.push(("nextToken".to_owned(), Value::text(token)));
    }
    Ok(Value::Map(answer))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a size within its limits, or none"
)]
fn whole(n: f64) -> usize {
    n as usize
}

/// What generated texts are filled with.
const WORDS: [&str; 8] = [
    "cache=hit ",
    "retry=0 ",
    "user=anonymous ",
    "region=local ",
    "shard=7 ",
    "upstream=ok ",
    "queue=orders ",
    "flag=on ",
];

/// The events of a group: generated ones by their number since the epoch, then those of the world.
struct Source<'a> {
    group: &'a LogGroupSpec,
    seed: u64,
    /// ms since the epoch.
    now: i64,
}

struct Event {
    ts: i64,
    stream: String,
    message: Value,
    text: String,
    /// Of the group, and rising within it.
    id: u128,
}

/// Where a page begins: the number of an event, and how many empty pages came before.
#[derive(Clone, Copy)]
struct Position {
    at: i64,
    empty: u32,
}

impl Position {
    fn parse(token: &str) -> Option<Self> {
        let (at, empty) = token.strip_prefix("f/")?.split_once('.')?;
        Some(Self {
            at: at.parse().ok()?,
            empty: empty.parse().ok()?,
        })
    }

    fn token(self) -> String {
        format!("f/{}.{}", self.at, self.empty)
    }
}

impl Source<'_> {
    /// Numbers of the generated events in `[start, end]`, with some beside them.
    fn numbers(&self, start: i64, end: i64) -> (i64, i64) {
        let a_day = i64::from(self.group.events_per_day);
        if a_day == 0 {
            return (0, 0);
        }
        // Events stand in the order of time; a step more at each end, for rounding.
        let number = |ms: i64| ms.div_euclid(DAY) * a_day + ms.rem_euclid(DAY) * a_day / DAY;
        (number(start) - 1, number(end.min(self.now)) + 2)
    }

    fn event(&self, n: i64) -> Event {
        let a_day = i64::from(self.group.events_per_day);
        let own = mix(self.seed ^ n.cast_unsigned());
        let space = DAY as f64 / a_day as f64;
        #[expect(clippy::cast_possible_truncation, reason = "within a day")]
        let within = ((n.rem_euclid(a_day) as f64 + unit(own) * 0.9) * space) as i64;
        let ts = n.div_euclid(a_day) * DAY + within.min(DAY - 1);
        let level = if own.is_multiple_of(50) {
            "ERROR"
        } else if own % 10 == 1 {
            "WARN"
        } else {
            "INFO"
        };
        let status = if level == "ERROR" { 500 } else { 200 };
        let mut text = format!(
            "{level} request={:016x} path=/api/v1/orders/{} status={status} duration_ms={} ",
            mix(own),
            own % 5_000,
            own % 900
        );
        let mut more = own;
        while text.len() < self.group.message_bytes {
            more = mix(more);
            text.push_str(WORDS[(more % 8) as usize]);
            if more.is_multiple_of(4) {
                text.push_str(&format!("trace={more:016x} "));
            }
        }
        text.truncate(self.group.message_bytes.max(1));
        let stream = own / 7 % u64::from(self.group.streams.max(1));
        Event {
            ts,
            stream: format!("stream-{stream}"),
            message: Value::text(&text),
            text,
            id: self.id(n.cast_unsigned()),
        }
    }

    fn id(&self, n: u64) -> u128 {
        u128::from(self.seed >> 24) << 64 | u128::from(n)
    }

    fn given(&self, n: usize) -> Option<Event> {
        let event = self.group.events.get(n)?;
        let message = match &event.message_json {
            Some(json) => Value::Json(json.clone()),
            None => Value::text(&event.message),
        };
        Some(Event {
            ts: event.ts.as_millisecond(),
            stream: event.stream.clone(),
            message,
            text: event.message.clone(),
            id: self.id(1 << 60 | n as u64),
        })
    }

    fn has_stream(&self, name: &str) -> bool {
        let own = (0..self.group.streams).any(|n| format!("stream-{n}") == name);
        own || self.group.events.iter().any(|e| e.stream == name)
    }

    /// A page of the events in `[start, end]` that are wanted, and where the next one begins.
    fn page(
        &self,
        (start, end): (i64, i64),
        from: Option<Position>,
        limit: usize,
        wanted: impl Fn(&Event) -> bool,
    ) -> (Vec<Event>, Option<Position>) {
        let (first, last) = self.numbers(start, end);
        let mut at = from.map_or(first, |p| p.at).max(first);
        let given = i64::try_from(self.group.events.len()).unwrap_or(0);
        let kept = self
            .group
            .retention_days
            .map_or(i64::MIN, |days| self.now - i64::from(days) * DAY);
        let inside = |e: &Event| {
            (start..=end).contains(&e.ts) && e.ts <= self.now && e.ts >= kept && wanted(e)
        };
        let (mut page, mut bytes) = (Vec::new(), 0);
        // A search gives up after a while, whatever it has found.
        let mut looked_at = 0;
        while at < last + given {
            if looked_at >= EVENTS_A_PAGE || page.len() >= limit || bytes >= BYTES_A_PAGE {
                return (page, Some(Position { at, empty: 0 }));
            }
            let event = if at < last {
                Some(self.event(at))
            } else {
                self.given(usize::try_from(at - last).unwrap_or(usize::MAX))
            };
            at += 1;
            looked_at += 1;
            if let Some(event) = event.filter(inside) {
                bytes += event.text.len() + 26;
                page.push(event);
            }
        }
        (page, None)
    }

    fn filter(&self, input: &Value, faults: &[Fault]) -> Result<Value, Refusal> {
        let pattern = Pattern::parse(input.str("filterPattern").unwrap_or(""))?;
        let time = |key: &str, otherwise: i64| integer(input, key).unwrap_or(otherwise);
        let window = (time("startTime", 0), time("endTime", self.now));
        let prefix = input.str("logStreamNamePrefix").unwrap_or("");
        let streams: Vec<&str> = input
            .list("logStreamNames")
            .iter()
            .filter_map(|v| match v {
                Value::Text(text) => Some(text.as_str()),
                _ => None,
            })
            .collect();
        if let Some(missing) = streams.iter().find(|s| !self.has_stream(s)) {
            let _ = missing;
            return Err(not_found("log stream"));
        }
        let from = position(input)?;
        let limit = page_size(input, faults);
        let (events, next) = self.page(window, from, limit, |e| {
            e.stream.starts_with(prefix)
                && (streams.is_empty() || streams.contains(&e.stream.as_str()))
                && pattern.matches(&e.text)
        });
        let (events, next) = spoil(events, next, from, faults);
        let mut answer = vec![(
            "events".to_owned(),
            Value::List(events.iter().map(|e| item(e, true)).collect()),
        )];
        answer.extend(next.map(|p| ("nextToken".to_owned(), Value::text(p.token()))));
        Ok(Value::Map(answer))
    }

    fn get(&self, input: &Value, faults: &[Fault]) -> Result<Value, Refusal> {
        let stream = input.str("logStreamName").unwrap_or("");
        if !self.has_stream(stream) {
            return Err(not_found("log stream"));
        }
        if input.get("startFromHead") != Some(&Value::Bool(true)) {
            return Err(invalid("only startFromHead is emulated"));
        }
        let start = integer(input, "startTime").unwrap_or(0);
        let end = integer(input, "endTime").unwrap_or(self.now) - 1;
        let from = position(input)?;
        let limit = page_size(input, faults);
        let (events, next) = self.page((start, end), from, limit, |e| e.stream == stream);
        let (events, next) = spoil(events, next, from, faults);
        // At the end the token is the one that was given; a first page that is the last has one of its own.
        let last = from.unwrap_or(Position {
            at: i64::MAX,
            empty: 0,
        });
        let token = next.unwrap_or(last).token();
        Ok(Value::Map(vec![
            (
                "events".to_owned(),
                Value::List(events.iter().map(|e| item(e, false)).collect()),
            ),
            ("nextForwardToken".to_owned(), Value::text(token)),
            ("nextBackwardToken".to_owned(), Value::text("b/0")),
        ]))
    }
}

fn integer(input: &Value, key: &str) -> Option<i64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "milliseconds are far below 2^53"
    )]
    input.number(key).map(|n| n as i64)
}

fn position(input: &Value) -> Result<Option<Position>, Refusal> {
    let token = input.str("nextToken");
    let parse =
        |t| Position::parse(t).ok_or_else(|| invalid("The specified nextToken is invalid."));
    token.map(parse).transpose()
}

fn page_size(input: &Value, faults: &[Fault]) -> usize {
    let small = faults.iter().find(|f| f.kind == FaultKind::SmallPages);
    let asked = input.number("limit").map_or(EVENTS_A_PAGE, whole);
    small
        .map_or(asked, |f| f.points.min(asked))
        .min(EVENTS_A_PAGE)
}

fn spoil(
    mut events: Vec<Event>,
    next: Option<Position>,
    from: Option<Position>,
    faults: &[Fault],
) -> (Vec<Event>, Option<Position>) {
    let has = |kind: FaultKind| faults.iter().any(|f| f.kind == kind);
    if has(FaultKind::EmptyPage) {
        let here = from.unwrap_or(Position { at: 0, empty: 0 });
        let again = Position {
            empty: here.empty + 1,
            ..here
        };
        return (Vec::new(), Some(again));
    }
    if has(FaultKind::Shuffle) {
        let twice = events.iter().map(Event::again).collect::<Vec<_>>();
        events.extend(twice);
        events.reverse();
    }
    if has(FaultKind::RepeatToken) {
        return (events, Some(Position { at: 1, empty: 99 }));
    }
    (events, next)
}

impl Event {
    fn again(&self) -> Self {
        Self {
            ts: self.ts,
            stream: self.stream.clone(),
            message: self.message.clone(),
            text: self.text.clone(),
            id: self.id,
        }
    }
}

fn item(event: &Event, has_id: bool) -> Value {
    let mut pairs = vec![
        ("timestamp".to_owned(), Value::Integer(event.ts)),
        ("message".to_owned(), event.message.clone()),
        ("ingestionTime".to_owned(), Value::Integer(event.ts + 500)),
    ];
    if has_id {
        let id = format!("{:020}{:036}", event.ts, event.id);
        pairs.push(("eventId".to_owned(), Value::Text(id)));
        pairs.push(("logStreamName".to_owned(), Value::text(&event.stream)));
    }
    Value::Map(pairs)
}

/// Terms of an unstructured pattern.
///
/// # Source
/// CloudWatch Logs user guide, "Filter pattern syntax": terms are all wanted, `?` before one makes it one of several, `-` excludes it.
struct Pattern {
    all: Vec<String>,
    any: Vec<String>,
    none: Vec<String>,
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, Refusal> {
        let refuse = || invalid("Invalid filter pattern");
        let mut pattern = Self {
            all: Vec::new(),
            any: Vec::new(),
            none: Vec::new(),
        };
        let mut rest = text.trim();
        if rest.starts_with(['{', '[', '%']) {
            return Err(refuse());
        }
        while !rest.is_empty() {
            let (list, after) = match rest.as_bytes()[0] {
                b'?' => (&mut pattern.any, &rest[1..]),
                b'-' => (&mut pattern.none, &rest[1..]),
                _ => (&mut pattern.all, rest),
            };
            let (term, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').ok_or_else(refuse)?,
                None => after.split_once(' ').unwrap_or((after, "")),
            };
            let plain = |c: char| c.is_alphanumeric() || " _./=:-".contains(c);
            if term.is_empty() || !term.chars().all(plain) {
                return Err(refuse());
            }
            list.push(term.to_owned());
            rest = after.trim_start();
        }
        Ok(pattern)
    }

    fn matches(&self, text: &str) -> bool {
        let has = |term: &String| text.contains(term.as_str());
        self.all.iter().all(has)
            && (self.any.is_empty() || self.any.iter().any(has))
            && !self.none.iter().any(has)
    }
}
