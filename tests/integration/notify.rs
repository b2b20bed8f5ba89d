//! The service manager hears when the daemon serves, how it is, and that its rooms answer; nothing else feeds it.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use crate::harness::{Daemon, PATIENCE, Setup};

/// The watchdog's time in these tests.
const LIMIT: Duration = Duration::from_millis(1000);

/// A service manager, as far as its socket goes.
struct Manager {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Manager {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        Manager { socket, folder }
    }

    fn of(&self, setup: Setup) -> Setup {
        setup.env("NOTIFY_SOCKET", self.folder.path().join("notify").to_str().unwrap())
    }

    /// The same, with a watchdog.
    fn watching(&self, setup: Setup) -> Setup {
        self.of(setup).env("WATCHDOG_USEC", &LIMIT.as_micros().to_string())
    }

    /// The next message, if one comes within this time.
    fn next(&self, within: Duration) -> Option<String> {
        let mut buffer = [0; 1024];
        self.socket.set_read_timeout(Some(within)).unwrap();
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    /// Everything up to the message that begins so, that one included.
    fn until(&self, beginning: &str) -> Vec<String> {
        let mut heard = Vec::new();
        while !heard.last().is_some_and(|last: &String| last.starts_with(beginning)) {
            heard.push(self.next(PATIENCE).unwrap_or_else(|| panic!("no {beginning} after {heard:?}")));
        }
        heard
    }

    /// Whether the watchdog is fed within this time.
    fn is_fed(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if self.next(left).is_some_and(|message| message.contains("WATCHDOG=1")) {
                return true;
            }
        }
        false
    }

    /// Throws away what has come so far.
    fn forget(&self) {
        while self.next(Duration::from_millis(1)).is_some() {}
    }
}

fn test_hook(daemon: &Daemon, path: &str) {
    assert_eq!(daemon.post(path, &[]).status, 202);
}

#[test]
fn it_counts_as_started_once_it_is_ready_and_says_how_it_is_before_and_after() {
    let manager = Manager::new();
    let daemon = manager.of(Setup::digits()).start();
    let heard = manager.until("READY=1");
    assert_eq!(heard, ["STATUS=the model is being loaded\n", "READY=1\nSTATUS=ready\n"]);
    daemon.log.wait("ready");
    test_hook(&daemon, "/test/panic/model");
    assert_eq!(manager.until("STATUS=ready"), ["STATUS=the model room is being restarted\n", "STATUS=ready\n"]);
    daemon.stop();
    let heard = manager.until("STATUS=the daemon is stopping");
    assert_eq!(heard[0], "STOPPING=1\n", "{heard:?}");
}

#[test]
fn it_never_counts_as_started_with_a_model_that_cannot_be_used() {
    let manager = Manager::new();
    let (code, ..) = manager.of(Setup::fixture("truncated")).run("run");
    assert_eq!(code, 65);
    while let Some(message) = manager.next(Duration::from_millis(1)) {
        assert!(!message.contains("READY"), "{message}");
    }
}

#[test]
fn the_watchdog_is_fed_twice_in_its_time() {
    let manager = Manager::new();
    let daemon = manager.watching(Setup::digits()).ready();
    manager.until("READY=1");
    let begun = Instant::now();
    for _ in 0..6 {
        assert!(manager.is_fed(LIMIT), "{:#?}", daemon.log.all());
    }
    let taken = begun.elapsed();
    assert!(taken > LIMIT * 2 && taken < LIMIT * 6, "{taken:?}");
    assert!(daemon.log.of("watchdog_withheld").is_empty());
}

#[test]
fn a_watchdog_of_another_process_is_none_of_its_business() {
    let manager = Manager::new();
    let _daemon = manager.watching(Setup::digits()).env("WATCHDOG_PID", "1").ready();
    manager.until("READY=1");
    assert!(!manager.is_fed(LIMIT * 2));
}

#[test]
fn a_room_that_stands_still_feeds_nothing_until_it_goes_on() {
    let manager = Manager::new();
    let daemon = manager.watching(Setup::digits()).ready();
    manager.until("READY=1");
    assert!(manager.is_fed(LIMIT));
    test_hook(&daemon, "/test/block/3000");
    std::thread::sleep(Duration::from_millis(200));
    manager.forget();
    assert!(!manager.is_fed(Duration::from_millis(2000)), "fed while a room stands still");
    assert!(manager.is_fed(PATIENCE), "not fed when it goes on");
}

#[test]
fn an_engine_that_stands_still_feeds_nothing_and_the_log_says_why() {
    let manager = Manager::new();
    let setup = Setup::digits().set("model.canary_seconds", 0.1).set("model.canary_timeout_ms", 300);
    let daemon = manager.watching(setup).ready();
    manager.until("READY=1");
    assert!(manager.is_fed(LIMIT));
    test_hook(&daemon, "/test/answer/deaf");
    let withheld = daemon.log.wait("watchdog_withheld");
    assert!(withheld["reason"].as_str().unwrap().contains("canary"), "{withheld}");
    manager.forget();
    assert!(!manager.is_fed(LIMIT), "fed while the engine stands still");
    test_hook(&daemon, "/test/answer/right");
    daemon.log.wait("watchdog_fed");
    assert!(manager.is_fed(LIMIT * 2));
    assert_eq!(daemon.log.of("watchdog_withheld").len(), 1, "said once");
}

#[test]
fn a_room_that_dies_is_the_supervisor_s_to_bring_back_and_not_the_watchdog_s() {
    let manager = Manager::new();
    let daemon = manager.watching(Setup::digits()).ready();
    manager.until("READY=1");
    for room in ["model", "web", "engine"] {
        test_hook(&daemon, &format!("/test/panic/{room}"));
        assert!(manager.is_fed(LIMIT * 2), "{room}");
    }
    assert!(daemon.log.of("watchdog_withheld").is_empty());
}
