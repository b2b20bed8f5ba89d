//! The web room: owns the HTTP server and the board that its handlers read.

use std::net::TcpListener;
use std::sync::Arc;

use actix::prelude::*;
use actix_web::dev::{Server, ServerHandle};

use super::{Publish, SetDoor, StopServing};
use crate::actors::board::Board;
use crate::actors::obituary::Obituary;

/// Builds the HTTP server on a listener; the routes are none of this room's business.
pub type ServerFactory = Arc<dyn Fn(TcpListener, Arc<Board>) -> std::io::Result<Server> + Send + Sync>;

/// The web room.
pub struct Web {
    board: Arc<Board>,
    listener: Arc<TcpListener>,
    factory: ServerFactory,
    server: Option<ServerHandle>,
    _obituary: Obituary,
}

impl Web {
    /// A room that serves on `listener` once it is started.
    pub fn new(board: Arc<Board>, listener: Arc<TcpListener>, factory: ServerFactory, obituary: Obituary) -> Web {
        Web { board, listener, factory, server: None, _obituary: obituary }
    }
}

impl Actor for Web {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let server = self.listener.try_clone().and_then(|listener| (self.factory)(listener, Arc::clone(&self.board)));
        match server {
            Ok(server) => {
                self.server = Some(server.handle());
                actix_rt::spawn(async move {
                    if let Err(error) = server.await {
                        tracing::error!(event = "server_failed", "the HTTP server ended: {error}");
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

impl Drop for Web {
    fn drop(&mut self) {
        // The order is given by the call, not by waiting for it. What this server has accepted it finishes; the room built next accepts from the same socket.
        if let Some(server) = self.server.take() {
            drop(server.stop(true));
        }
    }
}

impl Handler<Publish> for Web {
    type Result = ();

    fn handle(&mut self, publish: Publish, _: &mut Self::Context) {
        self.board.publish(publish.0);
    }
}

impl Handler<SetDoor> for Web {
    type Result = ();

    fn handle(&mut self, door: SetDoor, _: &mut Self::Context) {
        self.board.set_door(door.0);
    }
}

impl Handler<StopServing> for Web {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: StopServing, _: &mut Self::Context) -> Self::Result {
        let server = self.server.clone();
        Box::pin(async move {
            if let Some(server) = server {
                server.stop(true).await;
            }
        })
    }
}

#[cfg(feature = "test-hooks")]
impl Handler<super::PanicNow> for Web {
    type Result = ();

    #[allow(clippy::panic)]
    fn handle(&mut self, _: super::PanicNow, _: &mut Self::Context) {
        panic!("a test asked the web room to panic")
    }
}
