//! The emulator against answers that the real AWS gave to small put → query cases.
//!
//! The cases restate facts recorded from AWS in September 2025 by the localstack project (Apache-2.0), in our own form:
//! what was put, what was asked, what came back.

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{
    Dimension, Metric, MetricDataQuery, MetricDatum, MetricStat, StandardUnit, StatisticSet,
};
use serde::Deserialize;

use crate::lab::{Lab, NOW, world};

#[derive(Deserialize)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    put: Vec<Put>,
    ask: Vec<Ask>,
    answer: Vec<Expected>,
}

#[derive(Deserialize)]
struct Put {
    metric: String,
    value: Option<f64>,
    /// count, sum, min, max
    set: Option<[f64; 4]>,
    unit: Option<String>,
    #[serde(default)]
    dimensions: Vec<[String; 2]>,
}

#[derive(Deserialize)]
struct Ask {
    id: String,
    metric: String,
    stat: String,
    period: i32,
    unit: Option<String>,
    #[serde(default)]
    dimensions: Vec<[String; 2]>,
}

#[derive(Deserialize)]
struct Expected {
    id: String,
    label: Option<String>,
    values: Vec<f64>,
    message: Option<String>,
}

fn client(lab: &Lab) -> Client {
    let config = aws_sdk_cloudwatch::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .endpoint_url(lab.emulator.url())
        .credentials_provider(Credentials::new("111122223333", "x", None, None, "test"))
        .build();
    Client::from_conf(config)
}

fn dimensions(pairs: &[[String; 2]]) -> Vec<Dimension> {
    pairs
        .iter()
        .map(|[n, v]| Dimension::builder().name(n).value(v).build())
        .collect()
}

fn datum(put: &Put, second: i64) -> MetricDatum {
    let set = put.set.map(|[count, sum, min, max]| {
        StatisticSet::builder()
            .sample_count(count)
            .sum(sum)
            .minimum(min)
            .maximum(max)
            .build()
    });
    MetricDatum::builder()
        .metric_name(&put.metric)
        .set_value(put.value)
        .set_statistic_values(set)
        .set_unit(put.unit.as_deref().map(StandardUnit::from))
        .set_dimensions(Some(dimensions(&put.dimensions)))
        .timestamp(DateTime::from_secs(second))
        .build()
}

fn query(ask: &Ask) -> MetricDataQuery {
    let metric = Metric::builder()
        .namespace("Recorded")
        .metric_name(&ask.metric)
        .set_dimensions(Some(dimensions(&ask.dimensions)))
        .build();
    let stat = MetricStat::builder()
        .metric(metric)
        .period(ask.period)
        .stat(&ask.stat)
        .set_unit(ask.unit.as_deref().map(StandardUnit::from))
        .build();
    MetricDataQuery::builder()
        .id(&ask.id)
        .metric_stat(stat)
        .build()
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_answers_are_reproduced() {
    let cases: Cases = toml::from_str(include_str!("../data/recorded.toml")).expect("cases");
    assert_eq!(cases.case.len(), 15);
    for case in cases.case {
        let lab = Lab::new(world("")).await;
        let client = client(&lab);
        let second = NOW - 1_800;
        let data = case.put.iter().map(|p| datum(p, second)).collect();
        client
            .put_metric_data()
            .namespace("Recorded")
            .set_metric_data(Some(data))
            .send()
            .await
            .expect("put");
        let answer = client
            .get_metric_data()
            .set_metric_data_queries(Some(case.ask.iter().map(query).collect()))
            .start_time(DateTime::from_secs(second - 60))
            .end_time(DateTime::from_secs(second + 60))
            .send()
            .await
            .expect("answer");
        assert_eq!(
            answer.metric_data_results().len(),
            case.answer.len(),
            "{}",
            case.name
        );
        for (result, expected) in answer.metric_data_results().iter().zip(&case.answer) {
            assert_eq!(result.id(), Some(expected.id.as_str()), "{}", case.name);
            assert_eq!(
                result
                    .status_code()
                    .map(aws_sdk_cloudwatch::types::StatusCode::as_str),
                Some("Complete"),
                "{}",
                case.name
            );
            assert_eq!(result.values(), expected.values, "{}", case.name);
            if expected.label.is_some() {
                assert_eq!(result.label(), expected.label.as_deref(), "{}", case.name);
            }
            let messages: Vec<_> = result
                .messages()
                .iter()
                .map(|m| (m.code(), m.value()))
                .collect();
            let wanted: Vec<_> = expected
                .message
                .iter()
                .map(|m| (Some("MultipleUnits"), Some(m.as_str())))
                .collect();
            assert_eq!(messages, wanted, "{}", case.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_ten_of_twenty_points_carries_a_token() {
    let lab = Lab::new(world("")).await;
    let client = client(&lab);
    let put = |minute: i64| {
        let one = Put {
            metric: "m".to_owned(),
            value: Some(minute as f64),
            set: None,
            unit: None,
            dimensions: Vec::new(),
        };
        datum(&one, NOW - 7_200 + minute * 60)
    };
    client
        .put_metric_data()
        .namespace("Recorded")
        .set_metric_data(Some((0..20).map(put).collect()))
        .send()
        .await
        .expect("put");
    let ask = Ask {
        id: "m1".to_owned(),
        metric: "m".to_owned(),
        stat: "Sum".to_owned(),
        period: 60,
        unit: None,
        dimensions: Vec::new(),
    };
    let request = || {
        client
            .get_metric_data()
            .metric_data_queries(query(&ask))
            .start_time(DateTime::from_secs(NOW - 7_200))
            .end_time(DateTime::from_secs(NOW))
            .max_datapoints(10)
    };
    let first = request().send().await.expect("page");
    assert_eq!(first.metric_data_results()[0].values().len(), 10);
    assert_eq!(
        first.metric_data_results()[0].values()[0],
        19.0,
        "newest first unless asked otherwise"
    );
    let token = first.next_token().expect("a token");
    let second = request().next_token(token).send().await.expect("page");
    assert_eq!(
        (
            second.metric_data_results()[0].values().len(),
            second.next_token()
        ),
        (10, None)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validation_error_has_the_recorded_shape() {
    let lab = Lab::new(world("")).await;
    let ask = Ask {
        id: "m1".to_owned(),
        metric: "m".to_owned(),
        stat: "Avg".to_owned(),
        period: 60,
        unit: None,
        dimensions: Vec::new(),
    };
    let error = client(&lab)
        .get_metric_data()
        .metric_data_queries(query(&ask))
        .start_time(DateTime::from_secs(NOW - 7_200))
        .end_time(DateTime::from_secs(NOW))
        .send()
        .await
        .expect_err("refused");
    let raw = error.raw_response().expect("an answer");
    assert_eq!(raw.status().as_u16(), 400);
    assert_eq!(
        raw.headers().get("x-amzn-query-error"),
        Some("ValidationError;Sender")
    );
    let body = raw.body().bytes().expect("in memory");
    let text = String::from_utf8_lossy(body);
    assert!(
        text.contains("com.amazon.coral.validate#ValidationException"),
        "{text}"
    );
}
