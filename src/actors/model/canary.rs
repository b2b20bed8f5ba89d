//! The canary's rounds: sent when due, judged when answered, and missed when it is not.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

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
    flying: Option<Flying>,
    /// The last word; none from a room that has not asked yet.
    state: Option<CanaryState>,
    silent: bool,
    ended: bool,
}

impl Rounds {
    /// The canary's last word.
    pub(super) fn word(&self) -> Option<CanaryState> {
        self.state.clone()
    }

    /// Whether the last canary got no answer in time.
    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }
}

/// A canary that is not answered; it ends with whoever sent it.
struct Flying {
    sent: Instant,
    cancel: Arc<Cancel>,
}

impl Drop for Flying {
    fn drop(&mut self) {
        self.cancel.cancel(Reason::ClientGone);
    }
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
        self.rounds.silent = false;
        self.rounds.flying = None;
        self.set_canary_state(CanaryState::Well);
    }

    /// The daemon leaves: nothing is asked any more.
    pub(super) fn end_rounds(&mut self) {
        self.rounds.flying = None;
        self.rounds.ended = true;
    }

    fn canary_tick(&mut self, context: &mut Context<Self>) {
        if self.rounds.ended {
            return;
        }
        let now = Instant::now();
        let last_run = self.threads.pulse().last_run();
        if let Some(Flying { sent, .. }) = &self.rounds.flying {
            let limit = Duration::from_millis(self.config.model.canary_timeout_ms);
            if is_overdue(now, limit, *sent, last_run, self.threads.busy_until()) {
                self.rounds.flying = None;
                self.rounds.silent = true;
                self.count("silent");
                let reason = format!("no answer within {} ms", limit.as_millis());
                self.set_canary_state(CanaryState::Failing { reason });
            }
            return;
        }
        let period = Duration::from_secs_f64(self.config.model.canary_seconds);
        // A run of somebody else's shows that there are answers, and not that they are right: it does not stand for the
        // canary while the last word is bad or not known, nor while a swap may still be taken back.
        let stands_for_it = self.rounds.state == Some(CanaryState::Well) && !self.shelf.is_watched();
        let last_run = last_run.filter(|_| stands_for_it);
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
        self.rounds.flying = Some(Flying { sent: now, cancel });
        let judged = answer.into_actor(self).map(move |reply, model, _| {
            if model.rounds.flying.as_ref().is_some_and(|flying| flying.sent == now) {
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
        if reply.generation != served.generation {
            // Another model answered, loaded meanwhile: it has answers of its own.
            return;
        }
        let verdict = match (&served.baseline, reply.result) {
            (_, Err(RunError::Cancelled | RunError::NoModel)) => return,
            (Baseline::AnswerOnly { .. }, _) => Ok(()),
            (Baseline::KnownAnswer(_), Err(error)) => Err(error.to_string()),
            (Baseline::KnownAnswer(known), Ok(outputs)) => compare(known, &outputs, self.config.model.canary_tolerance)
                .map_err(|difference| format!("the answer differs from the one at warm-up: {difference}")),
        };
        self.rounds.silent = false;
        self.count(if verdict.is_ok() { "ok" } else { "wrong" });
        self.set_canary_state(match verdict {
            Ok(()) => CanaryState::Well,
            Err(reason) => CanaryState::Failing { reason },
        });
    }

    fn count(&self, outcome: &str) {
        self.metrics.canary_runs.with_label_values(&[outcome]).inc();
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.metrics.canary_last.set(i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX));
    }

    fn set_canary_state(&mut self, state: CanaryState) {
        if self.rounds.state.as_ref() != Some(&state) {
            self.rounds.state = Some(state.clone());
            self.supervisor.do_send(CanaryChanged(state));
        }
    }
}
