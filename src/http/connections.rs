//! Connections on which nothing happens any more are closed.
//!
//! The server's own timers end with the first head on a connection: after it, a head that stops half-way, or a refused
//! body whose end never comes, would hold its place among `server.max_connections` for ever. That a later head has begun
//! is told by the kernel, which knows when a byte last came.

use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Bytes that come this soon after an answer's end may have come before it: the kernel counts in ticks of some milliseconds.
const MARGIN: Duration = Duration::from_millis(50);

/// How long a connection may do nothing.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Between two requests.
    pub idle: Duration,
    /// Within a head that has begun.
    pub head: Duration,
}

/// A connection on which no request is being answered.
#[derive(Clone, Copy)]
struct Idle {
    since: Instant,
    /// When the next head was first seen to have begun.
    head_since: Option<Instant>,
}

/// A connection, as the sweeper knows it.
pub struct Connection {
    /// A second handle on the socket: shutting it down is seen by the server as the client's end.
    socket: TcpStream,
    idle: Mutex<Option<Idle>>,
}

impl Connection {
    fn idle(&self) -> MutexGuard<'_, Option<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request's head was read.
    pub fn begin(&self) {
        *self.idle() = None;
    }

    /// Its answer is on its way.
    pub fn end(&self) {
        *self.idle() = Some(Idle { since: Instant::now(), head_since: None });
    }

    fn is_stale(&self, patience: Patience) -> bool {
        let mut idle = self.idle();
        let Some(idle) = idle.as_mut() else { return false };
        let now = Instant::now();
        if idle.head_since.is_none() && self.last_byte_after(idle.since, now) {
            idle.head_since = Some(now);
        }
        let too_long = |since: Instant, patience| now.saturating_duration_since(since) > patience;
        let is_late = idle.head_since.is_some_and(|since| too_long(since, patience.head));
        (is_late || too_long(idle.since, patience.idle)) && self.has_sent_all()
    }

    /// Whether the client has closed it, or its sending half, and nothing of what it sent is unread.
    pub fn is_left(&self) -> bool {
        let mut byte = 0u8;
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        // SAFETY: the socket is open, and the call writes at most one byte, which is there.
        let count = unsafe { libc::recv(self.socket.as_raw_fd(), (&raw mut byte).cast(), 1, flags) };
        count == 0 || count < 0 && std::io::Error::last_os_error().kind() != std::io::ErrorKind::WouldBlock
    }

    /// Whether the client has sent something after `since`; no, where the kernel does not tell.
    fn last_byte_after(&self, since: Instant, now: Instant) -> bool {
        // SAFETY: the structure is made of integers, for which zero is a value.
        let mut told: libc::tcp_info = unsafe { std::mem::zeroed() };
        let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
        // SAFETY: the socket is open, and the call writes at most `length` bytes into the structure.
        let outcome = unsafe {
            let told: *mut libc::tcp_info = &raw mut told;
            libc::getsockopt(self.socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, told.cast(), &raw mut length)
        };
        let ago = Duration::from_millis(told.tcpi_last_data_recv.into());
        outcome == 0 && ago + MARGIN < now.saturating_duration_since(since)
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
        let connection = Arc::new(Connection { socket, idle: Mutex::default() });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&connection));
        Some(connection)
    }

    /// Closes those that are stale, and forgets those that are gone.
    fn sweep(&self, patience: Patience) {
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
    pub fn watch(connections: &Arc<Connections>, patience: Patience) {
        let connections = Arc::downgrade(connections);
        let tick = (patience.idle.min(patience.head) / 8).clamp(Duration::from_millis(20), Duration::from_secs(5));
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

    const NONE: Patience = Patience { idle: Duration::ZERO, head: Duration::ZERO };
    const MUCH: Patience = Patience { idle: Duration::from_secs(60), head: Duration::from_secs(60) };

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
        connections.sweep(NONE);
        connection.end();
        connections.sweep(MUCH);
        connection.begin();
        connections.sweep(NONE);
        assert!(is_open(&mut client));
        connection.end();
        std::thread::sleep(Duration::from_millis(5));
        connections.sweep(NONE);
        assert!(!is_open(&mut client));
    }

    #[test]
    fn a_head_that_has_begun_is_told_from_none() {
        let (mut client, mut server) = pair();
        let connections = Connections::default();
        let connection = connections.note(&server).unwrap();
        let hasty = Patience { head: Duration::ZERO, ..MUCH };
        let mut received = [0; 1];
        client.write_all(b"a").unwrap();
        server.read_exact(&mut received).unwrap();
        connection.end();
        std::thread::sleep(4 * MARGIN);
        assert!(!connection.is_stale(hasty), "what came before the answer is no head");
        client.write_all(b"b").unwrap();
        server.read_exact(&mut received).unwrap();
        connection.is_stale(hasty);
        std::thread::sleep(Duration::from_millis(5));
        assert!(connection.is_stale(hasty));
        assert!(!connection.is_stale(MUCH));
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
        assert!(!connection.is_stale(NONE));
    }

    #[test]
    fn a_client_that_has_left_is_told_from_one_that_is_silent() {
        let (mut client, server) = pair();
        let connection = Connections::default().note(&server).unwrap();
        assert!(!connection.is_left());
        client.write_all(b"a").unwrap();
        drop(client);
        let begun = Instant::now();
        // What it has sent comes first.
        while connection.is_left() {
            assert!(begun.elapsed() < Duration::from_secs(10));
        }
        assert_eq!((&server).read(&mut [0; 1]).unwrap(), 1);
        while !connection.is_left() {
            assert!(begun.elapsed() < Duration::from_secs(10));
        }
    }

    #[test]
    fn connections_that_are_gone_are_forgotten() {
        let (_client, server) = pair();
        let connections = Connections::default();
        drop(connections.note(&server));
        connections.sweep(NONE);
        assert!(connections.0.lock().unwrap().is_empty());
    }
}
