//! The page at `/` and its files: all of them in the binary, compressed once, named by their common hash.
//!
//! The page is live by its script. What it shows without one, and before one has run, is [`render`]ed here: the state,
//! the figures and the alerts.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::error::ApiError;
use super::status;
use crate::actors::alert::{Told, host_name};
use crate::actors::board::{Board, Published};
use crate::actors::monitor::Taken;
use crate::core::alert::{Alert, RuleName, Severity};
use crate::core::sample::Scope;
use crate::core::status::{CanaryState, Phase, Room};

/// What the page may do: nothing but its own files, and the daemon that it came from.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";
const TEMPLATE: &str = include_str!("../../page/index.html");
const HASH_DIGITS: usize = 16;
/// The times that a sparkline may span, in seconds: a young daemon's few samples are not lost in an empty quarter of an hour.
const SPARK_SECONDS: [f64; 4] = [60.0, 120.0, 300.0, 900.0];
/// The points that a sparkline has at most.
const SPARK_POINTS: usize = 120;
/// The resolved alerts that are shown.
const MOST_RESOLVED: usize = 6;
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const ICON: &str = "image/svg+xml";

/// Every file beside the page itself: its name, its type, its bytes.
const FILES: [(&str, &str, &[u8]); 13] = [
    ("style.css", STYLE, include_bytes!("../../page/style.css")),
    ("page.js", SCRIPT, include_bytes!("../../page/page.js")),
    ("charts.js", SCRIPT, include_bytes!("../../page/charts.js")),
    ("contact.js", SCRIPT, include_bytes!("../../page/contact.js")),
    ("format.js", SCRIPT, include_bytes!("../../page/format.js")),
    ("try.js", SCRIPT, include_bytes!("../../page/try.js")),
    ("uPlot.iife.min.js", SCRIPT, include_bytes!("../../page/vendor/uPlot.iife.min.js")),
    ("uPlot.min.css", STYLE, include_bytes!("../../page/vendor/uPlot.min.css")),
    ("uPlot.LICENSE", TEXT, include_bytes!("../../page/vendor/uPlot.LICENSE")),
    ("well.svg", ICON, include_bytes!("../../page/well.svg")),
    ("warn.svg", ICON, include_bytes!("../../page/warn.svg")),
    ("bad.svg", ICON, include_bytes!("../../page/bad.svg")),
    ("lost.svg", ICON, include_bytes!("../../page/lost.svg")),
];

static ASSETS: LazyLock<Assets> = LazyLock::new(Assets::new);

struct Asset {
    name: &'static str,
    content_type: &'static str,
    plain: Bytes,
    /// Absent where it is no smaller.
    gzip: Option<Bytes>,
}

struct Assets {
    /// The hash of all files, a part of each one's path: scripts import each other by relative paths.
    hash: String,
    files: Vec<Asset>,
}

impl Assets {
    fn new() -> Assets {
        let mut hash = Sha256::new();
        let files = FILES.map(|(name, content_type, bytes)| {
            hash.update(name);
            hash.update([0]);
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
            let gzip = gzip(bytes).filter(|small| small.len() < bytes.len());
            Asset { name, content_type, plain: Bytes::from_static(bytes), gzip }
        });
        let mut hash = hash.finalize().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        hash.truncate(HASH_DIGITS);
        Assets { hash, files: files.into() }
    }
}

fn gzip(bytes: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// Compresses the files, so that no request has to wait for it.
pub fn prepare() {
    LazyLock::force(&ASSETS);
}

/// `GET /`
pub async fn page(board: web::Data<Board>) -> HttpResponse {
    let mut response = secure(HttpResponse::Ok());
    response.content_type("text/html; charset=utf-8").insert_header((header::CACHE_CONTROL, "no-cache"));
    response.body(render(&state(&board)))
}

/// `GET /assets/{hash}/{file}`
pub async fn asset(request: HttpRequest, path: web::Path<(String, String)>) -> Result<HttpResponse, ApiError> {
    let (hash, name) = path.into_inner();
    // Under another hash it would be another file, and a cache would keep it for ever.
    let found = ASSETS.files.iter().find(|file| file.name == name).filter(|_| hash == ASSETS.hash);
    let file = found.ok_or(ApiError::NoSuchPath)?;
    let mut response = secure(HttpResponse::Ok());
    response
        .content_type(file.content_type)
        .insert_header((header::CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .insert_header((header::VARY, "accept-encoding"));
    match &file.gzip {
        Some(small) if takes_gzip(request.headers()) => {
            Ok(response.insert_header((header::CONTENT_ENCODING, "gzip")).body(small.clone()))
        }
        _ => Ok(response.body(file.plain.clone())),
    }
}

fn secure(mut response: HttpResponseBuilder) -> HttpResponseBuilder {
    response
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((
            HeaderName::from_static("cross-origin-opener-policy"),
            HeaderValue::from_static("same-origin"),
        ));
    response
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .any(|item| {
            let mut parts = item.split(';').map(str::trim);
            let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
            let refused = |part: &str| part.strip_prefix("q=").and_then(|q| q.parse().ok()) == Some(0.0_f32);
            named && !parts.any(refused)
        })
}

/// What the page shows before its script has asked for anything.
#[derive(Clone, Debug)]
pub struct PageState {
    /// The box.
    pub host: String,
    /// The snapshot's readiness, with its reason.
    pub readiness: Result<(), String>,
    /// Whether no model has been ready yet.
    pub starting: bool,
    /// Whether the box is watched.
    pub watch: Watch,
    /// Model, variant, provider, time since the start: what stands in small beside the state.
    pub facts: Vec<Fact>,
    /// Requests in a second.
    pub rate: Figure,
    /// Requests that failed, per cent.
    pub errors_percent: Option<f64>,
    /// 95th percentile of the latency in milliseconds.
    pub p95: Figure,
    /// Places taken in the queue.
    pub queue: Figure,
    /// Places in the queue.
    pub queue_places: usize,
    /// CPU in use, per cent.
    pub cpu: Figure,
    /// Memory in use, per cent.
    pub memory: Figure,
    /// The alerts that fire, the worst first.
    pub firing: Vec<Alert>,
    /// The last alerts that were resolved, the newest first.
    pub resolved: Vec<Told>,
    /// Versions, in one line.
    pub build: String,
    /// When all this was so.
    pub at: SystemTime,
}

/// What is known of the box's own samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Watch {
    /// No sample has been taken yet.
    Off,
    /// The last sample is as young as it should be.
    Fresh,
    /// No sample came for too long.
    Stale {
        /// The age of the last one.
        age: Duration,
    },
}

/// A name and what is behind it.
#[derive(Clone, Debug)]
pub struct Fact {
    /// What it is.
    pub name: &'static str,
    /// The fact.
    pub value: String,
    /// What explains it; may be empty.
    pub more: String,
}

/// A number with its past.
#[derive(Clone, Debug, Default)]
pub struct Figure {
    /// The value now; none where the box has none.
    pub value: Option<f64>,
    /// The limit of its rule, in its own unit.
    pub limit: Option<f64>,
    /// Samples in a row, back from now, that were over the limit.
    pub samples_over: u32,
    /// Whether its rule fires.
    pub firing: bool,
    /// Whether it is that of the daemon's container, not of the whole box.
    pub contained: bool,
    /// Its past, oldest first: seconds before now, and the value.
    pub past: Vec<(f64, Option<f64>)>,
}

/// What the board knows.
fn state(board: &Board) -> PageState {
    let published = board.published();
    let samples = board.history(0);
    let latest = samples.last();
    let interval = board.config().monitor.interval_seconds;
    let watch = match latest.map(|taken| taken.at.elapsed()) {
        None => Watch::Off,
        Some(age) if age > status::longest_age(interval) => Watch::Stale { age },
        Some(_) => Watch::Fresh,
    };
    let alerts = &published.alerts;
    let mut firing = alerts.firing.clone();
    firing.sort_by_key(|alert| Reverse(alert.severity));
    let resolved = alerts.changes.iter().rev().filter(|told| !told.firing).take(MOST_RESOLVED).cloned().collect();
    let places = board.queue.limit();
    let rules = board.config().alerts.rules();
    let figure = |rule: Option<RuleName>, scale: f64, value: fn(&Taken) -> Option<f64>| {
        let rule = rule.and_then(|name| Some((name, rules.get(&name)?))).filter(|(_, rule)| rule.enabled);
        let limit = rule.map(|(_, rule)| rule.raise_above * scale);
        let alert = alerts.firing.iter().find(|alert| rule.is_some_and(|(name, _)| name == alert.key.rule));
        let is_over = |taken: &&Arc<Taken>| value(taken).zip(limit).is_some_and(|(value, limit)| value > limit);
        Figure {
            value: latest.and_then(|taken| value(taken)),
            limit,
            samples_over: match alert {
                Some(alert) => alert.consecutive,
                None => u32::try_from(samples.iter().rev().take_while(is_over).count()).unwrap_or(u32::MAX),
            },
            firing: alert.is_some(),
            contained: false,
            past: past(&samples, interval, value),
        }
    };
    let contained = |scope: Option<Scope>| scope == Some(Scope::Container);
    PageState {
        host: host_name(),
        readiness: published.status.readiness(),
        starting: published.status.phase == Phase::Starting,
        watch,
        facts: facts(board, &published),
        rate: figure(None, 1.0, |taken| Some(taken.service.requests_per_second)),
        errors_percent: latest.and_then(|taken| taken.service.traffic.errors_percent()),
        p95: figure(Some(RuleName::Latency), 1.0, |taken| taken.service.traffic.p95_ms),
        queue: Figure {
            value: Some(board.queue.held() as f64),
            // The rule counts per cent of the places.
            ..figure(Some(RuleName::Queue), places as f64 / 100.0, |taken| Some(taken.service.queue_waiting as f64))
        },
        queue_places: places,
        cpu: Figure {
            contained: contained(latest.and_then(|taken| Some(taken.sample.cpu.as_ref()?.scope))),
            ..figure(Some(RuleName::Cpu), 1.0, |taken| taken.sample.cpu.as_ref()?.usage_percent)
        },
        memory: Figure {
            contained: contained(latest.and_then(|taken| Some(taken.sample.memory?.scope))),
            ..figure(Some(RuleName::Memory), 1.0, |taken| Some(taken.sample.memory?.used_percent))
        },
        firing,
        resolved,
        build: format!(
            "edge-service {} ({}), ONNX Runtime {}",
            env!("CARGO_PKG_VERSION"),
            env!("EDGE_SERVICE_COMMIT"),
            board.runtime_version
        ),
        at: SystemTime::now(),
    }
}

fn facts(board: &Board, published: &Published) -> Vec<Fact> {
    let fact = |name, value: String, more: String| Fact { name, value, more };
    let mut facts = Vec::new();
    match &published.model {
        None => facts.push(fact("Model", "none".to_owned(), String::new())),
        Some(model) => {
            let (variant, why) = status::variant(model);
            let provider = status::PROVIDER.trim_end_matches("ExecutionProvider");
            let (canary, reason) = match &published.status.canary {
                CanaryState::Well => ("well", String::new()),
                CanaryState::Failing { reason } => ("failing", reason.clone()),
            };
            facts.push(fact("Model", format!("{} {}", model.name, model.version), String::new()));
            facts.push(fact("Variant", variant.to_owned(), why.to_owned()));
            facts.push(fact("Runs on", provider.to_owned(), String::new()));
            facts.push(fact("Canary", canary.to_owned(), reason));
        }
    }
    facts.push(fact("Up for", span(board.started.elapsed()), String::new()));
    let down: Vec<String> = published.status.down.iter().map(|room| format!("{room} down")).collect();
    let restarts: u64 =
        Room::RESTARTED.iter().map(|room| board.metrics.actor_restarts.with_label_values(&[room.name()]).get()).sum();
    facts.push(fact(
        "Rooms",
        if down.is_empty() { "all up".to_owned() } else { down.join(", ") },
        match restarts {
            0 => String::new(),
            1 => "1 restart".to_owned(),
            more => format!("{more} restarts"),
        },
    ));
    facts
}

/// The past of one value: its highest ones where there are more samples than a small line can show.
fn past(samples: &[Arc<Taken>], interval: f64, value: fn(&Taken) -> Option<f64>) -> Vec<(f64, Option<f64>)> {
    let Some(last) = samples.last() else { return Vec::new() };
    let age = |taken: &Taken| last.at.saturating_duration_since(taken.at).as_secs_f64();
    let shown: Vec<&Arc<Taken>> = samples.iter().filter(|taken| age(taken) <= SPARK_SECONDS[3]).collect();
    let each = shown.len().div_ceil(SPARK_POINTS).max(1);
    let mut past: Vec<(f64, Option<f64>)> = Vec::new();
    for some in shown.chunks(each) {
        let highest = some.iter().filter_map(|taken| value(taken)).reduce(f64::max);
        let age = some.last().map_or(0.0, |taken| age(taken));
        // Where samples are missing, so is the line.
        if let Some((before, _)) = past.last()
            && before - age > 2.5 * interval * each as f64
        {
            past.push((before - interval, None));
        }
        past.push((age, highest));
    }
    past
}

/// The page with `state` in it, every text escaped.
pub fn render(state: &PageState) -> String {
    let mut page = String::with_capacity(TEMPLATE.len() + 4096);
    let mut rest = TEMPLATE;
    while let Some((before, after)) = rest.split_once("{{") {
        page.push_str(before);
        let (key, after) = after.split_once("}}").unwrap_or((after, ""));
        page.push_str(&slot(state, key).unwrap_or_default());
        rest = after;
    }
    page.push_str(rest);
    page
}

/// What stands in one place of the template, as HTML.
fn slot(state: &PageState, key: &str) -> Option<String> {
    let hidden = |hide: bool| if hide { " hidden" } else { "" }.to_owned();
    Some(match key {
        "assets" => format!("/assets/{}", ASSETS.hash),
        "host" => escape(&state.host),
        "tone" => tone(state).to_owned(),
        "word" => if state.readiness.is_ok() { "Serving" } else { "Not ready" }.to_owned(),
        "reason" => state.readiness.as_ref().err().map(|reason| escape(reason)).unwrap_or_default(),
        "reason_hidden" => hidden(state.readiness.is_ok()),
        "box" => escape(&health(state)),
        "contact" | "at" => format!("{} UTC", clock(state.at)),
        "facts" => state.facts.iter().map(fact).collect(),
        "firing" => state.firing.iter().map(firing).collect(),
        "changes" => state.resolved.iter().map(resolved).collect(),
        "changes_hidden" => hidden(state.resolved.is_empty()),
        "quiet" if !state.firing.is_empty() => String::new(),
        "quiet" => match state.resolved.first() {
            Some(last) => format!("Nothing firing, last alert {} UTC.", clock(last.at)),
            None => "Nothing firing, and nothing has.".to_owned(),
        },
        "build" => escape(&state.build),
        "rate_limit" => state.errors_percent.map(|errors| format!("errors {} %", number(errors))).unwrap_or_default(),
        "queue_places" => state.queue_places.to_string(),
        _ => {
            let (name, part) = key.split_once('_')?;
            let (figure, unit, top) = match name {
                "rate" => (&state.rate, "/s", None),
                "p95" => (&state.p95, "ms", None),
                "queue" => (&state.queue, "", None),
                "cpu" => (&state.cpu, "%", Some(100.0)),
                "memory" => (&state.memory, "%", Some(100.0)),
                _ => return None,
            };
            figure.slot(part, unit, top)?
        }
    })
}

fn tone(state: &PageState) -> &'static str {
    let critical = state.firing.iter().any(|alert| alert.severity == Severity::Critical);
    let trouble = state.firing.iter().any(|alert| alert.severity != Severity::Info);
    let ready = state.readiness.is_ok();
    if critical || (!ready && !state.starting) {
        "bad"
    } else if !ready || trouble || matches!(state.watch, Watch::Stale { .. }) {
        "warn"
    } else {
        "well"
    }
}

fn health(state: &PageState) -> String {
    match state.watch {
        Watch::Off => return "The box has not been measured yet.".to_owned(),
        Watch::Stale { age } => return format!("The box was last measured {} ago.", span(age)),
        Watch::Fresh => {}
    }
    match state.firing.len() {
        0 => "The box is well, nothing is firing.".to_owned(),
        1 => "1 alert firing.".to_owned(),
        count => format!("{count} alerts firing."),
    }
}

fn fact(fact: &Fact) -> String {
    let more = if fact.more.is_empty() { String::new() } else { format!(" <small>{}</small>", escape(&fact.more)) };
    format!("<div><dt>{}</dt><dd>{}{more}</dd></div>", escape(fact.name), escape(&fact.value))
}

fn firing(alert: &Alert) -> String {
    let mark = match alert.severity {
        Severity::Critical => "bad",
        Severity::Warning => "warn",
        Severity::Info => "info",
    };
    let severity = alert.severity.name();
    let unit = unit(alert.key.rule.unit());
    let measure = match alert.value {
        // Ready or not has no measure.
        _ if alert.key.rule == RuleName::NotReady => String::new(),
        Some(value) => format!("{}, limit {}, ", with_unit(value, unit), with_unit(alert.threshold, unit)),
        None => "no value, ".to_owned(),
    };
    let plural = if alert.consecutive == 1 { "" } else { "s" };
    let much = format!("{measure}{} sample{plural}, {severity}", alert.consecutive);
    row(severity, "firing", mark, alert, &format!("since {} UTC", clock(alert.since)), &much)
}

fn resolved(told: &Told) -> String {
    let much = match told.at.duration_since(told.alert.since) {
        Ok(length) => format!("resolved after {}", span(length)),
        Err(_) => "resolved".to_owned(),
    };
    row("info", "resolved", "well", &told.alert, &format!("{} UTC", clock(told.at)), &much)
}

/// A row of a list of alerts.
fn row(severity: &str, state: &str, mark: &str, alert: &Alert, when: &str, much: &str) -> String {
    format!(
        "<li class=\"alert\" data-severity=\"{severity}\" data-state=\"{state}\">\
         <svg class=\"mark\" aria-hidden=\"true\"><use href=\"#mark-{mark}\"></use></svg>\
         <p class=\"what\"><b>{}</b> <span class=\"instance\">{}</span></p>\
         <p class=\"when\">{}</p><p class=\"much\">{}</p></li>",
        escape(&words(alert.key.rule.name())),
        escape(&alert.key.instance),
        escape(when),
        escape(much)
    )
}

impl Figure {
    fn slot(&self, part: &str, unit: &str, top: Option<f64>) -> Option<String> {
        let spark = || Spark::of(self, top);
        let over = self.firing || self.over().is_some();
        Some(match part {
            "value" => escape(&self.value.map_or_else(|| "–".to_owned(), number)),
            "scope" => if self.contained { "container" } else { "" }.to_owned(),
            "over" => if over { "yes" } else { "no" }.to_owned(),
            "limit" => self.limit.map(|limit| format!("limit {}", escape(&with_unit(limit, unit)))).unwrap_or_default(),
            "note" => {
                if over {
                    self.note(unit)
                } else {
                    String::new()
                }
            }
            "line" => spark().line,
            "area" => spark().area,
            "bound" => spark().bound,
            _ => return None,
        })
    }

    fn over(&self) -> Option<f64> {
        let (value, limit) = self.value.zip(self.limit)?;
        (value > limit).then_some(value - limit)
    }

    fn note(&self, unit: &str) -> String {
        let Some(over) = self.over() else { return "not clear yet".to_owned() };
        let samples = self.samples_over.max(1);
        let plural = if samples == 1 { "" } else { "s" };
        format!("{} over, {samples} sample{plural}", escape(&with_unit(over, unit)))
    }
}

/// A small line without axes, as paths on a field of 100 by 30.
#[derive(Default)]
struct Spark {
    line: String,
    area: String,
    bound: String,
}

impl Spark {
    fn of(figure: &Figure, top: Option<f64>) -> Spark {
        let most = figure.past.iter().filter_map(|(_, value)| *value).fold(0.0, f64::max);
        let limit = figure.limit.unwrap_or(f64::INFINITY);
        let top = top.unwrap_or_else(|| {
            // A limit far above everything would press the line to the ground.
            let high = if most > limit / 5.0 { (most * 1.1).max(limit * 1.1) } else { most * 1.1 };
            if high > 0.0 { high } else { 1.0 }
        });
        let y = |value: f64| 30.0 - (value.clamp(0.0, top) / top) * 30.0;
        let oldest = figure.past.first().map_or(0.0, |(age, _)| *age);
        let width = SPARK_SECONDS.into_iter().find(|width| *width >= oldest).unwrap_or(SPARK_SECONDS[3]);
        let mut spark = Spark::default();
        let mut begun: Option<f64> = None;
        for (age, value) in figure.past.iter().filter(|(age, _)| (0.0..=width).contains(age)) {
            let x = 100.0 - age / width * 100.0;
            match (value, begun) {
                (Some(value), None) => {
                    let _ = write!(spark.line, "M{x:.1} {:.1}", y(*value));
                    let _ = write!(spark.area, "M{x:.1} 30V{:.1}", y(*value));
                    begun = Some(x);
                }
                (Some(value), Some(_)) => {
                    let _ = write!(spark.line, "L{x:.1} {:.1}", y(*value));
                    let _ = write!(spark.area, "L{x:.1} {:.1}", y(*value));
                }
                (None, Some(start)) => {
                    let _ = write!(spark.area, "V30H{start:.1}Z");
                    begun = None;
                }
                (None, None) => {}
            }
        }
        if let Some(start) = begun {
            let _ = write!(spark.area, "V30H{start:.1}Z");
        }
        if limit <= top {
            let _ = write!(spark.bound, "M0 {:.1}H100", y(limit));
        }
        spark
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Three digits at most.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if value.fract() == 0.0 || size >= 9.95 => 0,
        size if size < 1.0 => 2,
        _ => 1,
    };
    format!("{value:.digits$}")
}

fn with_unit(value: f64, unit: &str) -> String {
    if unit.is_empty() { number(value) } else { format!("{}\u{a0}{unit}", number(value)) }
}

fn unit(name: &str) -> &str {
    match name {
        "percent" => "%",
        "celsius" => "°C",
        "seconds" => "s",
        "count" => "",
        other => other,
    }
}

/// `gpu_memory` as "GPU memory", `pressure_io` as "IO pressure".
fn words(name: &str) -> String {
    let turned = name.strip_prefix("pressure_").map(|what| format!("{what}_pressure"));
    let text = turned.as_deref().unwrap_or(name);
    let word = |word: &str| match word {
        "cpu" | "gpu" | "io" => word.to_uppercase(),
        _ => word.to_owned(),
    };
    let text = text.split('_').map(word).collect::<Vec<_>>().join(" ");
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

/// A length of time in its two largest units.
fn span(length: Duration) -> String {
    let total = length.as_secs();
    let (days, hours, minutes, seconds) = (total / 86_400, total / 3600 % 24, total / 60 % 60, total % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}\u{a0}s"),
        (0, 0, _) => format!("{minutes}\u{a0}min"),
        (0, ..) => format!("{hours}\u{a0}h {minutes}\u{a0}min"),
        _ => format!("{days}\u{a0}d {hours}\u{a0}h"),
    }
}

/// The time of day in UTC.
fn clock(at: SystemTime) -> String {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    format!("{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests;
