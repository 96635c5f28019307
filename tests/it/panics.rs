//! A fault of ours in one worker: it takes its own lane with it, and no other.

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::lab::{CONFIG, Lab, clean_tree, unit, world};
use cwlake::model::UnitOutcome;

/// Breaks down whoever logs that it tries `GetMetricData` again: that is said by a request's own task, in the middle of its lane.
struct BreaksDown;

impl<S: Subscriber> Layer<S> for BreaksDown {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        struct Doing(bool);
        impl Visit for Doing {
            fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
            fn record_str(&mut self, field: &Field, value: &str) {
                self.0 |= field.name() == "doing" && value == "GetMetricData";
            }
        }
        let mut doing = Doing(false);
        event.record(&mut doing);
        assert!(!doing.0, "on purpose");
    }
}

#[tokio::test]
async fn a_panic_in_one_lane_fails_its_units_and_no_others() {
    let fault = "[[fault]]\noperation = \"GetMetricData\"\naccount = \"111122223333\"\nregion = \"eu-west-1\"\nkind = \"error\"\ntimes = 1\n";
    let lab = Lab::new(world(fault)).await;
    // One thread: whatever the run does on it is seen, and nothing of other tests.
    let seen = tracing_subscriber::registry().with(BreaksDown);
    let report = {
        let _guard = tracing::subscriber::set_default(seen);
        lab.export().await
    };
    let broken = unit(&report, "111122223333", "eu-west-1");
    assert_eq!(
        (report.exit_code(), broken.outcome, report.totals.written),
        (3, UnitOutcome::Failed, 3),
        "{}",
        report.text()
    );
    assert_eq!(lab.leftovers(), 0);
    // The next run makes it whole.
    let report = lab.export().await;
    assert_eq!(report.exit_code(), 0, "{}", report.text());
    assert_eq!(lab.tree(), clean_tree(CONFIG).await);
}
