//! `cwlake demo` ends the same way on every day.

use cwlake::demo::{Setting, demo};
use cwlake::telemetry::Progress;

/// First and last days of months and years, a leap day, midnight, and ten years on.
#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_a_breach_and_a_budget_that_is_kept_on_every_day() {
    for now in [
        "2026-12-01T00:01:00Z",
        "2027-01-02T23:59:00Z",
        "2028-02-29T12:00:00Z",
        "2036-11-26T00:00:00Z",
    ] {
        let dir = tempfile::tempdir().expect("temp dir");
        let seconds = now.parse::<jiff::Timestamp>().expect("an instant");
        let setting = Setting {
            folder: dir.path(),
            program: "cwlake",
            now: seconds.as_second(),
            listen: ([127, 0, 0, 1], 0).into(),
            is_served: false,
        };
        let shown = demo(&setting, Progress::quiet()).await.expect(now);
        assert_eq!(shown.exit_code, 0, "{now}: {}", shown.text);
        let spent = shown.text.split("What was spent").nth(1).unwrap_or("");
        for line in ["BREACH   shop-prod:", "ok       shop-staging:"] {
            assert!(spent.contains(line), "{now}: {spent}");
        }
    }
}
