//! What the page shows, gathered from the board.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::spark::SPARK_SECONDS;
use super::words::span;
use crate::actors::alert::{Told, host_name};
use crate::actors::board::{Board, Published};
use crate::actors::monitor::Taken;
use crate::core::alert::{Alert, RuleName};
use crate::core::sample::Scope;
use crate::core::status::{CanaryState, Phase, Room};
use crate::http::status;

/// The points that a sparkline has at most.
pub(super) const SPARK_POINTS: usize = 120;
/// The resolved alerts that are shown.
pub(super) const MOST_RESOLVED: usize = 6;

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
pub(super) fn state(board: &Board) -> PageState {
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
            let (variant, why) = status::variant(model, &published.qualification);
            let provider = status::PROVIDER.trim_end_matches("ExecutionProvider");
            let (canary, reason) = match &published.status.canary {
                CanaryState::Well => ("well", String::new()),
                CanaryState::Failing { reason } => ("failing", reason.clone()),
            };
            facts.push(fact("Model", format!("{} {}", model.name, model.version), String::new()));
            facts.push(fact("Variant", variant.to_owned(), why));
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
