//! The web room: owns the HTTP server and the board that its handlers read.

use std::net::TcpListener;
use std::sync::Arc;

use actix::prelude::*;
use actix_web::dev::Server;
use tokio::sync::oneshot;

use super::{KeepSample, Ping, Publish, ServerEnded, Servers, SetDoor};
use crate::actors::board::Board;
use crate::actors::obituary::Obituary;

/// Builds the HTTP server on a listener; the routes are none of this room's business.
pub type ServerFactory = Arc<dyn Fn(TcpListener, Arc<Board>) -> std::io::Result<Server> + Send + Sync>;

/// The web room.
pub struct Web {
    board: Arc<Board>,
    listener: Arc<TcpListener>,
    factory: ServerFactory,
    servers: Arc<Servers>,
    /// Dropped with the room, which tells its server to finish; the room built next accepts from the same socket.
    alive: Option<oneshot::Sender<()>>,
    _obituary: Obituary,
}

impl Web {
    /// A room that serves on `listener` once it is started.
    pub fn new(
        board: Arc<Board>,
        listener: Arc<TcpListener>,
        factory: ServerFactory,
        servers: Arc<Servers>,
        obituary: Obituary,
    ) -> Web {
        Web { board, listener, factory, servers, alive: None, _obituary: obituary }
    }
}

impl Actor for Web {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let server = self.listener.try_clone().and_then(|listener| (self.factory)(listener, Arc::clone(&self.board)));
        match server {
            Ok(server) => {
                let (alive, gone) = oneshot::channel();
                self.alive = Some(alive);
                let (servers, room) = (Arc::clone(&self.servers), context.address().downgrade());
                actix_rt::spawn(async move {
                    if servers.run(server, gone).await
                        && let Some(room) = room.upgrade()
                    {
                        room.do_send(ServerEnded);
                    }
                });
            }
            Err(error) => {
                tracing::error!(event = "server_failed", "the HTTP server does not start: {error}");
                context.stop();
            }
        }
    }
}

impl Handler<ServerEnded> for Web {
    type Result = ();

    fn handle(&mut self, _: ServerEnded, context: &mut Self::Context) {
        // The room built next has a server of its own.
        context.stop();
    }
}

impl Handler<Publish> for Web {
    type Result = ();

    fn handle(&mut self, publish: Publish, _: &mut Self::Context) {
        self.board.publish(publish.0);
    }
}

impl Handler<KeepSample> for Web {
    type Result = ();

    fn handle(&mut self, keep: KeepSample, _: &mut Self::Context) {
        self.board.keep(keep.0);
    }
}

impl Handler<SetDoor> for Web {
    type Result = ();

    fn handle(&mut self, door: SetDoor, _: &mut Self::Context) {
        self.board.set_door(door.0);
    }
}

impl Handler<Ping> for Web {
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Self::Context) {}
}

#[cfg(feature = "test-hooks")]
impl Handler<super::PanicNow> for Web {
    type Result = ();

    #[allow(clippy::panic)]
    fn handle(&mut self, _: super::PanicNow, _: &mut Self::Context) {
        panic!("a test asked the web room to panic")
    }
}
