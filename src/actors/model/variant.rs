//! Which form of the model serves: it is measured beside the one that does, takes its place, and is taken back where it
//! does worse.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix::prelude::*;
use tokio::sync::oneshot;

use super::actor::Model;
use super::choose::Chosen;
use super::measure::Outcome;
use super::{EndSwaps, Qualified, Requalify, ServedModel};
use crate::actors::monitor::Taken;
use crate::actors::supervisor::{ModelChanged, Qualification};
use crate::core::recorder::Conduct;
use crate::core::rollback::{Bounds, Decision, Watch, look};
use crate::core::standing::{Prefer, Receipt, Relapse, Standing};
use crate::core::status::CanaryState;

/// The wait before a change of form that failed is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// What is known of the form that serves; it outlives the room.
#[derive(Default)]
pub(super) struct Form {
    in_service: Option<InService>,
    /// How the original did before the box was busy with measuring.
    calm: Option<Conduct>,
    /// The swap that may still be taken back.
    pub(super) watch: Option<Watch>,
}

struct InService {
    sha256: String,
    quantized: bool,
    /// The number of the last request before it.
    seen: u64,
}

impl Model {
    fn bounds(&self) -> Bounds {
        self.config.model.rollback.bounds()
    }

    /// A model serves that was loaded just now, or that a room built anew finds.
    pub(super) fn took_over(&mut self, served: &Arc<ServedModel>, standing: Standing, context: &mut Context<Self>) {
        let last = self.board.recorder().last();
        let former = self.shelf.form(|form| form.in_service.take());
        let same = former.as_ref().filter(|former| former.sha256 == served.sha256).map(|former| former.seen);
        if same.is_none() {
            let before = former.filter(|former| !former.quantized).map(|former| self.conduct_before(former.seen));
            let watched = served.quantized && self.prefer() == Prefer::Qualified && !self.bounds().watch.is_zero();
            let watch = watched.then(|| Watch::new(Instant::now(), last, before));
            self.shelf.form(|form| form.watch = watch);
        }
        self.arm_watch(context);
        let (sha256, seen) = (served.sha256.clone(), same.unwrap_or(last));
        let in_service = InService { sha256, quantized: served.quantized, seen };
        self.shelf.form(|form| form.in_service = Some(in_service));
        let active = &self.metrics.variant_active;
        active.with_label_values(&["original"]).set(i64::from(!served.quantized));
        active.with_label_values(&["quantized"]).set(i64::from(served.quantized));
        if served.quantized && standing.is_failure() {
            // Only the user's rule has such a form served.
            tracing::warn!(event = "quantized_unqualified", "{}", standing.why(self.prefer(), true));
        }
        let is_measuring = standing == Standing::Measuring;
        self.set_standing(standing);
        if is_measuring && !self.begin_measuring(false, context) {
            let stops = self.stopping || self.swaps_over;
            let reason = if stops { "the service is stopping" } else { "the system gives no thread for it" };
            self.set_standing(Standing::Unmeasured { reason: reason.to_owned() });
        }
    }

    /// No model serves any more.
    pub(super) fn nothing_serves(&mut self) {
        self.shelf.form(|form| (form.in_service, form.watch) = (None, None));
        for variant in ["original", "quantized"] {
            self.metrics.variant_active.with_label_values(&[variant]).set(0);
        }
    }

    fn prefer(&self) -> Prefer {
        self.config.model.prefer
    }

    fn conduct_before(&self, seen: u64) -> Conduct {
        let enough = self.bounds().min_requests;
        let calm = self.shelf.form(|form| form.calm).filter(|calm| calm.counted() >= enough);
        calm.unwrap_or_else(|| self.board.recorder().conduct(seen))
    }

    fn set_standing(&mut self, standing: Standing) {
        self.metrics.observe_standing(&standing);
        self.shelf.set_standing(standing);
        self.publish_standing();
    }

    fn publish_standing(&self) {
        let (prefer, standing) = (self.prefer(), self.shelf.standing());
        let qualification = Qualification { prefer, standing, is_watched: self.shelf.is_watched() };
        self.events.do_send(ModelChanged::Stands(Arc::new(qualification)));
    }

    /// Begins to measure the quantised form beside the form that serves.
    fn begin_measuring(&mut self, anew: bool, context: &mut Context<Self>) -> bool {
        let Some(candidate) = self.config.model.candidate() else { return false };
        if self.stopping || self.swaps_over {
            return false;
        }
        let seen = self.shelf.form(|form| form.in_service.as_ref().map_or(0, |form| form.seen));
        let calm = self.board.recorder().conduct(seen);
        self.shelf.form(|form| form.calm = Some(calm));
        self.measuring += 1;
        let (number, address) = (self.measuring, context.address());
        let tell = move |outcome| address.do_send(Qualified { number, outcome });
        let begun = self.bench.begin(&self.config.model, candidate, anew, &self.loader, tell);
        if let Err(error) = &begun {
            tracing::error!(event = "thread_refused", "the system gives no thread for measuring: {error}");
        }
        begun.is_ok()
    }

    /// Whether the form may change now: not once an operator has taken the model out, nor while the daemon leaves.
    fn may_swap(&self) -> bool {
        !self.stopping && !self.swaps_over && !self.shelf.is_unwanted()
    }

    /// Has the files looked at again and the one loaded that is to serve now.
    fn load_again(&mut self, context: &mut Context<Self>) {
        if !self.may_swap() {
            return;
        }
        let (reply, told) = oneshot::channel();
        self.load_in_turn(reply, context);
        let told = told.into_actor(self).map(|told, _, context: &mut Context<Self>| {
            if !matches!(told, Ok(Ok(()))) {
                context.run_later(RETRY, Self::reconsider);
            }
        });
        context.spawn(told);
    }

    /// Loads again where the form that serves is not the one that is to.
    pub(super) fn reconsider(&mut self, context: &mut Context<Self>) {
        let standing = self.shelf.standing();
        // While it is measured anew, the form that serves stays.
        let is_known = standing != Standing::Measuring;
        let is_wrong = |served: Arc<ServedModel>| is_known && served.quantized != standing.is_preferred(self.prefer());
        if self.prefer() == Prefer::Qualified && self.shelf.served().is_some_and(is_wrong) && self.may_swap() {
            self.load_again(context);
        }
    }

    /// Looks at a swap from now on, where there is one and nobody looks at it yet.
    fn arm_watch(&mut self, context: &mut Context<Self>) {
        if self.is_looking || !self.shelf.is_watched() {
            return;
        }
        self.is_looking = true;
        let tick = (self.bounds().watch / 20).clamp(Duration::from_millis(20), Duration::from_secs(1));
        context.run_later(tick, |model, context| {
            model.is_looking = false;
            model.look_at_swap(context);
            model.arm_watch(context);
        });
    }

    fn look_at_swap(&mut self, context: &mut Context<Self>) {
        let Some(mut watch) = self.shelf.form(|form| form.watch).filter(|_| self.may_swap()) else { return };
        let since = self.board.recorder().conduct(watch.seen);
        let canary = self.rounds.word().unwrap_or(CanaryState::Well);
        match look(&mut watch, &self.bounds(), Instant::now(), &canary, &since) {
            Decision::GoOn => self.shelf.form(|form| form.watch = Some(watch)),
            Decision::Stays => {
                self.shelf.form(|form| form.watch = None);
                tracing::info!(event = "swap_stays", "the quantised form has done as well as the original: it stays");
                self.publish_standing();
            }
            Decision::Back(relapsed) => self.go_back(relapsed.to_string(), context),
        }
    }

    /// The quantised form is refused from now on, and the original loaded in its place.
    fn go_back(&mut self, reason: String, context: &mut Context<Self>) {
        self.shelf.form(|form| form.watch = None);
        let Some(served) = self.shelf.served().filter(|served| served.quantized) else { return };
        let relapse =
            Relapse { candidate: served.sha256.clone(), reason, at_ms: Taken::milliseconds(SystemTime::now()) };
        tracing::warn!(
            event = "model_rolled_back",
            reason = relapse.reason,
            sha256 = relapse.candidate,
            "the original takes its place again, and {} is refused until POST /api/v1/qualify or `edge-service qualify --anew`: {}",
            served.path.display(),
            relapse.reason
        );
        self.metrics.rollbacks.inc();
        self.loader.receipts().refuse(relapse.clone());
        self.set_standing(Standing::RolledBack(relapse));
        self.load_again(context);
    }

    fn say_qualified(&self, receipt: &Receipt, standing: &Standing) {
        let measured = &receipt.measured;
        let why = standing.why(self.prefer(), false);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    event = "qualified",
                    verdict = standing.name(),
                    agreement = measured.agreement,
                    speedup = measured.speedup.map(|speedup| speedup.median),
                    speedup_low = measured.speedup.map(|speedup| speedup.low),
                    frames = measured.frames,
                    seconds = measured.seconds,
                    "{why}"
                )
            };
        }
        if standing.is_failure() { line!(warn) } else { line!(info) }
    }
}

impl Handler<Qualified> for Model {
    type Result = ();

    fn handle(&mut self, qualified: Qualified, context: &mut Self::Context) {
        let Qualified { number, outcome: Outcome { candidate, result } } = qualified;
        if number != self.measuring || self.stopping || self.swaps_over {
            return;
        }
        let standing = match result {
            Ok(receipt) => {
                let standing = Standing::by(receipt.clone(), &self.config.model.qualify.bounds());
                self.say_qualified(&receipt, &standing);
                standing
            }
            Err(reason) => {
                tracing::warn!(event = "not_qualified", "the quantised form could not be measured: {reason}");
                Standing::Unmeasured { reason }
            }
        };
        self.set_standing(standing.clone());
        let may = self.prefer() == Prefer::Qualified && self.may_swap();
        let Some(served) = self.shelf.served().filter(|_| may) else { return };
        match (standing.receipt(), standing.is_accepted()) {
            (Some(receipt), true) if !served.quantized => {
                let sha256 = receipt.key.candidate.clone();
                let chosen = Chosen { path: candidate, sha256, quantized: true, standing };
                if !self.load(Some(chosen), None, context) {
                    context.run_later(RETRY, Self::reconsider);
                }
            }
            // Measured anew, and not good any more.
            (_, false) if served.quantized => self.load_again(context),
            _ => {}
        }
    }
}

impl Handler<EndSwaps> for Model {
    type Result = ();

    fn handle(&mut self, _: EndSwaps, _: &mut Self::Context) {
        self.swaps_over = true;
        self.bench.end();
    }
}

impl Handler<Requalify> for Model {
    type Result = Result<(), String>;

    fn handle(&mut self, _: Requalify, context: &mut Self::Context) -> Self::Result {
        if self.prefer() == Prefer::Original {
            return Err("nothing is measured while model.prefer is original".to_owned());
        }
        if self.config.model.candidate().is_none() {
            return Err("there is no quantised form to measure: set model.quantized_path".to_owned());
        }
        if !self.begin_measuring(true, context) {
            return Err("the daemon is stopping, or the system gives no thread".to_owned());
        }
        self.set_standing(Standing::Measuring);
        Ok(())
    }
}
