//! The canary's rounds: sent when due, judged when answered, and missed when it is not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::sync::oneshot;

use super::ServedModel;
use super::actor::Model;
use crate::actors::supervisor::CanaryChanged;
use crate::core::canary::{Baseline, compare, is_due, is_overdue};
use crate::core::status::CanaryState;
use crate::engine::RunError;
use crate::engine::cancel::{Cancel, Reason};
use crate::engine::job::{Asker, Job, Reply};
use crate::engine::threads::Work;

/// The longest between two looks at the clock.
const SLOWEST_TICK: Duration = Duration::from_secs(1);
/// A canary is ended by its judge, not by a deadline of its own.
const NO_DEADLINE: Duration = Duration::from_secs(24 * 3600);

/// What is under way.
#[derive(Default)]
pub(super) struct Rounds {
    last_sent: Option<Instant>,
    flying: Option<(Instant, Arc<Cancel>)>,
    state: CanaryState,
}

impl Model {
    pub(super) fn start_canary(&mut self, context: &mut Context<Self>) {
        let period = Duration::from_secs_f64(self.config.model.canary_seconds);
        if !period.is_zero() {
            let tick = period.clamp(Duration::from_millis(20), SLOWEST_TICK);
            context.run_later(tick, |model, context| {
                model.canary_tick(context);
                // Armed again after the work: a stall is never followed by a burst of ticks.
                model.start_canary(context);
            });
        }
    }

    /// A model that was loaded anew is asked by its own answers.
    pub(super) fn restart_rounds(&mut self) {
        self.rounds.last_sent = Some(Instant::now());
        if let Some((_, cancel)) = self.rounds.flying.take() {
            cancel.cancel(Reason::Stopping);
        }
        self.set_canary_state(CanaryState::Well);
    }

    fn canary_tick(&mut self, context: &mut Context<Self>) {
        let now = Instant::now();
        let pulse = self.threads.pulse();
        if let Some((sent, cancel)) = &self.rounds.flying {
            let limit = Duration::from_millis(self.config.model.canary_timeout_ms);
            if is_overdue(now, limit, *sent, pulse.last_run(), pulse.busy_until()) {
                cancel.cancel(Reason::Deadline);
                self.rounds.flying = None;
                self.count("silent");
                let reason = format!("no answer within {} ms", limit.as_millis());
                self.set_canary_state(CanaryState::Failing { reason });
            }
            return;
        }
        let period = Duration::from_secs_f64(self.config.model.canary_seconds);
        // While the last word is bad, a run of somebody else's does not stand for the canary.
        let last_run = if self.rounds.state == CanaryState::Well { pulse.last_run() } else { None };
        if is_due(now, period, self.rounds.last_sent, last_run)
            && let Some(served) = self.shelf.served()
        {
            self.send_canary(now, served, context);
        }
    }

    fn send_canary(&mut self, now: Instant, served: Arc<ServedModel>, context: &mut Context<Self>) {
        let (reply, answer) = oneshot::channel();
        let cancel = Arc::new(Cancel::default());
        let job = Job {
            inputs: served.canary_inputs.clone(),
            outputs: served.spec.outputs.iter().map(|output| output.name.clone()).collect(),
            deadline: now + NO_DEADLINE,
            cancel: Arc::clone(&cancel),
            reply,
            asker: Asker::Canary,
            queued: now,
            place: None,
        };
        if self.threads.send(Work::Run(Box::new(job))).is_err() {
            return;
        }
        self.rounds.last_sent = Some(now);
        self.rounds.flying = Some((now, cancel));
        let judged = answer.into_actor(self).map(move |reply, model, _| {
            if model.rounds.flying.as_ref().is_some_and(|(sent, _)| *sent == now) {
                model.rounds.flying = None;
                // Without a reply its thread died, which the supervisor knows from the thread itself.
                if let Ok(reply) = reply {
                    model.judge(&served, reply);
                }
            }
        });
        context.spawn(judged);
    }

    fn judge(&mut self, served: &ServedModel, reply: Reply) {
        let verdict = match (&served.baseline, reply.result) {
            (_, Err(RunError::Cancelled | RunError::NoModel)) => return,
            (Baseline::AnswerOnly { .. }, _) => Ok(()),
            (Baseline::KnownAnswer(_), Err(error)) => Err(error.to_string()),
            (Baseline::KnownAnswer(known), Ok(outputs)) => compare(known, &outputs, self.config.model.canary_tolerance)
                .map_err(|difference| format!("the answer differs from the one at warm-up: {difference}")),
        };
        self.count(if verdict.is_ok() { "ok" } else { "wrong" });
        self.set_canary_state(match verdict {
            Ok(()) => CanaryState::Well,
            Err(reason) => CanaryState::Failing { reason },
        });
    }

    fn count(&self, outcome: &str) {
        self.metrics.canary_runs.with_label_values(&[outcome]).inc();
    }

    fn set_canary_state(&mut self, state: CanaryState) {
        if self.rounds.state != state {
            self.rounds.state = state.clone();
            self.supervisor.do_send(CanaryChanged(state));
        }
    }
}
