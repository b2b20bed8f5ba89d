//! The page at `/` and its files: all of them in the binary, compressed once, named by their common hash.
//!
//! The page is live by its script. What it shows without one, and before one has run, is [`render`]ed here: the state,
//! the figures and the alerts.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::error::ApiError;
use crate::actors::board::Board;
use crate::core::alert::{RuleName, Severity};
use crate::core::status::Phase;

/// What the page may do: nothing but its own files, and the daemon that it came from.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";
const TEMPLATE: &str = include_str!("../../page/index.html");
const HASH_DIGITS: usize = 16;
/// The time that a sparkline spans, in seconds.
const SPARK_SECONDS: f64 = 900.0;
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const ICON: &str = "image/svg+xml";

/// Every file beside the page itself: its name, its type, its bytes.
const FILES: [(&str, &str, &[u8]); 12] = [
    ("style.css", STYLE, include_bytes!("../../page/style.css")),
    ("page.js", SCRIPT, include_bytes!("../../page/page.js")),
    ("charts.js", SCRIPT, include_bytes!("../../page/charts.js")),
    ("contact.js", SCRIPT, include_bytes!("../../page/contact.js")),
    ("format.js", SCRIPT, include_bytes!("../../page/format.js")),
    ("try.js", SCRIPT, include_bytes!("../../page/try.js")),
    ("uPlot.iife.min.js", SCRIPT, include_bytes!("../../page/vendor/uPlot.iife.min.js")),
    ("uPlot.min.css", STYLE, include_bytes!("../../page/vendor/uPlot.min.css")),
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
    /// The box, or the daemon on it.
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
    pub resolved: Vec<Resolved>,
    /// Versions, in one line.
    pub build: String,
    /// When all this was so.
    pub at: SystemTime,
}

/// What is known of the box's own samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Watch {
    /// No samples are taken.
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
    /// Its past, oldest first: seconds before now, and the value.
    pub past: Vec<(f64, Option<f64>)>,
}

/// An alert that fires.
#[derive(Clone, Debug)]
pub struct Alert {
    /// The rule, such as `gpu_memory`.
    pub name: String,
    /// Which of several, such as a mount; may be empty.
    pub instance: String,
    /// How bad it is.
    pub severity: Severity,
    /// The last value.
    pub value: f64,
    /// What it is over.
    pub threshold: f64,
    /// `percent`, `celsius`, `ms` or another.
    pub unit: String,
    /// Breaches in a row.
    pub consecutive: u32,
    /// When it began.
    pub since: SystemTime,
    /// What it says.
    pub message: String,
}

/// An alert that was resolved.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The rule.
    pub name: String,
    /// Which of several; may be empty.
    pub instance: String,
    /// When it began.
    pub since: SystemTime,
    /// When it ended.
    pub at: SystemTime,
}

/// What the board knows: figures and alerts join it with the monitor.
fn state(board: &Board) -> PageState {
    let published = board.published();
    let fact = |name, value: String, more: &str| Fact { name, value, more: more.to_owned() };
    let mut facts = vec![match &published.model {
        Some(model) => fact("Model", format!("{} {}", model.name, model.version), ""),
        None => fact("Model", "none".to_owned(), ""),
    }];
    if let Some(model) = &published.model {
        facts.push(fact("Variant", if model.quantized { "quantized" } else { "original" }.to_owned(), ""));
    }
    facts.push(fact("Up for", span(board.started.elapsed()), ""));
    PageState {
        host: board.config.server.name.clone(),
        readiness: published.status.readiness(),
        starting: published.status.phase == Phase::Starting,
        watch: Watch::Off,
        facts,
        rate: Figure::default(),
        p95: Figure::default(),
        queue: Figure { value: Some(board.queue.held() as f64), ..Figure::default() },
        queue_places: board.config.model.queue_limit,
        cpu: Figure::default(),
        memory: Figure::default(),
        firing: Vec::new(),
        resolved: Vec::new(),
        build: format!(
            "edge-service {} ({}), ONNX Runtime {}",
            env!("CARGO_PKG_VERSION"),
            env!("EDGE_SERVICE_COMMIT"),
            board.runtime_version
        ),
        at: SystemTime::now(),
    }
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
        Watch::Off => return "The box is not watched.".to_owned(),
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
    let unit = unit(&alert.unit);
    // Ready or not has no measure.
    let measure = if alert.name == RuleName::NotReady.name() {
        String::new()
    } else {
        format!("{}, limit {}, ", with_unit(alert.value, unit), with_unit(alert.threshold, unit))
    };
    let much = format!("{measure}{} samples, {severity}", alert.consecutive);
    row(severity, "firing", mark, &alert.name, &alert.instance, &format!("since {} UTC", clock(alert.since)), &much)
        + &format!("<p class=\"message\">{}</p></li>", escape(&alert.message))
}

fn resolved(alert: &Resolved) -> String {
    let much = match alert.at.duration_since(alert.since) {
        Ok(length) => format!("resolved after {}", span(length)),
        Err(_) => "resolved".to_owned(),
    };
    let when = format!("{} UTC", clock(alert.at));
    row("info", "resolved", "well", &alert.name, &alert.instance, &when, &much) + "</li>"
}

/// A row of a list of alerts, still open.
fn row(severity: &str, state: &str, mark: &str, name: &str, instance: &str, when: &str, much: &str) -> String {
    format!(
        "<li class=\"alert\" data-severity=\"{severity}\" data-state=\"{state}\">\
         <svg class=\"mark\" aria-hidden=\"true\"><use href=\"#mark-{mark}\"></use></svg>\
         <p class=\"what\"><b>{}</b> <span class=\"instance\">{}</span></p>\
         <p class=\"when\">{}</p><p class=\"much\">{}</p>",
        escape(&words(name)),
        escape(instance),
        escape(when),
        escape(much)
    )
}

impl Figure {
    fn slot(&self, part: &str, unit: &str, top: Option<f64>) -> Option<String> {
        let over = self.value.zip(self.limit).map(|(value, limit)| value - limit).filter(|over| *over > 0.0);
        let spark = || Spark::of(self, top);
        Some(match part {
            "value" => escape(&self.value.map_or_else(|| "–".to_owned(), number)),
            "over" => if over.is_some() { "yes" } else { "no" }.to_owned(),
            "limit" => self.limit.map(|limit| format!("limit {}", escape(&with_unit(limit, unit)))).unwrap_or_default(),
            "note" => over.map(|over| self.note(over, unit)).unwrap_or_default(),
            "line" => spark().line,
            "area" => spark().area,
            "bound" => spark().bound,
            _ => return None,
        })
    }

    fn note(&self, over: f64, unit: &str) -> String {
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
        let mut spark = Spark::default();
        let mut begun: Option<f64> = None;
        for (age, value) in figure.past.iter().filter(|(age, _)| (0.0..=SPARK_SECONDS).contains(age)) {
            let x = 100.0 - age / SPARK_SECONDS * 100.0;
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
