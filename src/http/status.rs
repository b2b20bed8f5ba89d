//! The daemon and its box for people and programs: status, samples, alerts, the last requests. All from the board.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::Value;

use super::qualification::QualificationStatus;
use crate::actors::alert::{AlertsView, Told, host_name, message, rfc3339};
use crate::actors::board::{Board, Published};
use crate::actors::model::ServedModel;
use crate::actors::monitor::Taken;
use crate::actors::supervisor::Qualification;
use crate::core::alert::{Alert, Rule, RuleName};
use crate::core::canary::Baseline;
use crate::core::observe::{fullest, gpu_memory_percent};
use crate::core::sample::{ResourcePressure, Sample};
use crate::core::status::{CanaryState, Phase, Room};

#[derive(Serialize)]
struct Status {
    monitoring_active: bool,
    monitor_interval: f64,
    thresholds: BTreeMap<&'static str, Threshold>,
    gpu_available: bool,
    current_resources: Sample,
    snapshot: Age,
    ready: bool,
    reason: Option<String>,
    phase: &'static str,
    model: Option<Model>,
    qualification: QualificationStatus,
    queue: Queue,
    traffic: Traffic,
    alerts: Alerts,
    actors: Vec<Actor>,
    build: Build,
    uptime_seconds: u64,
    host: String,
}

#[derive(Serialize)]
struct Threshold {
    enabled: bool,
    raise_above: f64,
    clear_below: f64,
    consecutive: u32,
    clear_consecutive: u32,
    severity: &'static str,
    unit: &'static str,
}

#[derive(Serialize)]
struct Age {
    age_seconds: Option<f64>,
    stale: bool,
}

#[derive(Serialize)]
struct Model {
    name: String,
    version: String,
    variant: &'static str,
    variant_reason: String,
    provider: &'static str,
    sha256: String,
    loaded_at: String,
    load_ms: f64,
    takes_pictures: bool,
    canary: Canary,
}

#[derive(Serialize)]
struct Canary {
    state: &'static str,
    reason: Option<String>,
    asks: &'static str,
    last_at: Option<String>,
}

#[derive(Serialize)]
struct Queue {
    waiting: usize,
    limit: usize,
}

#[derive(Default, Serialize)]
struct Traffic {
    requests_per_second: f64,
    errors_percent: Option<f64>,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
    p99_ms: Option<f64>,
}

#[derive(Serialize)]
struct Alerts {
    firing: Vec<Value>,
    changes: Vec<Value>,
}

#[derive(Serialize)]
struct Actor {
    name: &'static str,
    state: &'static str,
    restarts: u64,
}

#[derive(Serialize)]
struct Build {
    version: &'static str,
    commit: &'static str,
    runtime: String,
}

/// `GET /api/v1/monitoring/status`
pub async fn status(board: web::Data<Board>) -> HttpResponse {
    HttpResponse::Ok().json(build(&board, Instant::now()))
}

fn build(board: &Board, now: Instant) -> Status {
    let published = board.published();
    let latest = board.latest();
    let interval = board.config().monitor.interval_seconds;
    let readiness = published.status.readiness();
    Status {
        monitoring_active: !published.status.down.contains(&Room::Monitor)
            && !age(latest.as_deref(), interval, now).stale,
        monitor_interval: interval,
        thresholds: board
            .config()
            .alerts
            .rules()
            .iter()
            .map(|(name, rule)| (name.name(), threshold(*name, rule)))
            .collect(),
        gpu_available: latest.as_ref().is_some_and(|taken| !taken.sample.gpus.is_empty()),
        current_resources: latest.as_ref().map(|taken| taken.sample.clone()).unwrap_or_default(),
        snapshot: age(latest.as_deref(), interval, now),
        ready: readiness.is_ok(),
        reason: readiness.err(),
        phase: match published.status.phase {
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Stopping => "stopping",
        },
        model: published.model.as_ref().map(|served| model(board, served, &published)),
        qualification: super::qualification::status(&published.qualification),
        queue: Queue { waiting: board.queue.held(), limit: board.queue.limit() },
        traffic: latest.as_deref().map(traffic).unwrap_or_default(),
        alerts: alerts_of(&published.alerts),
        actors: actors(board, &published),
        build: Build {
            version: env!("CARGO_PKG_VERSION"),
            commit: env!("EDGE_SERVICE_COMMIT"),
            runtime: board.runtime_version.clone(),
        },
        uptime_seconds: board.started.elapsed().as_secs(),
        host: host_name(),
    }
}

/// A snapshot is stale once two intervals have passed without the next.
pub(super) fn longest_age(interval: f64) -> Duration {
    Duration::from_secs_f64(interval * 2.0 + 1.0)
}

fn age(latest: Option<&Taken>, interval: f64, now: Instant) -> Age {
    let age = latest.map(|taken| now.saturating_duration_since(taken.at));
    let stale = age.is_none_or(|age| age > longest_age(interval));
    Age { age_seconds: age.map(|age| age.as_secs_f64()), stale }
}

fn threshold(name: RuleName, rule: &Rule) -> Threshold {
    Threshold {
        enabled: rule.enabled,
        raise_above: rule.raise_above,
        clear_below: rule.clear_below,
        consecutive: rule.consecutive,
        clear_consecutive: rule.clear_consecutive,
        severity: rule.severity.name(),
        unit: name.unit(),
    }
}

/// Where the model runs.
pub(super) const PROVIDER: &str = "CPUExecutionProvider";

/// The form of the model that is served, and why that one.
pub(super) fn variant(served: &ServedModel, known: &Qualification) -> (&'static str, String) {
    let name = if served.quantized { "quantized" } else { "original" };
    (name, known.standing.why(known.prefer, served.quantized))
}

fn last_canary(board: &Board) -> Option<String> {
    let seconds = u64::try_from(board.metrics.canary_last.get()).ok().filter(|seconds| *seconds > 0)?;
    Some(rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)))
}

fn model(board: &Board, served: &ServedModel, published: &Published) -> Model {
    let (state, reason) = match &published.status.canary {
        CanaryState::Well => ("well", None),
        CanaryState::Failing { reason } => ("failing", Some(reason.clone())),
    };
    let asks = match served.baseline {
        Baseline::KnownAnswer(_) => "known answer",
        Baseline::AnswerOnly { .. } => "any answer in time",
    };
    let (variant, variant_reason) = variant(served, &published.qualification);
    Model {
        name: served.name.clone(),
        version: served.version.clone(),
        variant,
        variant_reason,
        provider: PROVIDER,
        sha256: served.sha256.clone(),
        loaded_at: rfc3339(served.loaded_at),
        load_ms: super::record::milliseconds(served.load_duration),
        takes_pictures: served.image.is_some(),
        canary: Canary { state, reason, asks, last_at: last_canary(board) },
    }
}

fn traffic(taken: &Taken) -> Traffic {
    let service = &taken.service;
    Traffic {
        requests_per_second: service.requests_per_second,
        errors_percent: service.traffic.errors_percent(),
        p50_ms: service.traffic.p50_ms,
        p95_ms: service.traffic.p95_ms,
        p99_ms: service.traffic.p99_ms,
    }
}

fn actors(board: &Board, published: &Published) -> Vec<Actor> {
    let restarts = &board.metrics.actor_restarts;
    Room::RESTARTED
        .into_iter()
        .map(|room| Actor {
            name: room.name(),
            state: if published.status.down.contains(&room) { "down" } else { "up" },
            restarts: restarts.with_label_values(&[room.name()]).get(),
        })
        .collect()
}

fn alert_json(alert: &Alert, firing: bool) -> Value {
    serde_json::json!({
        "alert": alert.key.rule.name(),
        "instance": alert.key.instance,
        "severity": alert.severity.name(),
        "value": alert.value,
        "threshold": alert.threshold,
        "unit": alert.key.rule.unit(),
        "consecutive": alert.consecutive,
        "since": rfc3339(alert.since),
        "message": message(alert, firing),
    })
}

fn change_json(told: &Told) -> Value {
    let mut json = alert_json(&told.alert, told.firing);
    json["state"] = if told.firing { "firing" } else { "resolved" }.into();
    json["at"] = rfc3339(told.at).into();
    json
}

fn alerts_of(view: &AlertsView) -> Alerts {
    Alerts {
        firing: view.firing.iter().map(|alert| alert_json(alert, true)).collect(),
        changes: view.changes.iter().map(change_json).collect(),
    }
}

/// `GET /api/v1/alerts`
pub async fn alerts(board: web::Data<Board>) -> HttpResponse {
    HttpResponse::Ok().json(alerts_of(&board.published().alerts))
}

/// `GET /api/v1/recorder`
pub async fn recorder(board: web::Data<Board>) -> HttpResponse {
    HttpResponse::Ok().json(board.recording())
}

/// `GET /api/v1/history?after=NUMBER`: what the page draws.
pub async fn history(request: HttpRequest, board: web::Data<Board>) -> HttpResponse {
    let after = request.query_string().split('&').find_map(|pair| pair.strip_prefix("after=")?.parse().ok());
    let samples: Vec<Value> = board.history(after.unwrap_or(0)).iter().map(|taken| point(taken)).collect();
    HttpResponse::Ok().json(serde_json::json!({
        "interval_seconds": board.config().monitor.interval_seconds,
        "samples": samples,
        "firing": spans(&board.published().alerts),
    }))
}

fn point(taken: &Taken) -> Value {
    let Taken { sample, service, .. } = taken;
    let some = |pressure: Option<ResourcePressure>| Some(pressure?.some?.avg10_percent);
    serde_json::json!({
        "number": taken.number,
        "at_ms": taken.at_ms,
        "cpu_percent": sample.cpu.as_ref().and_then(|cpu| cpu.usage_percent),
        "cores_percent": sample.cpu.iter().flat_map(|cpu| &cpu.per_core).map(|core| core.usage_percent).collect::<Vec<_>>(),
        "memory_percent": sample.memory.map(|memory| memory.used_percent),
        "swap_percent": sample.swap.filter(|swap| swap.total_bytes > 0).map(|swap| swap.used_percent),
        "disks": sample.disks.iter().map(|disk| serde_json::json!({"mount": disk.mount, "percent": fullest(disk)})).collect::<Vec<_>>(),
        "gpus": sample.gpus.iter().map(|gpu| serde_json::json!({
            "name": gpu.index.to_string(),
            "utilisation_percent": gpu.usage_percent,
            "memory_percent": gpu_memory_percent(gpu),
            "temperature_celsius": gpu.temperature_celsius,
        })).collect::<Vec<_>>(),
        "temperatures": sample.temperatures.iter().map(|sensor| serde_json::json!({
            "sensor": sensor.sensor, "celsius": sensor.temperature_celsius,
        })).collect::<Vec<_>>(),
        "pressure": sample.pressure.map(|pressure| serde_json::json!({
            "cpu": some(pressure.cpu), "memory": some(pressure.memory), "io": some(pressure.io),
        })),
        "requests_per_second": service.requests_per_second,
        "errors_percent": service.traffic.errors_percent(),
        "p50_ms": service.traffic.p50_ms,
        "p95_ms": service.traffic.p95_ms,
        "p99_ms": service.traffic.p99_ms,
        "queue_waiting": service.queue_waiting,
    })
}

/// When each alert fired, from the changes that are kept; one that still fires has no end.
fn spans(view: &AlertsView) -> Vec<Value> {
    let span = |alert: &Alert, to: Option<SystemTime>| {
        serde_json::json!({
            "alert": alert.key.rule.name(),
            "instance": alert.key.instance,
            "from_ms": Taken::milliseconds(alert.since),
            "to_ms": to.map(Taken::milliseconds),
        })
    };
    let over = view.changes.iter().filter(|told| !told.firing).map(|told| span(&told.alert, Some(told.at)));
    over.chain(view.firing.iter().map(|alert| span(alert, None))).collect()
}
