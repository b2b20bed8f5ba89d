//! What the service manager is told: when the daemon serves, how it is, and that its rooms still answer.

use std::time::Duration;

use actix::prelude::*;

use super::actor::Supervisor;
use crate::actors::{model, web};
use crate::core::status::Room;
use crate::core::watchdog::{Round, may_feed};
use crate::notify::{self, Notifier};

/// The line to the service manager, and what it has heard.
pub(super) struct Manager {
    notifier: Notifier,
    told_ready: bool,
    watchdog: Option<Duration>,
    /// The round that is under way; none once it has fed the watchdog.
    round: Option<Round>,
    number: u64,
    withheld: bool,
}

impl Manager {
    pub(super) fn new(notifier: Notifier) -> Manager {
        Manager {
            notifier,
            told_ready: false,
            watchdog: notify::watchdog_interval(),
            round: None,
            number: 0,
            withheld: false,
        }
    }

    /// Passes a change of readiness on. The first time that the daemon is ready it counts as started.
    pub(super) fn readiness(&mut self, readiness: &Result<(), String>) {
        match readiness {
            Ok(()) if !self.told_ready => {
                self.told_ready = true;
                self.notifier.ready("ready");
            }
            Ok(()) => self.notifier.status("ready"),
            Err(reason) => self.notifier.status(reason),
        }
    }

    pub(super) fn stopping(&self) {
        self.notifier.stopping();
    }

    /// Feeds the watchdog as soon as the round allows it.
    fn settle(&mut self, number: u64, room: Room, engine_silent: bool) {
        if number != self.number {
            return;
        }
        let Some(round) = &mut self.round else { return };
        round.settle(room);
        round.engine_silent |= engine_silent;
        if may_feed(round).is_ok() {
            self.notifier.watchdog();
            self.round = None;
            if std::mem::take(&mut self.withheld) {
                tracing::info!(event = "watchdog_fed", "the watchdog is fed again");
            }
        }
    }

    /// Says once why the watchdog goes hungry, and begins the next round.
    fn next_round(&mut self) -> u64 {
        if let Some(Err(reason)) = self.round.as_ref().map(may_feed)
            && !std::mem::replace(&mut self.withheld, true)
        {
            tracing::error!(event = "watchdog_withheld", reason, "the watchdog is not fed: {reason}");
        }
        self.round = Some(Round::default());
        self.number += 1;
        self.number
    }
}

impl Supervisor {
    /// Asks the rooms at half the watchdog's time, where the service manager has one.
    pub(super) fn watch_rooms(&mut self, context: &mut Context<Self>) {
        let Some(limit) = self.manager.watchdog else { return };
        if self.is_leaving() {
            return;
        }
        let number = self.manager.next_round();
        match &self.model {
            Some(model) => {
                let answer = model.send(model::Ping).into_actor(self).map(move |pong, supervisor, _| {
                    // A room that dies instead of answering is the supervisor's to bring back.
                    let engine_silent = pong.is_ok_and(|pong| pong.engine_silent);
                    supervisor.manager.settle(number, Room::Model, engine_silent);
                });
                context.spawn(answer);
            }
            None => self.manager.settle(number, Room::Model, false),
        }
        match &self.web {
            Some(web) => {
                let answer = web.send(web::Ping).into_actor(self).map(move |_, supervisor, _| {
                    supervisor.manager.settle(number, Room::Web, false);
                });
                context.spawn(answer);
            }
            None => self.manager.settle(number, Room::Web, false),
        }
        context.run_later(limit / 2, Supervisor::watch_rooms);
    }
}
