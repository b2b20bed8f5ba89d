//! Connections on which nothing happens any more are closed.
//!
//! The server's own timers end with the first head on a connection: after it, a head that stops half-way, or a refused
//! body whose end never comes, would hold its place among `server.max_connections` for ever.

use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// A connection, as the sweeper knows it.
pub struct Connection {
    /// A second handle on the socket: shutting it down is seen by the server as the client's end.
    socket: TcpStream,
    /// Since when no request is being answered on it.
    idle_since: Mutex<Option<Instant>>,
}

impl Connection {
    fn set(&self, idle_since: Option<Instant>) {
        *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = idle_since;
    }

    /// A request's head was read.
    pub fn begin(&self) {
        self.set(None);
    }

    /// Its answer is on its way.
    pub fn end(&self) {
        self.set(Some(Instant::now()));
    }

    fn is_stale(&self, patience: Duration) -> bool {
        let idle_since = *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner);
        idle_since.is_some_and(|since| since.elapsed() > patience) && self.has_sent_all()
    }

    /// Whether the client has read all that was sent: one that is still reading a large answer is not idle.
    fn has_sent_all(&self) -> bool {
        let mut unsent: libc::c_int = 0;
        // SAFETY: the socket is open, and the number is alive during the call, which writes it.
        let outcome = unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut unsent) };
        outcome == 0 && unsent == 0
    }
}

/// The connections of one server.
#[derive(Default)]
pub struct Connections(Mutex<Vec<Weak<Connection>>>);

impl Connections {
    /// Notes a new connection; `None` where the system gives no second handle on it.
    pub fn note(&self, socket: &impl AsFd) -> Option<Arc<Connection>> {
        let socket = TcpStream::from(socket.as_fd().try_clone_to_owned().ok()?);
        let connection = Arc::new(Connection { socket, idle_since: Mutex::default() });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&connection));
        Some(connection)
    }

    /// Closes those that are stale, and forgets those that are gone.
    fn sweep(&self, patience: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|connection| {
            let Some(connection) = connection.upgrade() else { return false };
            let is_stale = connection.is_stale(patience);
            if is_stale {
                // One that is closed already needs no closing.
                let _ = connection.socket.shutdown(Shutdown::Both);
            }
            !is_stale
        });
    }

    /// Sweeps for as long as the server is there.
    pub fn watch(connections: &Arc<Connections>, patience: Duration) {
        let connections = Arc::downgrade(connections);
        let tick = (patience / 8).clamp(Duration::from_millis(20), Duration::from_secs(5));
        actix_rt::spawn(async move {
            loop {
                actix_rt::time::sleep(tick).await;
                let Some(connections) = connections.upgrade() else { return };
                connections.sweep(patience);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn only_what_is_idle_for_too_long_is_closed() {
        let (mut client, server) = pair();
        let connections = Connections::default();
        let connection = connections.note(&server).unwrap();
        let is_open = |client: &mut TcpStream| {
            client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            client.read(&mut [0; 1]).is_err()
        };
        // Before its first request the server's own timer counts; during one its handler's does.
        connections.sweep(Duration::ZERO);
        connection.end();
        connections.sweep(Duration::from_secs(60));
        connection.begin();
        connections.sweep(Duration::ZERO);
        assert!(is_open(&mut client));
        connection.end();
        std::thread::sleep(Duration::from_millis(5));
        connections.sweep(Duration::ZERO);
        assert!(!is_open(&mut client));
    }

    #[test]
    fn a_client_that_still_reads_is_left_to_it() {
        let (_client, server) = pair();
        let connections = Connections::default();
        let connection = connections.note(&server).unwrap();
        server.set_nonblocking(true).unwrap();
        while (&server).write(&[0; 64 << 10]).is_ok() {}
        connection.end();
        std::thread::sleep(Duration::from_millis(5));
        assert!(!connection.is_stale(Duration::ZERO));
    }

    #[test]
    fn connections_that_are_gone_are_forgotten() {
        let (_client, server) = pair();
        let connections = Connections::default();
        drop(connections.note(&server));
        connections.sweep(Duration::ZERO);
        assert!(connections.0.lock().unwrap().is_empty());
    }
}
