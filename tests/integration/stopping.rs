//! A stop is clean: what was admitted is finished within the limit, every thread is joined, and the exit code is 0.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::harness::{Daemon, Setup};
use crate::under_way::{Pending, rounds, scalar, twice};

/// Longer than any test: a room that died does not come back within it.
const NEVER_MS: u64 = 60_000;
/// Ten times what a stop takes when there is nothing to wait for, which is a second where connections are open.
const SOON: Duration = Duration::from_secs(15);

/// The message that ends the log.
fn last_word(daemon: &Daemon) -> String {
    daemon.log.wait("stopped")["message"].as_str().unwrap().to_owned()
}

fn silent(setup: Setup) -> (Daemon, Pending) {
    let daemon = setup.ready();
    daemon.answers("silent");
    let pending = daemon.begin_infer("scalar", &twice(1.0));
    daemon.wait_running(1);
    (daemon, pending)
}

#[test]
fn what_was_admitted_is_finished_before_the_daemon_leaves() {
    for signal in ["TERM", "INT"] {
        let mut daemon = Setup::fixture("slow").ready();
        let running = daemon.begin_infer("slow", &rounds(100_000));
        daemon.wait_running(1);
        let waiting = daemon.begin_infer("slow", &rounds(1));
        daemon.wait_queued(1);
        daemon.signal(signal);
        assert_eq!((running.answer().status, waiting.answer().status), (200, 200));
        assert_eq!(daemon.wait_exit(), 0);
        assert!(last_word(&daemon).contains("every thread has ended"));
        assert_eq!(daemon.log.wait("stopping")["why"], format!("SIG{signal}"));
        // What was asked for is no trouble.
        assert!(daemon.log.of("not_ready").is_empty(), "{:#?}", daemon.log.all());
    }
}

#[test]
fn a_request_that_takes_longer_than_the_limit_is_ended_with_an_error() {
    let (mut daemon, running) = silent(scalar().set("server.shutdown_timeout_seconds", 0.5));
    let waiting = daemon.begin_infer("scalar", &twice(2.0));
    daemon.wait_queued(1);
    let begun = Instant::now();
    daemon.signal("TERM");
    for pending in [running, waiting] {
        let answer = pending.answer();
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
        assert!(answer.error().contains("stopping"), "{}", answer.text());
    }
    assert_eq!(daemon.wait_exit(), 0);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert!(last_word(&daemon).contains("every thread has ended"));
    daemon.log.exactly("stop_timeout", 1);
}

#[test]
fn a_run_that_cannot_be_ended_is_answered_and_left_behind() {
    let daemon = scalar().set("server.shutdown_timeout_seconds", 0.5).ready();
    daemon.answers("deaf");
    let pending = daemon.begin_infer("scalar", &twice(1.0));
    daemon.wait_running(1);
    let begun = Instant::now();
    let mut daemon = daemon;
    daemon.signal("TERM");
    assert_eq!(pending.answer().status, 503);
    assert_eq!(daemon.wait_exit(), 0);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert!(last_word(&daemon).contains("left behind"));
}

#[test]
fn connections_that_are_idle_do_not_delay_the_stop() {
    let mut daemon = scalar().ready();
    let mut idle: Vec<_> = (0..5).map(|_| daemon.connect()).collect();
    for stream in &mut idle[..3] {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = [0; 512];
        assert!(stream.read(&mut answer).unwrap() > 0);
    }
    let begun = Instant::now();
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(), 0);
    // Much less than the limit of the stop, and than what an idle connection is kept for.
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert!(daemon.log.of("stop_timeout").is_empty());
}

#[test]
fn a_stop_does_not_wait_for_the_first_load() {
    let mut daemon = Setup::fixture("infinite_loop").set("model.trial", false).start();
    daemon.wait_running(1);
    stops_soon(&mut daemon);
}

#[test]
fn a_stop_does_not_wait_for_the_trial_of_the_first_model() {
    let mut daemon = Setup::fixture("infinite_loop").start();
    daemon.wait_until("the trial is under way", |daemon| {
        std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", daemon.pid())).is_ok_and(|text| !text.is_empty())
            || std::process::Command::new("pgrep")
                .args(["-P", &daemon.pid().to_string()])
                .status()
                .is_ok_and(|s| s.success())
    });
    stops_soon(&mut daemon);
}

fn stops_soon(daemon: &mut crate::harness::Daemon) {
    let begun = Instant::now();
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(), 0);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert!(last_word(daemon).contains("every thread has ended"));
}

#[test]
fn a_load_that_cannot_be_ended_is_left_behind_at_the_limit() {
    let setup = scalar().set("server.shutdown_timeout_seconds", 0.5).env("TEST_ANSWERS", "deaf");
    let mut daemon = setup.start();
    daemon.wait_running(1);
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(), 0);
    assert!(last_word(&daemon).contains("left behind"));
}

#[test]
fn a_load_on_request_is_ended_at_the_limit_and_who_asked_is_told() {
    let mut daemon = scalar().set("server.shutdown_timeout_seconds", 0.5).ready();
    daemon.answers("silent");
    let load = daemon.begin_load("scalar");
    daemon.wait_running(1);
    daemon.signal("TERM");
    assert!(load.answer().status >= 400);
    assert_eq!(daemon.wait_exit(), 0);
    assert!(last_word(&daemon).contains("every thread has ended"));
}

#[test]
fn a_stop_goes_in_order_also_while_a_room_is_down() {
    for room in ["model", "engine", "web"] {
        let setup = scalar().set("server.restart_backoff_ms", NEVER_MS).set("server.shutdown_timeout_seconds", 1);
        let (mut daemon, pending) = silent(setup);
        if room == "engine" {
            // The run that is under way dies with its thread; another one waits for the thread.
            let waiting = daemon.begin_infer("scalar", &twice(2.0));
            daemon.wait_queued(1);
            daemon.answers("panic");
            daemon.log.wait("room_down");
            daemon.signal("TERM");
            assert_eq!(pending.answer().status, 503);
            assert_eq!(waiting.answer().status, 503);
        } else {
            daemon.panic_in(room);
            daemon.log.wait("room_down");
            daemon.signal("TERM");
            assert_eq!(pending.answer().status, 503, "{room}");
        }
        assert_eq!(daemon.wait_exit(), 0, "{room}");
        assert!(last_word(&daemon).contains("every thread has ended"), "{room}");
    }
}

#[test]
fn an_engine_that_is_down_is_waited_for_by_a_stop() {
    let mut daemon = scalar().set("server.restart_backoff_ms", 1000).ready();
    daemon.answers("silent");
    let running = daemon.begin_infer("scalar", &twice(1.0));
    daemon.wait_running(1);
    let waiting = daemon.begin_infer("scalar", &twice(2.0));
    daemon.wait_queued(1);
    daemon.answers("panic");
    assert_eq!(running.answer().status, 503);
    daemon.log.wait("room_down");
    daemon.signal("TERM");
    assert_eq!(waiting.answer().status, 200);
    assert_eq!(daemon.wait_exit(), 0);
}

#[test]
fn the_same_wish_twice_changes_nothing_and_impatience_ends_the_daemon_at_once() {
    let (mut daemon, pending) = silent(scalar());
    daemon.signal("TERM");
    daemon.signal("INT");
    daemon.log.wait("stopping");
    let begun = Instant::now();
    let code = loop {
        daemon.signal("TERM");
        if let Some(code) = daemon.exited_within(Duration::from_millis(200)) {
            break code;
        }
    };
    assert_eq!(code, 130);
    assert!(begun.elapsed() >= Duration::from_millis(500), "a second signal at once is the same wish");
    daemon.log.exactly("stopping", 1);
    assert_eq!(pending.answer().status, 0);
}
