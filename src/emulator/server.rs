//! The HTTP side: one loopback port for every service, told apart by the signature's scope.

use std::collections::HashMap;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use axum::body::Bytes;
use axum::response::Response;

use super::bill::Bill;
use super::load::LoadError;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, Uri};

use super::answer::{Answer, Form, Refusal};
use super::cloudwatch::{Metrics, list_metrics, put_metric_data};
use super::faults::{Fault, FaultKind, Faults, KNOWN_CODES, Subject};
use super::get_metric_data::{Query, Request, constants};
use super::identity::{Identity, Scope, Sessions, Unknown, scope_of};
use super::respond::{http_date, plain, send};
use super::wire::{Protocol, Value};
use super::world::{AccountSpec, World, WorldError};
use super::{alarms, ec2, load, logs, organizations, sts};

/// Where CBOR requests go; boto3's JSON names the same service in a header.
const CBOR_PATH: &str = "/service/GraniteServiceVersion20100801/operation/";

/// A running emulator. Stops when dropped.
#[derive(Debug)]
pub struct Emulator {
    address: SocketAddr,
    state: Arc<Server>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Server {
    world: World,
    now: Mutex<Option<i64>>,
    metrics: Metrics,
    sessions: Sessions,
    faults: Faults,
    bill: Mutex<Bill>,
    quota: Mutex<HashMap<(String, String), Quota>>,
}

impl Emulator {
    /// Starts a world on `listen`, for example `127.0.0.1:0` for any free port.
    ///
    /// # Errors
    /// [`std::io::Error`] when the port cannot be had or the world's clock is no instant.
    pub async fn start(world: World, listen: SocketAddr) -> std::io::Result<Self> {
        let now = world
            .fixed_now()
            .map_err(|e: WorldError| std::io::Error::new(std::io::ErrorKind::InvalidInput, e))?;
        let state = Arc::new(Server {
            now: Mutex::new(now),
            metrics: Metrics::of(&world),
            sessions: Sessions::default(),
            faults: Faults::new(world.seed, world.faults.clone()),
            bill: Mutex::default(),
            quota: Mutex::default(),
            world,
        });
        let listener = tokio::net::TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let router = axum::Router::new()
            .fallback(answer)
            .layer(DefaultBodyLimit::max(16 << 20))
            .with_state(Arc::clone(&state));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the emulator stopped");
            }
        });
        Ok(Self {
            address,
            state,
            task,
        })
    }

    /// Adds series from files, see `load`.
    ///
    /// # Errors
    /// [`LoadError`] with file and line; what was read before stays.
    pub fn load(&self, dir: &Path) -> Result<u64, LoadError> {
        load::load(dir, &self.state.metrics)
    }

    /// Sets the data clock, seconds since the epoch.
    pub fn set_now(&self, now: i64) {
        *self
            .state
            .now
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// The data clock goes on with the machine's.
    pub fn follow_clock(&self) {
        *self
            .state
            .now
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has been counted so far.
    pub fn bill(&self) -> Bill {
        self.state
            .bill
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How a request speaks and what it wants.
struct Call {
    scope: Scope,
    operation: String,
    body: CallBody,
}

enum CallBody {
    /// CloudWatch, or Organizations.
    Structured(Protocol, Value),
    Query(Form),
}

impl Call {
    /// An error in the caller's own protocol.
    fn error(&self, status: u16, code: &'static str, message: &str) -> Answer {
        match &self.body {
            CallBody::Structured(protocol, _) => Answer::cloudwatch_error(
                *protocol,
                &Refusal {
                    status,
                    code,
                    message: message.to_owned(),
                },
            ),
            CallBody::Query(_) if self.scope.service == "ec2" => {
                Answer::ec2_error(status, code, message)
            }
            CallBody::Query(_) => Answer::query_error(status, code, message),
        }
    }
}

async fn answer(
    State(server): State<Arc<Server>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if method == Method::GET && uri.path() == "/_emulator/bill" {
        let bill = server
            .bill
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let json = serde_json::to_vec(&bill).unwrap_or_default();
        return plain(200, "application/json", json);
    }
    if body.len() > MOST_BYTES {
        let text = b"<html><h1>413 Request Entity Too Large</h1></html>".to_vec();
        return plain(413, "text/html", text);
    }
    let Some(call) = call_of(&uri, &headers, &body) else {
        return plain(
            400,
            "text/plain",
            b"not a signed request to sts, monitoring, logs, ec2 or organizations".to_vec(),
        );
    };
    let token = headers
        .get("x-amz-security-token")
        .and_then(|v| v.to_str().ok())
        .map(str::to_owned);
    let worker = Arc::clone(&server);
    // Aggregation is CPU work: it stays off the threads that serve connections.
    let handled = tokio::task::spawn_blocking(move || worker.handle(&call, token.as_deref())).await;
    match handled {
        Ok((mut answer, faults)) => {
            let now = *server.now.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever compares clocks compares with the world's.
            answer
                .headers
                .extend(now.map(|now| ("date", http_date(now))));
            send(answer, &faults).await
        }
        Err(_) => plain(500, "text/plain", b"the emulator broke down".to_vec()),
    }
}

/// # Source
/// telegraf#10842: `CloudWatch` refuses a longer body.
const MOST_BYTES: usize = 614_400;

fn call_of(uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Option<Call> {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let scope = scope_of(header("authorization")?)?;
    let unpacked;
    let body = if header("content-encoding") == Some("gzip") {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(body)
            .take(64 << 20)
            .read_to_end(&mut plain)
            .ok()?;
        unpacked = plain;
        &unpacked
    } else {
        body
    };
    if let Some(operation) = uri.path().strip_prefix(CBOR_PATH) {
        let input = Protocol::Cbor.read(body)?;
        return Some(Call {
            scope,
            operation: operation.to_owned(),
            body: CallBody::Structured(Protocol::Cbor, input),
        });
    }
    if let Some((_, operation)) = header("x-amz-target").and_then(|t| t.split_once('.')) {
        let input = Protocol::Json.read(body)?;
        return Some(Call {
            scope,
            operation: operation.to_owned(),
            body: CallBody::Structured(Protocol::Json, input),
        });
    }
    let form = Form(form_urlencoded::parse(body).into_owned().collect());
    let operation = form.get("Action")?.to_owned();
    Some(Call {
        scope,
        operation,
        body: CallBody::Query(form),
    })
}

impl Server {
    fn now(&self) -> i64 {
        let fixed = *self.now.lock().unwrap_or_else(PoisonError::into_inner);
        fixed.unwrap_or_else(|| {
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |d| d.as_secs().cast_signed())
        })
    }

    fn handle(&self, call: &Call, token: Option<&str>) -> (Answer, Vec<Fault>) {
        let caller = self
            .sessions
            .identify(&self.world, &call.scope.access_key, token);
        let account = caller
            .as_ref()
            .map_or("unknown", |c| c.account.as_str())
            .to_owned();
        let names = match &call.body {
            CallBody::Structured(_, input) => metric_names(input),
            CallBody::Query(_) => Vec::new(),
        };
        let subject = Subject {
            operation: &call.operation,
            account: &account,
            region: &call.scope.region,
            metric_names: &names,
        };
        let faults = self.faults.strike(subject);
        let answer = match caller {
            Ok(caller) => self.handle_known(call, &caller, &faults),
            Err(unknown) => refuse_unknown(call, unknown),
        };
        let mut bill = self.bill.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = bill.lane(&account, &call.scope.region);
        *lane.calls.entry(call.operation.clone()).or_default() += 1;
        if answer.status >= 400 {
            *lane.errors.entry(call.operation.clone()).or_default() += 1;
        }
        drop(bill);
        (answer, faults)
    }

    fn handle_known(&self, call: &Call, caller: &Identity, faults: &[Fault]) -> Answer {
        if let Some(answer) = faults.iter().find_map(|f| struck(call, f)) {
            return answer;
        }
        let (service, region) = (call.scope.service.as_str(), call.scope.region.as_str());
        if service == "sts" {
            let CallBody::Query(form) = &call.body else {
                return call.error(400, "InvalidAction", "STS speaks the query protocol");
            };
            return sts::handle(&self.world, &self.sessions, caller, form);
        }
        let Some(account) = self.world.account(&caller.account) else {
            return call.error(403, "AccessDenied", "no such account");
        };
        let action = format!("{}:{}", iam_prefix(service), call.operation);
        if service == "organizations" {
            return self.organizations(call, caller, &action);
        }
        if account.scp_denied_regions.iter().any(|r| r == region) {
            let text = format!(
                "User: {} is not authorized to perform: {action} with an explicit deny in a service control policy: \
                 arn:aws:organizations::{}:policy/o-emulated/service_control_policy/p-emulated",
                caller.arn, caller.account
            );
            return call.error(403, denied_code(service), &text);
        }
        if !account.regions.iter().any(|r| r == region) {
            let code = if service == "ec2" {
                "AuthFailure"
            } else {
                "UnrecognizedClientException"
            };
            return call.error(
                403,
                code,
                "The security token included in the request is invalid.",
            );
        }
        let kinds = match &call.body {
            CallBody::Structured(_, input) => input.list("AlarmTypes"),
            CallBody::Query(_) => &[],
        };
        let is_denied = |kind: &Value| matches!(kind, Value::Text(k) if caller.denies(&action, k));
        if !caller.allows(&action, region) || kinds.iter().any(is_denied) {
            let text = format!(
                "User: {} is not authorized to perform: {action} because no identity-based policy allows the {action} action",
                caller.arn
            );
            return call.error(403, denied_code(service), &text);
        }
        match &call.body {
            CallBody::Query(form) => {
                let omit = faults.iter().any(|f| f.kind == FaultKind::Omit);
                ec2::handle(&self.world, account, region, form, omit)
            }
            CallBody::Structured(protocol, input) => {
                let answer = if service == "logs" {
                    let asked = (call.operation.as_str(), input);
                    logs::handle(&self.world, account, region, self.now(), asked, faults)
                } else {
                    self.cloudwatch(&call.operation, account, region, input, faults)
                };
                match answer {
                    Ok(value) => Answer::of_value(*protocol, 200, &value),
                    Err(refusal) => Answer::cloudwatch_error(*protocol, &refusal),
                }
            }
        }
    }

    fn organizations(&self, call: &Call, caller: &Identity, action: &str) -> Answer {
        let CallBody::Structured(protocol, input) = &call.body else {
            return call.error(400, "InvalidAction", "Organizations speaks JSON");
        };
        let answer = if caller.allows(action, "") {
            organizations::handle(&self.world, &caller.account, &call.operation, input)
        } else {
            Err(Refusal {
                status: 400,
                code: "AccessDeniedException",
                message: format!(
                    "User: {} is not authorized to perform: {action}",
                    caller.arn
                ),
            })
        };
        match answer {
            Ok(value) => Answer::of_value(*protocol, 200, &value),
            Err(refusal) => Answer::cloudwatch_error(*protocol, &refusal),
        }
    }

    fn cloudwatch(
        &self,
        operation: &str,
        spec: &AccountSpec,
        region: &str,
        input: &Value,
        faults: &[Fault],
    ) -> Result<Value, Refusal> {
        let now = self.now();
        let account = spec.id.as_str();
        match operation {
            "ListMetrics" => {
                let accounts = (account, spec.linked.as_slice());
                list_metrics(&self.metrics, accounts, region, now, input)
            }
            "DescribeAlarms" | "DescribeAlarmHistory" => {
                alarms::handle(spec, region, now, (operation, input))
            }
            "PutMetricData" => put_metric_data(&self.metrics, account, region, now, input),
            "GetMetricData" => {
                if let Some(body) = constants(input) {
                    return Ok(body);
                }
                let request = Request::parse(input)?;
                let stranger = |q: &&Query| {
                    let owner = q.account.as_ref();
                    owner.is_some_and(|o| o != account && !spec.linked.contains(o))
                };
                if let Some(query) = request.queries.iter().find(stranger) {
                    return Err(Refusal::validation(format!(
                        "Account {} is not linked to this account.",
                        query.account.as_deref().unwrap_or_default()
                    )));
                }
                if self.world.enforce_quota {
                    let mut quota = self.quota.lock().unwrap_or_else(PoisonError::into_inner);
                    let lane = quota
                        .entry((account.to_owned(), region.to_owned()))
                        .or_default();
                    lane.spend(request.estimate(), now - request.start() <= 3 * 3_600)?;
                }
                let page = self.metrics.read_region(account, region, |lanes| {
                    let published = now - self.world.publication_delay_secs;
                    request.answer(lanes, (now, published), faults)
                });
                let mut bill = self.bill.lock().unwrap_or_else(PoisonError::into_inner);
                let lane = bill.lane(account, region);
                lane.points += page.points;
                lane.billed_metrics += page.billed_metrics;
                Ok(page.body)
            }
            other => Err(Refusal {
                status: 400,
                code: "InvalidAction",
                message: format!("{other} is not emulated"),
            }),
        }
    }
}

/// The service in IAM actions.
fn iam_prefix(service: &str) -> &str {
    if service == "monitoring" {
        "cloudwatch"
    } else {
        service
    }
}

fn denied_code(service: &str) -> &'static str {
    match service {
        "ec2" => "UnauthorizedOperation",
        "logs" => "AccessDeniedException",
        _ => "AccessDenied",
    }
}

fn metric_names(input: &Value) -> Vec<&str> {
    let queries = input.list("MetricDataQueries").iter();
    queries
        .filter_map(|q| q.get("MetricStat")?.get("Metric")?.str("MetricName"))
        .chain(input.str("MetricName"))
        .collect()
}

fn refuse_unknown(call: &Call, unknown: Unknown) -> Answer {
    let cloudwatch = matches!(call.body, CallBody::Structured(..));
    let invalid = match call.scope.service.as_str() {
        "ec2" => "AuthFailure",
        _ if cloudwatch => "UnrecognizedClientException",
        _ => "InvalidClientTokenId",
    };
    match unknown {
        Unknown::Expired => call.error(
            403,
            "ExpiredToken",
            "The security token included in the request is expired",
        ),
        Unknown::Key | Unknown::Token => call.error(
            403,
            invalid,
            "The security token included in the request is invalid.",
        ),
    }
}

/// Faults that answer in place of the service.
fn struck(call: &Call, fault: &Fault) -> Option<Answer> {
    match fault.kind {
        FaultKind::Throttle => Some(call.error(400, "Throttling", "Rate exceeded")),
        FaultKind::ExpiredToken => Some(call.error(
            403,
            "ExpiredToken",
            "The security token included in the request is expired",
        )),
        FaultKind::Invalid => {
            let text = format!(
                "The parameter MetricName {} is not valid.",
                fault.metric_name.as_deref().unwrap_or("")
            );
            Some(call.error(400, "ValidationError", &text))
        }
        FaultKind::Error if fault.code.is_empty() => Some(Answer {
            status: fault.status,
            content_type: "text/html",
            headers: Vec::new(),
            body: b"<html>error</html>".to_vec(),
        }),
        FaultKind::Error => {
            let code: &'static str = KNOWN_CODES
                .iter()
                .find(|c| **c == fault.code)
                .copied()
                .unwrap_or("InternalFailure");
            Some(call.error(fault.status, code, "emulated fault"))
        }
        _ => None,
    }
}

/// What a lane may call and ask a second.
///
/// # Source
/// CloudWatch user guide, "CloudWatch service quotas", `GetMetricData`.
const CALLS_PER_SECOND: f64 = 500.0;
const POINTS_PER_SECOND: f64 = 396_000.0;
const RECENT_POINTS_PER_SECOND: f64 = 180_000.0;

/// A token bucket of one second for each of a lane's quotas.
#[derive(Debug)]
struct Quota {
    calls: f64,
    points: f64,
    refilled: Instant,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            calls: CALLS_PER_SECOND,
            points: POINTS_PER_SECOND,
            refilled: Instant::now(),
        }
    }
}

impl Quota {
    fn spend(&mut self, points: f64, recent: bool) -> Result<(), Refusal> {
        let seconds = self.refilled.elapsed().as_secs_f64();
        self.refilled = Instant::now();
        self.calls = (self.calls + seconds * CALLS_PER_SECOND).min(CALLS_PER_SECOND);
        self.points = (self.points + seconds * POINTS_PER_SECOND).min(POINTS_PER_SECOND);
        // The quota of recent windows is smaller: each of their points weighs more.
        let weight = if recent {
            POINTS_PER_SECOND / RECENT_POINTS_PER_SECOND
        } else {
            1.0
        };
        if self.calls < 1.0 || self.points < points * weight {
            return Err(Refusal {
                status: 400,
                code: "Throttling",
                message: "Rate exceeded".to_owned(),
            });
        }
        self.calls -= 1.0;
        self.points -= points * weight;
        Ok(())
    }
}
