use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use flate2::read::GzDecoder;

use super::assets::{ASSETS, FILES, HASH_DIGITS};
use super::render::{TEMPLATE, render, tone};
use super::state::{Fact, Figure, MOST_RESOLVED, PageState, SPARK_POINTS, Watch, state};
use super::words::{number, span, words};
use super::*;
use crate::actors::alert::{AlertsView, Told};
use crate::actors::board::Published;
use crate::actors::monitor::Taken;
use crate::config::Config;
use crate::core::alert::{Alert, Key, RuleName, Severity};
use crate::core::observe::Service;
use crate::core::sample::{Cpu, Sample, Scope};
use crate::metrics::Metrics;

/// What all of it may weigh, uncompressed, in bytes.
const MOST: usize = 150_000;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn quiet() -> PageState {
    PageState {
        host: "box1".into(),
        readiness: Ok(()),
        starting: false,
        watch: Watch::Fresh,
        facts: vec![Fact { name: "Model", value: "digits 1".into(), more: String::new() }],
        rate: Figure::default(),
        errors_percent: Some(0.0),
        p95: Figure::default(),
        queue: Figure { value: Some(3.0), ..Figure::default() },
        queue_places: 64,
        cpu: Figure { value: Some(41.26), limit: Some(80.0), ..Figure::default() },
        memory: Figure::default(),
        firing: Vec::new(),
        resolved: Vec::new(),
        build: "edge-service 0".into(),
        at: at(50_520),
    }
}

fn trouble(rule: RuleName) -> Alert {
    Alert {
        key: Key { rule, instance: String::new() },
        severity: Severity::Warning,
        value: Some(92.84),
        threshold: 85.0,
        consecutive: 26,
        since: at(50_400),
    }
}

fn over(rule: RuleName, instance: &str, since: u64, until: u64) -> Told {
    let key = Key { rule, instance: instance.into() };
    Told { firing: false, alert: Alert { key, since: at(since), ..trouble(rule) }, at: at(until) }
}

fn board(change: impl FnOnce(&mut Config)) -> Arc<Board> {
    let mut config = Config::default();
    change(&mut config);
    let metrics = Metrics::new("digits", "1.0").unwrap();
    Board::new(Arc::new(config), ([127, 0, 0, 1], 8080).into(), "digits".into(), "1.0".into(), metrics)
}

/// A sample taken `age` seconds ago.
fn taken(number: u64, age: f64, cpu_percent: f64) -> Arc<Taken> {
    let cpu = Cpu { usage_percent: Some(cpu_percent), scope: Scope::Container, ..Cpu::default() };
    let sample = Sample { cpu: Some(cpu), ..Sample::default() };
    let at = Instant::now().checked_sub(Duration::from_secs_f64(age)).unwrap();
    let service = Service { requests_per_second: 4.0, queue_waiting: 3, queue_limit: 64, ..Service::default() };
    Arc::new(Taken { number, at_ms: 0, sample, service, at })
}

#[test]
fn a_quiet_box_reads_as_such() {
    let page = render(&quiet());
    for text in [
        "<h1 id=\"word\">Serving</h1>",
        "data-tone=\"well\"",
        "The box is well, nothing is firing.",
        "Nothing firing, and nothing has.",
        "<span class=\"number\">41</span> <span class=\"unit\">%</span>",
        "limit 80\u{a0}%",
        "<span class=\"number\">3</span> <span class=\"unit\">of 64</span>",
        "<span class=\"number\">–</span> <span class=\"unit\">ms</span>",
        "<dt>Model</dt><dd>digits 1</dd>",
        "class=\"reason\" hidden>",
        "14:02:00 UTC",
    ] {
        assert!(page.contains(text), "{text} is missing");
    }
    assert!(!page.contains("{{"), "a place is left open");
}

#[test]
fn trouble_is_told_with_its_measure_and_since_when() {
    let past = vec![(900.0, Some(50.0)), (600.0, Some(85.0)), (300.0, None), (0.0, Some(92.84))];
    let page = render(&PageState {
        readiness: Err("canary: the answers differ".into()),
        memory: Figure { value: Some(92.84), limit: Some(85.0), samples_over: 26, past, ..Figure::default() },
        firing: vec![trouble(RuleName::PressureMemory)],
        resolved: vec![over(RuleName::Disk, "/data", 40_000, 40_660)],
        ..quiet()
    });
    for text in [
        "<h1 id=\"word\">Not ready</h1>",
        "class=\"reason\">canary: the answers differ</p>",
        "data-tone=\"bad\"",
        "1 alert firing.",
        "data-figure=\"memory\" data-over=\"yes\"",
        "7.8\u{a0}% over, 26 samples",
        "<b>Memory pressure</b>",
        "93\u{a0}%, limit 85\u{a0}%, 26 samples, warning",
        "since 14:00:00 UTC",
        "<b>Disk</b> <span class=\"instance\">/data</span>",
        "resolved after 11\u{a0}min",
        // The line is broken where a value is missing.
        "d=\"M0.0 15.0L33.3 4.5M100.0 2.1\"",
        "d=\"M0 4.5H100\"",
    ] {
        assert!(page.contains(text), "{text} is missing");
    }
}

#[test]
fn what_the_monitor_saw_stands_there_without_script() {
    let board = board(|_| {});
    assert!(render(&state(&board)).contains("The box has not been measured yet."));
    board.keep(taken(1, 59.0, 40.0));
    assert!(render(&state(&board)).contains("The box was last measured 59\u{a0}s ago."));
    // One is missing between the second and the third.
    for (number, age, percent) in [(2, 40.0, 60.0), (3, 10.0, 90.0), (4, 0.0, 92.0)] {
        board.keep(taken(number, age, percent));
    }
    let page = render(&state(&board));
    for text in [
        "CPU <span class=\"scope\">container</span>",
        "<span class=\"number\">92</span>",
        "limit 80\u{a0}%",
        "12\u{a0}% over, 2 samples",
        "<span class=\"number\">4</span> <span class=\"unit\">/s</span>",
        "limit 51",
        "The box is well, nothing is firing.",
        "<dt>Rooms</dt><dd>all up</dd>",
        // The line of a minute is as wide as that of a quarter of an hour.
        "class=\"line\" d=\"M1.7 18.0",
    ] {
        assert!(page.contains(text), "{text} is missing in {page}");
    }
    let cpu = state(&board).cpu;
    let holes = cpu.past.iter().filter(|(_, value)| value.is_none()).count();
    assert_eq!((cpu.past.len(), holes), (5, 1), "{:?}", cpu.past);

    let worst = Alert { severity: Severity::Critical, ..trouble(RuleName::Cpu) };
    let changes = (0..20).map(|time| over(RuleName::Disk, "/", time, time + 1)).collect();
    let alerts = AlertsView { firing: vec![trouble(RuleName::Disk), worst], changes, ladder: None };
    board.publish(Arc::new(Published { alerts: Arc::new(alerts), ..Published::default() }));
    let shown = state(&board);
    assert_eq!(shown.firing[0].key.rule, RuleName::Cpu, "the worst is not first");
    assert_eq!(shown.resolved.len(), MOST_RESOLVED);
    assert_eq!(shown.resolved[0].at, at(20), "the newest is not first");
    assert!(render(&shown).contains("12\u{a0}% over, 26 samples"));
}

#[test]
fn a_long_past_is_told_by_few_points_that_keep_its_peaks() {
    let board = board(|config| config.monitor.interval_seconds = 0.1);
    for number in 0..9000_u64 {
        let percent = if number == 4321 { 99.0 } else { 10.0 };
        board.keep(taken(number, (8999 - number) as f64 / 10.0, percent));
    }
    let past = state(&board).cpu.past;
    assert!(past.len() <= SPARK_POINTS, "{}", past.len());
    assert!(past.iter().any(|(_, value)| *value == Some(99.0)), "the peak is lost");
    assert!(past.iter().all(|(_, value)| value.is_some()), "{past:?}");
}

#[test]
fn the_tone_is_that_of_the_worst() {
    let tone_of = |state: PageState| tone(&state);
    assert_eq!(tone_of(quiet()), "well");
    let stale = Watch::Stale { age: Duration::from_secs(60) };
    assert_eq!(tone_of(PageState { watch: stale, ..quiet() }), "warn");
    assert_eq!(tone_of(PageState { firing: vec![trouble(RuleName::Cpu)], ..quiet() }), "warn");
    let info = Alert { severity: Severity::Info, ..trouble(RuleName::Cpu) };
    assert_eq!(tone_of(PageState { firing: vec![info], ..quiet() }), "well");
    let critical = Alert { severity: Severity::Critical, ..trouble(RuleName::Cpu) };
    assert_eq!(tone_of(PageState { firing: vec![critical], ..quiet() }), "bad");
    let loading = PageState { readiness: Err("the model is being loaded".into()), ..quiet() };
    assert_eq!(tone_of(PageState { starting: true, ..loading.clone() }), "warn");
    assert_eq!(tone_of(loading), "bad");
}

#[test]
fn no_text_from_outside_becomes_markup() {
    let evil = "<script>alert(\"1\")</script>' onload='&{{host}}";
    let page = render(&PageState {
        host: evil.into(),
        readiness: Err(evil.into()),
        facts: vec![Fact { name: "Model", value: evil.into(), more: evil.into() }],
        firing: vec![Alert { key: Key { rule: RuleName::Disk, instance: evil.into() }, ..trouble(RuleName::Disk) }],
        resolved: vec![over(RuleName::Disk, evil, 2, 1)],
        build: evil.into(),
        ..quiet()
    });
    assert!(!page.contains("<script>"), "a tag came through");
    assert!(!page.contains("' onload="), "a quote came through");
    assert!(page.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39; onload=&#39;&amp;{{host}}"));
}

#[test]
fn everything_is_light_and_comes_from_here() {
    let all = FILES.iter().map(|(name, _, bytes)| (*name, *bytes)).chain([("index.html", TEMPLATE.as_bytes())]);
    let mut weight = 0;
    for (name, bytes) in all {
        weight += bytes.len();
        let text = std::str::from_utf8(bytes).unwrap();
        // Neither is asked for: the banner of the charting library, and the name that makes an icon an icon.
        let own = text
            .replace("/*! https://github.com/leeoniya/uPlot (v1.6.32) */", "")
            .replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        for outside in ["http://", "https://", "ws://", "wss://", "url(", "@import", "\"//", "'//"] {
            assert!(!own.contains(outside), "{name} has {outside}");
        }
    }
    assert!(weight <= MOST, "{weight} bytes are too many");
}

#[test]
fn the_page_has_no_inline_script_or_style() {
    for inline in ["<style", " style=", " onclick=", " onload=", "javascript:"] {
        assert!(!TEMPLATE.contains(inline), "{inline}");
    }
    let scripts = TEMPLATE.matches("<script").count();
    assert_eq!(scripts, TEMPLATE.matches("src=\"{{assets}}/").count());
    for word in ["unsafe", "http", "*", "data:"] {
        assert!(!POLICY.contains(word), "{word}");
    }
    assert!(POLICY.starts_with("default-src 'none';"));
}

#[test]
fn every_file_is_there_under_its_hash_and_as_it_was() {
    assert_eq!(ASSETS.hash.len(), HASH_DIGITS);
    assert!(ASSETS.hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let page = render(&quiet());
    for reference in page.split('"').filter(|text| text.starts_with("/assets/")) {
        let name = reference.strip_prefix(&format!("/assets/{}/", ASSETS.hash)).unwrap();
        assert!(FILES.iter().any(|file| file.0 == name), "{name}");
    }
    for file in &ASSETS.files {
        let Some(small) = &file.gzip else { continue };
        let mut plain = Vec::new();
        GzDecoder::new(&small[..]).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, file.plain, "{}", file.name);
    }
}

#[test]
fn gzip_is_sent_to_those_who_take_it() {
    let takes = |value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
        takes_gzip(&headers)
    };
    for yes in ["gzip", "br, gzip", "GZIP;q=0.5", "deflate, gzip;q=1.0, *;q=0"] {
        assert!(takes(yes), "{yes}");
    }
    for no in ["", "br", "gzip;q=0", "gzip; q=0.000", "gzipped"] {
        assert!(!takes(no), "{no}");
    }
}

#[test]
fn values_are_short() {
    let shown = [0.0, 0.349, 5.0, 3.12, 9.96, 42.4, 1234.5].map(number);
    assert_eq!(shown, ["0", "0.35", "5", "3.1", "10", "42", "1234"]);
    let lengths = [5, 60, 3700, 93_000].map(|seconds| span(Duration::from_secs(seconds)).replace('\u{a0}', " "));
    assert_eq!(lengths, ["5 s", "1 min", "1 h 1 min", "1 d 1 h"]);
    assert_eq!([words("gpu_memory"), words("pressure_io"), words("")], ["GPU memory", "IO pressure", ""]);
}
