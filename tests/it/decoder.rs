//! Our decoders of `GetMetricData` and `ListMetrics` bodies against the SDK's, which reads the same bytes from the same kind of server.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_sdk_cloudwatch::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_sdk_cloudwatch::operation::get_metric_data::GetMetricDataOutput;
use aws_sdk_cloudwatch::operation::list_metrics::ListMetricsOutput;
use aws_sdk_cloudwatch::types::MessageData;
use bytes::Bytes;
use cwlake::aws::{get_metric_data, list_metrics};
use cwlake::discover::{ListPage, Listed};
use cwlake::fetch::{Page, PageResult};
use cwlake::model::{Dimension, MetricId, ServiceMessage};
use minicbor::Encoder;
use minicbor::data::Tag;

/// Answers every request with the bytes that were put there last.
struct Server {
    address: SocketAddr,
    body: Arc<Mutex<Vec<u8>>>,
}

impl Server {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let body = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::clone(&body);
        let router = axum::Router::new().fallback(move || {
            let body = answer.lock().expect("free").clone();
            async move {
                (
                    [
                        ("smithy-protocol", "rpc-v2-cbor"),
                        ("content-type", "application/cbor"),
                    ],
                    body,
                )
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, body }
    }

    fn client(&self) -> aws_sdk_cloudwatch::Client {
        let config = aws_sdk_cloudwatch::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(format!("http://{}", self.address))
            .credentials_provider(Credentials::for_tests())
            .retry_config(RetryConfig::disabled())
            .build();
        aws_sdk_cloudwatch::Client::from_conf(config)
    }

    /// What each decoder makes of a body; none when it refuses it.
    async fn both(&self, client: &aws_sdk_cloudwatch::Client, body: &[u8]) -> [Option<Page>; 2] {
        *self.body.lock().expect("free") = body.to_vec();
        let ours = get_metric_data(client.get_metric_data(), Bytes::new(), |body| {
            Ok(Page::decode(body)?)
        })
        .await;
        let sdk = client.get_metric_data().send().await;
        [ours.ok(), sdk.ok().map(page)]
    }

    /// The same of a listing.
    async fn both_listings(
        &self,
        client: &aws_sdk_cloudwatch::Client,
        body: &[u8],
    ) -> [Option<ListPage>; 2] {
        *self.body.lock().expect("free") = body.to_vec();
        let ours = list_metrics(client.list_metrics(), |body| Ok(ListPage::decode(body)?)).await;
        let sdk = client.list_metrics().send().await;
        [ours.ok(), sdk.ok().map(listing)]
    }
}

fn listing(output: ListMetricsOutput) -> ListPage {
    let metric = |m: &aws_sdk_cloudwatch::types::Metric| {
        let mut dimensions: Vec<Dimension> = Vec::new();
        let mut repeated = None;
        for d in m.dimensions() {
            let (name, value) = (d.name().unwrap_or(""), d.value().unwrap_or(""));
            if dimensions.iter().any(|d| d.name == name) {
                repeated = Some(name.to_owned());
            } else {
                dimensions.push(Dimension::new(name, value));
            }
        }
        let metric = MetricId::new(m.namespace()?, m.metric_name()?, dimensions);
        Some(Listed { metric, repeated })
    };
    let named = |m: &aws_sdk_cloudwatch::types::Metric| {
        m.namespace().is_some() && m.metric_name().is_some()
    };
    ListPage {
        is_nameless: !output.metrics().iter().all(named),
        owning_accounts: output.owning_accounts().to_vec(),
        metrics: output
            .metrics
            .map(|all| all.iter().filter_map(metric).collect()),
        next_token: output.next_token,
    }
}

fn page(output: GetMetricDataOutput) -> Page {
    let message = |m: &MessageData| ServiceMessage {
        code: m.code().unwrap_or("").to_owned(),
        text: m.value().unwrap_or("").to_owned(),
    };
    let result = |r: &aws_sdk_cloudwatch::types::MetricDataResult| PageResult {
        id: r.id().unwrap_or("").to_owned(),
        status: r.status_code().map(|s| s.as_str().to_owned()),
        messages: r.messages().iter().map(message).collect(),
        timestamps: r
            .timestamps()
            .iter()
            .map(|t| {
                let micros = i64::from(t.subsec_nanos() / 1_000);
                t.secs().saturating_mul(1_000_000).saturating_add(micros)
            })
            .collect(),
        values: r.values().to_vec(),
    };
    Page {
        results: output.metric_data_results().iter().map(result).collect(),
        messages: output.messages().iter().map(message).collect(),
        next_token: output.next_token,
    }
}

/// Bodies as different as the encoding allows.
struct Writer {
    rng: fastrand::Rng,
    bytes: Vec<u8>,
}

impl Writer {
    fn e(&mut self) -> Encoder<&mut Vec<u8>> {
        Encoder::new(&mut self.bytes)
    }

    /// A list or map of `n` items, of definite length or not.
    fn items(&mut self, map: bool, n: u64, mut item: impl FnMut(&mut Self)) {
        let definite = self.rng.bool();
        let mut e = self.e();
        match (map, definite) {
            (true, true) => e.map(n),
            (true, false) => e.begin_map(),
            (false, true) => e.array(n),
            (false, false) => e.begin_array(),
        }
        .expect("written");
        (0..n).for_each(|_| item(self));
        if !definite {
            self.e().end().expect("written");
        }
    }

    /// A map with most of `all`; of 256, `left_out` are not there.
    fn fields(
        &mut self,
        all: &[&'static str],
        left_out: u8,
        mut value: impl FnMut(&mut Self, &str),
    ) {
        let names: Vec<&str> = all
            .iter()
            .copied()
            .filter(|_| self.rng.u8(..) > left_out)
            .collect();
        let mut left = names.iter();
        self.items(true, names.len() as u64, |w| {
            let name = *left.next().expect("as many");
            w.text(name);
            value(w, name);
        });
    }

    fn text(&mut self, text: &str) {
        if self.rng.u8(..) < 30 {
            let cut = text.floor_char_boundary(text.len() / 2);
            let (a, b) = text.split_at(cut);
            self.e()
                .begin_str()
                .and_then(|e| e.str(a))
                .and_then(|e| e.str(b))
                .and_then(|e| e.end())
                .expect("written");
        } else {
            self.e().str(text).expect("written");
        }
    }

    fn number(&mut self) {
        let any = self.rng.f64() * 1e4;
        let whole = self.rng.i64(-5_000_000_000..5_000_000_000);
        let kind = self.rng.u8(..12);
        let mut e = self.e();
        match kind {
            0 => e.f16(1.5).map(|_| ()),
            1 => e.f32(2.25).map(|_| ()),
            2 => e.f64(f64::INFINITY).map(|_| ()),
            3 => e.f64(-0.0).map(|_| ()),
            _ => e.f64(any + whole as f64).map(|_| ()),
        }
        .expect("written");
    }

    fn timestamp(&mut self) {
        self.e().tag(Tag::new(1)).expect("written");
        let whole = self.rng.i64(-5_000..5_000_000_000);
        let fraction = self.rng.f64();
        let kind = self.rng.u8(..8);
        let mut e = self.e();
        match kind {
            0 => e.i64(whole).map(|_| ()),
            1 => e.f32(128.0).map(|_| ()),
            2 => e.f64(whole as f64 + fraction).map(|_| ()),
            3 => e.f64(1e300).map(|_| ()),
            _ => e.f64(whole as f64).map(|_| ()),
        }
        .expect("written");
    }

    fn messages(&mut self) {
        let n = self.rng.u64(..3);
        self.items(false, n, |w| {
            let mut names = ["Code", "Value", "Other"].iter();
            w.items(true, 3, |w| {
                w.text(names.next().expect("three"));
                w.text("Ünits");
            });
        });
    }

    fn result(&mut self, index: usize) {
        let all = [
            "Id",
            "Label",
            "Timestamps",
            "Values",
            "StatusCode",
            "Messages",
            "New",
        ];
        self.fields(&all, 20, |w, name| {
            if w.rng.u8(..) < 12 {
                w.e().null().expect("written");
                return;
            }
            let n = w.rng.u64(..40);
            match name {
                "Id" => w.text(&format!("q{index}")),
                "StatusCode" => {
                    w.text(["Complete", "PartialData", "Forbidden", "Unheard"][index % 4]);
                }
                "Timestamps" if w.rng.bool() => {
                    let start = w.rng.i64(0..1_000_000) as f64;
                    let mut at = 0.0;
                    w.items(false, n, |w| {
                        at += 60.0;
                        w.e()
                            .tag(Tag::new(1))
                            .and_then(|e| e.f64(start + at))
                            .expect("written");
                    });
                }
                "Timestamps" => w.items(false, n, Self::timestamp),
                "Values" => w.items(false, n, Self::number),
                "Messages" => w.messages(),
                _ => w.text("text"),
            }
        });
    }

    fn metric(&mut self) {
        let all = ["Namespace", "MetricName", "Dimensions", "New"];
        self.fields(&all, 3, |w, name| {
            let n = w.rng.u64(..4);
            match name {
                "Dimensions" => w.items(false, n, |w| {
                    let mut names = ["Name", "Value", "Other"].iter();
                    w.items(true, 3, |w| {
                        w.text(names.next().expect("three"));
                        let text = ["a", "b", "ü", "d,=\\"][w.rng.usize(..4)];
                        w.text(text);
                    });
                }),
                _ if w.rng.u8(..) < 2 => {
                    w.e().null().expect("written");
                }
                _ => {
                    let text = ["AWS/EC2", "Own"][usize::from(w.rng.bool())];
                    w.text(text);
                }
            }
        });
    }

    fn listing(seed: u64) -> Vec<u8> {
        let mut w = Self {
            rng: fastrand::Rng::with_seed(seed),
            bytes: Vec::new(),
        };
        let all = ["Metrics", "NextToken", "OwningAccounts", "ResponseMetadata"];
        w.fields(&all, 60, |w, name| {
            let n = w.rng.u64(..6);
            match name {
                _ if w.rng.u8(..) < 12 => {
                    w.e().null().expect("written");
                }
                "Metrics" => w.items(false, n, Self::metric),
                "OwningAccounts" => w.items(false, n, |w| w.text("111122223333")),
                _ => w.text("a token"),
            }
        });
        w.bytes
    }

    fn body(seed: u64) -> Vec<u8> {
        let mut w = Self {
            rng: fastrand::Rng::with_seed(seed),
            bytes: Vec::new(),
        };
        let all = [
            "MetricDataResults",
            "NextToken",
            "Messages",
            "ResponseMetadata",
        ];
        w.fields(&all, 60, |w, name| match name {
            "MetricDataResults" => {
                let (n, mut index) = (w.rng.u64(..6), 0);
                w.items(false, n, |w| {
                    w.result(index);
                    index += 1;
                });
            }
            "Messages" => w.messages(),
            _ => w.text("a token"),
        });
        w.bytes
    }
}

/// How many bodies are tried; more by `CWLAKE_TEST_FUZZ`.
fn rounds() -> u64 {
    std::env::var("CWLAKE_TEST_FUZZ").map_or(300, |n| n.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_form_both_decoders_read_the_same() {
    let server = Server::start().await;
    let client = server.client();
    let mut read = 0;
    for seed in 0..rounds() {
        let body = Writer::body(seed);
        let [ours, sdk] = server.both(&client, &body).await;
        // Compared as text: not-a-number equals itself there.
        assert_eq!(
            format!("{ours:?}"),
            format!("{sdk:?}"),
            "seed {seed}: {body:x?}"
        );
        read += u64::from(ours.is_some());
    }
    assert_eq!(read, rounds(), "every body was an answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_bodies_are_refused_by_both_or_read_alike() {
    let server = Server::start().await;
    let client = server.client();
    let (mut refused, mut lenient) = (0, 0);
    for seed in 0..rounds() {
        let mut rng = fastrand::Rng::with_seed(!seed);
        let mut body = Writer::body(seed);
        match rng.u8(..3) {
            0 => body.truncate(rng.usize(..body.len())),
            1 => body.insert(rng.usize(..body.len()), rng.u8(..)),
            _ => {
                let at = rng.usize(..body.len());
                body[at] ^= 1 << rng.u8(..8);
            }
        }
        let [ours, sdk] = server.both(&client, &body).await;
        match (&ours, &sdk) {
            (Some(_), Some(_)) => {
                assert_eq!(format!("{ours:?}"), format!("{sdk:?}"), "seed {seed}");
            }
            // A whole number among the values is a number to us.
            (Some(_), None) => lenient += 1,
            (None, Some(_)) => panic!("seed {seed}: the SDK reads what we refuse: {body:x?}"),
            (None, None) => refused += 1,
        }
    }
    assert!(refused > 0, "some damage is seen");
    assert!(lenient * 20 <= rounds(), "{lenient} bodies only we read");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_form_both_decoders_read_the_same_listing() {
    let server = Server::start().await;
    let client = server.client();
    let (mut read, mut refused) = (0, 0);
    for seed in 0..rounds() {
        let mut body = Writer::listing(seed);
        let mut rng = fastrand::Rng::with_seed(!seed);
        // Every third one is damaged.
        match rng.u8(..9) {
            0 => body.truncate(rng.usize(..body.len())),
            1 => body.insert(rng.usize(..body.len()), rng.u8(..)),
            2 => {
                let at = rng.usize(..body.len());
                body[at] ^= 1 << rng.u8(..8);
            }
            _ => {}
        }
        match server.both_listings(&client, &body).await {
            [Some(ours), Some(sdk)] => {
                assert_eq!(ours, sdk, "seed {seed}: {body:x?}");
                read += 1;
            }
            [None, None] => refused += 1,
            [ours, sdk] => panic!("seed {seed}: {ours:?}, {sdk:?}: {body:x?}"),
        }
    }
    assert!(read * 2 > rounds(), "{read} were answers");
    assert!(refused > 0, "some damage is seen");
}
