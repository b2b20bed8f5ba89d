//! What the service manager is told: systemd's notification protocol, one datagram a message.
//!
//! Without `NOTIFY_SOCKET` in the environment nothing is sent, and nothing depends on what is.

use std::ffi::{OsStr, OsString};
use std::io::{Error, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A manager that takes nothing for this long is not waited for.
const PATIENCE: Duration = Duration::from_millis(200);

/// The line to the service manager, where there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    address: Option<OsString>,
    failed: AtomicBool,
}

impl Notifier {
    /// The manager that `NOTIFY_SOCKET` names.
    pub fn from_environment() -> Notifier {
        Notifier::to(std::env::var_os("NOTIFY_SOCKET"))
    }

    /// The manager at this address: a path, or `@` and an abstract name.
    pub fn to(address: Option<OsString>) -> Notifier {
        Notifier { address: address.filter(|address| !address.is_empty()), failed: AtomicBool::new(false) }
    }

    /// The daemon serves; `status` is the line that an operator sees.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}\n", one_line(status)));
    }

    /// The daemon leaves.
    pub fn stopping(&self) {
        self.send("STOPPING=1\n");
    }

    /// The line that an operator sees.
    pub fn status(&self, text: &str) {
        self.send(&format!("STATUS={}\n", one_line(text)));
    }

    /// The daemon is alive.
    pub fn watchdog(&self) {
        self.send("WATCHDOG=1\n");
    }

    fn send(&self, message: &str) {
        let Some(address) = &self.address else { return };
        if let Err(error) = deliver(address, message)
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            tracing::debug!(event = "notify_failed", "the service manager cannot be told: {error}");
        }
    }
}

fn deliver(address: &OsStr, message: &str) -> std::io::Result<()> {
    let address = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(address)?,
        _ => return Err(Error::new(ErrorKind::Unsupported, "NOTIFY_SOCKET is neither a path nor an abstract name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.send_to_addr(message.as_bytes(), &address).map(drop)
}

/// A line break would begin another assignment.
fn one_line(text: &str) -> String {
    text.replace(|character: char| character.is_control(), " ")
}

/// The time within which the service manager wants to be fed, where it wants that of this process.
pub fn watchdog_interval() -> Option<Duration> {
    let read = |name| std::env::var(name).ok();
    interval(read("WATCHDOG_USEC").as_deref(), read("WATCHDOG_PID").as_deref(), std::process::id())
}

fn interval(microseconds: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.trim().parse() != Ok(own)) {
        return None;
    }
    microseconds?.trim().parse().ok().filter(|time| *time > 0).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_socket_of_a_path_is_told_everything_in_the_protocol_s_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::to(Some(path.into_os_string()));
        notifier.ready("ready");
        notifier.status("two\nlines");
        notifier.watchdog();
        notifier.stopping();
        let words = ["READY=1\nSTATUS=ready\n", "STATUS=two lines\n", "WATCHDOG=1\n", "STOPPING=1\n"];
        assert_eq!(words.map(|_| received(&manager)), words);
    }

    #[test]
    fn an_abstract_socket_is_told_too() {
        let name = format!("edge-service-notify-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Notifier::to(Some(format!("@{name}").into())).watchdog();
        assert_eq!(received(&manager), "WATCHDOG=1\n");
    }

    #[test]
    fn nobody_there_an_odd_address_or_none_harms_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone").into_os_string();
        for address in [None, Some(OsString::new()), Some(gone), Some("vsock:2:1".into()), Some("@".into())] {
            Notifier::to(address).ready("ready");
        }
        Notifier::to(Some(format!("/{}", "long".repeat(100)).into())).stopping();
    }

    #[test]
    fn a_manager_that_takes_nothing_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _deaf = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::to(Some(path.into_os_string()));
        let begun = std::time::Instant::now();
        while !notifier.failed.load(Ordering::Relaxed) {
            notifier.watchdog();
            assert!(begun.elapsed() < Duration::from_secs(30));
        }
    }

    #[test]
    fn the_watchdog_is_fed_only_when_it_is_this_process_that_is_meant() {
        let limit = Some(Duration::from_secs(3));
        assert_eq!(interval(Some("3000000"), None, 7), limit);
        assert_eq!(interval(Some("3000000"), Some("7"), 7), limit);
        for (microseconds, pid) in
            [(None, None), (Some("0"), None), (Some("many"), None), (Some("3000000"), Some("8")), (Some("1"), Some(""))]
        {
            assert_eq!(interval(microseconds, pid, 7), None);
        }
    }
}
