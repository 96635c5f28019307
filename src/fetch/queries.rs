//! The queries of a request, from the plan to CBOR: five hundred of them are some ten thousand short texts, which the SDK's types would each
//! hold by itself before writing them.

use bytes::Bytes;
use minicbor::Encoder;

use crate::model::AccountId;
use crate::plan::{Batch, LanePlan};

/// `MetricDataQueries` with the queries at `positions` of a batch, byte for byte as the SDK writes that member. Their ids are `q0`, `q1` and so
/// on. `through` is the account that is called: another account's metrics are asked for by its id.
///
/// # Source
/// CloudWatch API reference, `MetricDataQuery`; smithy.io, "Smithy RPC v2 CBOR protocol".
pub(super) fn queries(
    plan: &LanePlan,
    batch: &Batch,
    positions: &[usize],
    through: &AccountId,
) -> Bytes {
    const BYTES_A_QUERY: usize = 256;
    let mut body = Vec::with_capacity(positions.len() * BYTES_A_QUERY);
    let written = write(
        plan,
        batch,
        positions,
        through,
        &mut Encoder::new(&mut body),
    );
    written.expect("a vector takes every byte");
    body.into()
}

type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

fn write(
    plan: &LanePlan,
    batch: &Batch,
    positions: &[usize],
    through: &AccountId,
    e: &mut Encoder<&mut Vec<u8>>,
) -> Written {
    let owner = (plan.lane.account != *through).then_some(&plan.lane.account);
    e.str("MetricDataQueries")?.array(positions.len() as u64)?;
    for (n, &position) in positions.iter().enumerate() {
        let query = batch.queries[position];
        let planned = &plan.series[query.series as usize];
        let ask = &planned.asks[query.ask as usize];
        let metric = &planned.series.metric;
        e.begin_map()?.str("Id")?.str(&format!("q{n}"))?;
        e.str("MetricStat")?.begin_map()?;
        e.str("Metric")?.begin_map()?;
        e.str("Namespace")?.str(metric.namespace())?;
        e.str("MetricName")?.str(metric.metric_name())?;
        e.str("Dimensions")?;
        e.array(metric.dimensions().len() as u64)?;
        for dimension in metric.dimensions() {
            e.begin_map()?.str("Name")?.str(&dimension.name)?;
            e.str("Value")?.str(&dimension.value)?.end()?;
        }
        e.end()?;
        let seconds = i32::try_from(query.period.seconds()).unwrap_or(i32::MAX);
        e.str("Period")?.i32(seconds)?;
        e.str("Stat")?.str(ask.statistic.as_str())?;
        if let Some(unit) = &ask.unit {
            e.str("Unit")?.str(unit)?;
        }
        e.end()?.str("ReturnData")?.bool(true)?;
        if let Some(owner) = owner {
            e.str("AccountId")?.str(owner.as_str())?;
        }
        e.end()?;
    }
    Ok(())
}

/// Which query of the request an id names.
pub(super) fn position_of(id: &str) -> Option<usize> {
    id.strip_prefix('q')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use aws_sdk_cloudwatch::types as sdk;
    use aws_smithy_runtime_api::box_error::BoxError;
    use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
    use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
    use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
    use aws_smithy_types::config_bag::ConfigBag;

    use super::*;
    use crate::config::PeriodChoice;
    use crate::model::{Dimension, Lane, MetricId, Period, Region, Series, Statistic, TimeWindow};
    use crate::plan::{Ask, BatchQuery, PlannedSeries};

    /// Keeps the body of a request, which then goes nowhere.
    #[derive(Clone, Debug, Default)]
    struct Body(Arc<Mutex<Vec<u8>>>);

    #[dyn_dispatch_hint]
    impl Intercept for Body {
        fn name(&self) -> &'static str {
            "Body"
        }

        fn read_after_serialization(
            &self,
            context: &BeforeTransmitInterceptorContextRef<'_>,
            _: &RuntimeComponents,
            _: &mut ConfigBag,
        ) -> Result<(), BoxError> {
            let body = context.request().body().bytes().expect("in memory");
            *self.0.lock().expect("ours") = body.to_vec();
            Err("not sent".into())
        }
    }

    async fn as_the_sdk_writes(queries: Vec<sdk::MetricDataQuery>) -> Vec<u8> {
        let body = Body::default();
        let config = aws_sdk_cloudwatch::Config::builder()
            .behavior_version(aws_sdk_cloudwatch::config::BehaviorVersion::latest())
            .region(aws_sdk_cloudwatch::config::Region::new("eu-west-1"))
            .interceptor(body.clone())
            .build();
        let request = aws_sdk_cloudwatch::Client::from_conf(config).get_metric_data();
        let sent = request.set_metric_data_queries(Some(queries)).send().await;
        assert!(sent.is_err(), "it was stopped");
        body.0.lock().expect("ours").clone()
    }

    fn plan() -> LanePlan {
        let lane = Lane {
            account: AccountId::parse("111122223333").expect("id"),
            region: Region::parse("eu-west-1").expect("region"),
        };
        let period = Period::new(300).expect("legal");
        let ask = |statistic: &str, unit: Option<&str>| Ask {
            statistic: Statistic::parse(statistic).expect("statistic"),
            period: PeriodChoice::AtLeast(period),
            unit: unit.map(Arc::from),
        };
        let asks: Arc<[Ask]> = [ask("Average", None), ask("p99.9", Some("Bytes/Second"))].into();
        let series = |name: &str, dimensions: Vec<Dimension>| PlannedSeries {
            series: Series::new(&lane, MetricId::new("Own/Naïve", name, dimensions)),
            asks: Arc::clone(&asks),
        };
        let long = "v".repeat(300);
        let two = vec![Dimension::new("B", &long), Dimension::new("A", "1,=\\")];
        let queries = [(0, 0), (0, 1), (1, 1)].map(|(series, ask)| BatchQuery {
            series,
            ask,
            period,
        });
        let batch = Batch {
            span: TimeWindow { start: 0, end: 300 },
            queries: queries.into(),
            billed_metrics: 2,
            points: 3,
        };
        LanePlan {
            series: vec![series("m", Vec::new()), series("n", two)],
            lane,
            overruled: 0,
            groups: Vec::new(),
            batches: vec![batch],
            covered: BTreeMap::new(),
        }
    }

    #[tokio::test]
    async fn a_request_is_byte_for_byte_the_sdks() {
        let plan = plan();
        let batch = &plan.batches[0];
        let other = AccountId::parse("444455556666").expect("id");
        for through in [&plan.lane.account, &other] {
            let owner = (plan.lane.account != *through).then_some("111122223333".to_owned());
            let positions = [2, 0, 1];
            let as_sdk = |(n, position): (usize, &usize)| {
                let query = batch.queries[*position];
                let planned = &plan.series[query.series as usize];
                let ask = &planned.asks[usize::from(query.ask)];
                let given = planned.series.metric.dimensions().iter();
                let dimension = |d: &Dimension| {
                    sdk::Dimension::builder()
                        .name(&d.name)
                        .value(&d.value)
                        .build()
                };
                let metric = sdk::Metric::builder()
                    .namespace(planned.series.metric.namespace())
                    .metric_name(planned.series.metric.metric_name())
                    .set_dimensions(Some(given.map(dimension).collect()))
                    .build();
                let stat = sdk::MetricStat::builder()
                    .metric(metric)
                    .period(300)
                    .stat(ask.statistic.as_str())
                    .set_unit(ask.unit.as_deref().map(sdk::StandardUnit::from))
                    .build();
                sdk::MetricDataQuery::builder()
                    .id(format!("q{n}"))
                    .metric_stat(stat)
                    .set_account_id(owner.clone())
                    .return_data(true)
                    .build()
            };
            let theirs = positions.iter().enumerate().map(as_sdk).collect();
            let ours = queries(&plan, batch, &positions, through);
            let whole = [b"\xbf", &ours[..], b"\xff"].concat();
            assert_eq!(whole, as_the_sdk_writes(theirs).await);
        }
    }

    #[test]
    fn ids_name_positions() {
        assert_eq!(position_of("q17"), Some(17));
        for id in ["", "q", "17", "q-1", "qx"] {
            assert_eq!(position_of(id), None, "{id}");
        }
    }
}
