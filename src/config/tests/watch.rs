//! Thresholds that cannot be meant.

use super::Bench;

#[test]
fn thresholds_out_of_order_negative_not_a_number_or_over_a_hundred_percent_are_told_by_their_lines() {
    let problems = Bench::new(
        "[monitor]\ninterval_seconds = 0\n[alerts]\nconsecutive = 0\n[alerts.rules.cpu]\nraise_above = 80.0\nclear_below = 81.0\n\
         [alerts.rules.memory]\nraise_above = -1.0\n[alerts.rules.disk]\nraise_above = nan\n[alerts.rules.queue]\nraise_above = 101\n",
    )
    .problems();
    let expected = [
        "edge.toml:2: monitor.interval_seconds: 0 is out of range",
        "edge.toml:4: alerts.consecutive: 0 is out of range",
        "edge.toml:7: alerts.rules.cpu.clear_below: 81 is above raise_above, 80",
        "edge.toml:9: alerts.rules.memory.raise_above: -1 is out of range",
        "edge.toml:11: alerts.rules.disk.raise_above: NaN is out of range",
        "edge.toml:13: alerts.rules.queue.raise_above: 101 is out of range",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, start) in problems.iter().zip(expected) {
        assert!(problem.starts_with(start), "{problem}");
    }
}

#[test]
fn an_unknown_rule_names_the_nearest() {
    let problems = Bench::new("[alerts.rules.memroy]\nraise_above = 90.0\n").problems();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains("did you mean [alerts.rules.memory]?"), "{problems:?}");
    let problems = Bench::new("[alerts.rules.memory]\nraise_abvoe = 90.0\n").problems();
    assert!(problems[0].contains("did you mean alerts.rules.memory.raise_above?"), "{problems:?}");
}

#[test]
fn a_webhook_is_a_plain_address() {
    for url in ["", "https://example", "alertmanager:9093", "http://", "http:///x"] {
        assert_eq!(Bench::new(&format!("[alerts.webhook]\nurl = \"{url}\"\n")).problems().len(), 1, "{url}");
    }
    assert!(Bench::new("[alerts.webhook]\nurl = \"http://127.0.0.1:9093/api/v2/alerts\"\n").load().is_ok());
}
