//! The monitor room: samples the box on its timer, on an arbiter of its own, because probes block.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix::prelude::*;

use super::{SampleTaken, SetAlerts, SetPace, Taken};
use crate::actors::alert::Observe;
use crate::actors::board::Board;
use crate::actors::obituary::Obituary;
use crate::config::Config;
use crate::core::alert::{Moment, RuleName};
use crate::core::observe::{Service, values, watched_through};
use crate::core::sample::Sample;
use crate::core::standing::Prefer;
use crate::core::status::Room;
use crate::metrics::seconds;
use crate::probe::runner::{Outcome, Runner, Trouble};
use crate::probe::{Probe, ProbeError};

/// Makes the probes; those of a test are fakes.
pub type ProbeFactory = Arc<dyn Fn() -> Vec<Box<dyn Probe>> + Send + Sync>;

/// What a monitor room is built from.
#[derive(Clone)]
pub struct MonitorParts {
    /// What handlers read, and the daemon's own figures.
    pub board: Arc<Board>,
    /// Makes the probes.
    pub probes: ProbeFactory,
}

/// The monitor room.
pub struct Monitor {
    board: Arc<Board>,
    config: Arc<Config>,
    runner: Runner,
    supervisor: Recipient<SampleTaken>,
    alerts: Option<Recipient<Observe>>,
    number: u64,
    last: Option<Instant>,
    timer: Option<SpawnHandle>,
    seen_requests: u64,
    restarts: Vec<(Instant, u64)>,
    said: BTreeMap<&'static str, String>,
    _obituary: Obituary,
}

impl Monitor {
    /// A room that takes its first sample when it starts.
    pub fn new(parts: MonitorParts, supervisor: Recipient<SampleTaken>, obituary: Obituary) -> Monitor {
        let board = parts.board;
        let seen_requests = board.recorder().last();
        Monitor {
            config: board.config(),
            runner: Runner::start((parts.probes)()),
            supervisor,
            alerts: None,
            number: board.latest().map_or(0, |taken| taken.number),
            last: None,
            timer: None,
            seen_requests,
            restarts: Vec::new(),
            said: BTreeMap::new(),
            board,
            _obituary: obituary,
        }
    }

    fn tick(&mut self, context: &mut Context<Self>) {
        let began = Instant::now();
        let monitor = &self.config.monitor;
        let interval = shortened(Duration::from_secs_f64(monitor.interval_seconds));
        // A probe that hangs delays no tick: what it brings later counts at the next.
        let patience = Duration::from_secs_f64(monitor.probe_timeout_seconds).min(interval);
        let outcomes = self.runner.tick(patience, began);
        let (sample, silent) = self.merge(outcomes);
        let service = self.service(began);
        self.number += 1;
        let at = Moment { monotonic: began, wall: SystemTime::now() };
        self.board.metrics.observe_box(&sample, &service);
        if let Some(alerts) = &self.alerts {
            alerts.do_send(Observe { at, values: values(&sample, &service), silent });
        }
        let at_ms = Taken::milliseconds(at.wall);
        let taken = Taken { number: self.number, at_ms, sample, service, at: began };
        self.supervisor.do_send(SampleTaken(Arc::new(taken)));
        // Armed after the work, never faster than the interval: a stall is not followed by a burst.
        let rest = interval.saturating_sub(began.elapsed()).max(Duration::from_millis(1));
        self.timer = Some(context.run_later(rest, Self::tick));
    }

    /// The sample, and the rules whose probes have failed or hang.
    fn merge(&mut self, outcomes: Vec<Outcome>) -> (Sample, BTreeSet<RuleName>) {
        let (mut sample, mut silent) = (Sample::default(), BTreeSet::new());
        for Outcome { probe, result, took, .. } in outcomes {
            let metrics = &self.board.metrics;
            metrics.probe_duration.with_label_values(&[probe]).set(seconds(took));
            let works = matches!(result, Ok(_) | Err(Trouble::Probe(ProbeError::Absent(_))));
            metrics.probe_success.with_label_values(&[probe]).set(i64::from(works));
            if !works {
                silent.extend(watched_through(probe));
            }
            match result {
                Ok(reading) => {
                    if self.said.remove(probe).is_some() {
                        tracing::info!(event = "probe_back", probe, "probe {probe} brings figures again");
                    }
                    sample.merge(reading);
                }
                Err(error) => self.say_once(probe, &error),
            }
        }
        (sample, silent)
    }

    /// What a probe lacks or suffers is said when it begins, and when it changes.
    fn say_once(&mut self, probe: &'static str, error: &Trouble) {
        let text = error.to_string();
        if self.said.get(probe) == Some(&text) {
            return;
        }
        match error {
            Trouble::Probe(ProbeError::Absent(_)) => tracing::info!(event = "probe_absent", probe, "{text}"),
            _ => tracing::warn!(event = "probe_failed", probe, "probe {probe}: {text}"),
        }
        self.said.insert(probe, text);
    }

    fn service(&mut self, now: Instant) -> Service {
        let (traffic, last) = {
            let recorder = self.board.recorder();
            (recorder.since(self.seen_requests), recorder.last())
        };
        self.seen_requests = last;
        let elapsed = self.last.map(|last| now.saturating_duration_since(last).as_secs_f64());
        self.last = Some(now);
        let published = self.board.published();
        let by_rule = published.qualification.prefer == Prefer::Quantized
            && published.model.as_ref().is_some_and(|model| model.quantized);
        Service {
            quantized_unqualified: by_rule.then(|| published.qualification.standing.is_failure()),
            traffic,
            requests_per_second: elapsed.filter(|e| *e > 0.0).map_or(0.0, |e| traffic.requests as f64 / e),
            queue_waiting: self.board.queue.held(),
            queue_limit: self.board.queue.limit(),
            ready: self.board.published().status.readiness().is_ok(),
            restarts: self.recent_restarts(now),
        }
    }

    fn recent_restarts(&mut self, now: Instant) -> u32 {
        let counter = &self.board.metrics.actor_restarts;
        let all: u64 = Room::RESTARTED.iter().map(|room| counter.with_label_values(&[room.name()]).get()).sum();
        let window = Duration::from_secs_f64(self.config.server.restart_window_seconds);
        self.restarts.push((now, all));
        // The newest count that is older than the window is where the window begins.
        let begins = self.restarts.iter().rposition(|(at, _)| now.saturating_duration_since(*at) > window);
        self.restarts.drain(..begins.unwrap_or(0));
        let before = if begins.is_some() { self.restarts.first().map_or(0, |(_, count)| *count) } else { 0 };
        u32::try_from(all.saturating_sub(before)).unwrap_or(u32::MAX)
    }
}

/// The interval, or the shorter one that a test has for a year's worth of ticks.
fn shortened(interval: Duration) -> Duration {
    #[cfg(feature = "test-hooks")]
    if let Some(milliseconds) = std::env::var("EDGE_TEST_INTERVAL_MS").ok().and_then(|text| text.parse().ok()) {
        return Duration::from_millis(milliseconds);
    }
    interval
}

impl Actor for Monitor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.timer = Some(context.run_later(Duration::from_millis(1), Self::tick));
    }
}

impl Handler<SetPace> for Monitor {
    type Result = ();

    fn handle(&mut self, pace: SetPace, context: &mut Self::Context) {
        self.config = pace.0;
        // The next sample is due by the new interval, not by the old one.
        let interval = Duration::from_secs_f64(self.config.monitor.interval_seconds);
        let passed = self.last.map_or(interval, |last| last.elapsed());
        if let Some(timer) = self.timer.take() {
            context.cancel_future(timer);
            let rest = interval.saturating_sub(passed).max(Duration::from_millis(1));
            self.timer = Some(context.run_later(rest, Self::tick));
        }
    }
}

impl Handler<SetAlerts> for Monitor {
    type Result = ();

    fn handle(&mut self, alerts: SetAlerts, _: &mut Self::Context) {
        self.alerts = alerts.0;
    }
}

#[cfg(feature = "test-hooks")]
impl Handler<super::PanicNow> for Monitor {
    type Result = ();

    #[allow(clippy::panic)]
    fn handle(&mut self, _: super::PanicNow, _: &mut Self::Context) {
        panic!("a test asked the monitor room to panic")
    }
}
