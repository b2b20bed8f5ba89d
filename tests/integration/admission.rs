//! What is not going to be served in time is refused at its head, and whatever happens to a request, nothing of it stays.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::harness::{Answer, Daemon, Setup};
use crate::under_way::{Pending, rounds, scalar, twice, twice_within};

/// An engine that is silent, with one request that runs and as many that wait as may.
fn full(limit: usize) -> (Daemon, Vec<Pending>) {
    let daemon = scalar().set("model.queue_limit", limit).ready();
    daemon.answers("silent");
    let mut pending = vec![daemon.begin_infer("scalar", &twice(0.0))];
    daemon.wait_running(1);
    pending.extend((0..limit).map(|_| daemon.begin_infer("scalar", &twice(0.0))));
    daemon.wait_queued(limit);
    (daemon, pending)
}

fn outcome(daemon: &Daemon, outcome: &str) -> f64 {
    daemon.metric(&format!("inference_requests_total{{model=\"scalar\",outcome=\"{outcome}\"}}"))
}

/// Sends a head that promises a body, and reads what comes without sending any of it.
fn only_the_head(daemon: &Daemon, path: &str, extra: &str) -> String {
    let mut stream = daemon.connect();
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n{extra}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    let mut buffer = [0; 4096];
    while !answer.contains("\"error\"") {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "closed after {answer:?}");
        answer.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    answer
}

#[test]
fn past_the_limit_a_request_is_refused_at_its_head_however_busy_the_engine_is() {
    let (daemon, pending) = full(2);
    for extra in ["", "Expect: 100-continue\r\n"] {
        let begun = Instant::now();
        let answer = only_the_head(&daemon, "/v2/models/scalar/infer", extra);
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        let answer = answer.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&answer);
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.to_lowercase().contains("retry-after: 1"), "{answer}");
        assert!(answer.contains("model.queue_limit"), "{answer}");
    }
    assert_eq!(daemon.metric("inference_refused_total{reason=\"queue_full\"}"), 2.0);
    assert_eq!(outcome(&daemon, "refused"), 2.0);
    daemon.answers("right");
    assert!(pending.into_iter().all(|request| request.answer().status == 200));
}

#[test]
fn health_status_and_metrics_are_answered_while_the_queue_is_full() {
    let (daemon, pending) = full(3);
    for path in
        ["/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/metrics", "/v2", "/v2/models/scalar/stats"]
    {
        let begun = Instant::now();
        assert_eq!(daemon.get(path).status, 200, "{path}");
        assert!(begun.elapsed() < Duration::from_secs(1), "{path}: {:?}", begun.elapsed());
    }
    assert_eq!(daemon.metric("inference_queue_depth"), 3.0);
    daemon.answers("right");
    assert!(pending.into_iter().all(|request| request.answer().status == 200));
}

#[test]
fn a_body_for_which_there_is_no_memory_is_refused_at_its_head() {
    let daemon =
        scalar().set("server.max_body_bytes", 2_000_000).set("server.max_body_memory_bytes", 2_000_000).ready();
    let mut first = daemon.connect();
    let head = b"POST /v2/models/scalar/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1900000\r\n\r\n";
    first.write_all(head).unwrap();
    daemon.wait_metric("request_body_memory_bytes", 1_900_000.0);
    let answer = only_the_head(&daemon, "/v2/models/scalar/infer", "");
    assert!(answer.contains(" 503 ") && answer.contains("server.max_body_memory_bytes"), "{answer}");
    drop(first);
    daemon.wait_metric("request_body_memory_bytes", 0.0);
    assert_eq!(daemon.metric("inference_refused_total{reason=\"body_memory\"}"), 1.0);
    assert_eq!(daemon.infer("scalar", &twice(1.0)).status, 200);
}

#[test]
fn one_session_runs_one_request_at_a_time_and_two_run_two() {
    for sessions in [1, 2] {
        let daemon = scalar().set("model.sessions", sessions).ready();
        daemon.answers("silent");
        let pending: Vec<Pending> = (0..3).map(|_| daemon.begin_infer("scalar", &twice(1.0))).collect();
        daemon.wait_queued(3 - sessions);
        daemon.wait_running(sessions);
        daemon.answers("right");
        assert!(pending.into_iter().all(|request| request.answer().status == 200));
    }
}

/// The threads of the engine, which those of the session are named after.
fn engine_threads(daemon: &Daemon) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default());
    names.filter(|name| name.starts_with("engine-0")).count()
}

#[test]
fn a_session_has_as_many_threads_as_cores_that_the_service_may_use() {
    let cores = std::thread::available_parallelism().unwrap().get();
    assert_eq!(engine_threads(&Setup::fixture("mlp").ready()), cores);
    assert_eq!(engine_threads(&Setup::fixture("mlp").set("model.threads", 3).ready()), 3);
    let one = Setup::fixture("mlp").on_one_core().ready();
    assert_eq!(engine_threads(&one), 1);
}

#[test]
fn nothing_is_left_of_a_storm_and_every_request_is_counted_once() {
    let daemon = Setup::fixture("slow").set("model.queue_limit", 8).set("model.sessions", 2).ready();
    daemon.log.wait("ready");
    // What the box lacks is said whenever its probes have found out.
    let counts = |line: &&serde_json::Value| line["level"] == "INFO" && line["event"] != "probe_absent";
    let infos = daemon.log.all().iter().filter(counts).count();
    let (clients, each) = (8, 40);
    let sent: Vec<u16> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|client| {
                let daemon = &daemon;
                scope.spawn(move || (0..each).map(|number| storm(daemon, client * 7 + number)).collect::<Vec<u16>>())
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    daemon.wait_metric("inference_queue_depth", 0.0);
    daemon.wait_metric("request_body_memory_bytes", 0.0);
    daemon.wait_running(0);
    daemon.wait_until("every request is counted", |daemon| daemon.counted() == f64::from(clients * each));
    let outcome = |name: &str| daemon.metric(&format!("inference_requests_total{{model=\"slow\",outcome=\"{name}\"}}"));
    let answered = |status: u16| sent.iter().filter(|other| **other == status).count() as f64;
    assert_eq!((outcome("ok"), outcome("expired"), outcome("failed")), (answered(200), answered(504), 0.0));
    // A client that has left did not read its refusal.
    assert!(outcome("refused") >= answered(503) && outcome("invalid") >= answered(400), "{sent:?}");
    assert!(outcome("gone") > 0.0 && [200, 400, 504, 0].iter().all(|status| answered(*status) > 0.0), "{sent:?}");
    assert_eq!(daemon.infer("slow", &rounds(1)).status, 200);
    let after = daemon.log.all();
    assert_eq!(after.iter().filter(counts).count(), infos, "nothing is logged a request");
    assert!(daemon.log.of("refused").len() <= 1, "a refusal that repeats is one line");
}

/// One request of a mixed lot: the status of its answer, 0 where the client did not wait for it.
fn storm(daemon: &Daemon, number: u32) -> u16 {
    let mut request = rounds(u64::from(number % 3) * 100);
    match number % 6 {
        0 | 1 => daemon.infer("slow", &request).status,
        2 => {
            request["parameters"]["timeout"] = 2000.into();
            request["inputs"][0]["data"][0] = 1_000_000_000.into();
            daemon.infer("slow", &request).status
        }
        3 => daemon.post("/v2/models/slow/infer", b"{\"inputs\": [").status,
        4 => leave_after(daemon, &rounds(1_000_000_000).to_string(), false),
        _ => leave_after(daemon, &rounds(1).to_string(), true),
    }
}

/// Sends a request, or half of it, and goes away.
fn leave_after(daemon: &Daemon, body: &str, half: bool) -> u16 {
    let mut stream = daemon.connect();
    let (length, expect) = (body.len(), "Expect: 100-continue");
    let head =
        format!("POST /v2/models/slow/infer HTTP/1.1\r\nHost: a\r\n{expect}\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    // The head has been read once there is an answer to it: from then on the request counts.
    let mut answer = [0; 512];
    let count = stream.read(&mut answer).unwrap();
    assert!(count > 0);
    if answer.windows(5).any(|bytes| bytes == b" 503 ") {
        return 503;
    }
    let sent = if half { length / 2 } else { length };
    // It may have been refused meanwhile.
    let _ = stream.write_all(&body.as_bytes()[..sent]);
    0
}

#[test]
fn a_warning_that_repeats_is_written_once_a_while_with_its_count() {
    let daemon = scalar().set("model.queue_limit", 1).set("log.repeat_seconds", 1).ready();
    daemon.answers("silent");
    let running = daemon.begin_infer("scalar", &twice(0.0));
    daemon.wait_running(1);
    let waiting = daemon.begin_infer("scalar", &twice(0.0));
    daemon.wait_queued(1);
    let begun = Instant::now();
    let mut refused = 0;
    while daemon.log.of("refused").len() < 3 {
        let answer: Answer = daemon.infer("scalar", &twice_within(1.0, Duration::from_secs(5)));
        assert_eq!(answer.status, 503);
        refused += 1;
    }
    let lines = daemon.log.of("refused");
    assert!(begun.elapsed() >= Duration::from_secs(2), "{lines:?}");
    let told: u64 = lines.iter().map(|line| 1 + line["held_back"].as_u64().unwrap()).sum();
    assert!(lines[1]["held_back"].as_u64().unwrap() > 0 && told <= refused, "{told} of {refused}: {lines:?}");
    assert_eq!(daemon.metric("inference_refused_total{reason=\"queue_full\"}"), refused as f64);
    daemon.answers("right");
    assert_eq!((running.answer().status, waiting.answer().status), (200, 200));
}
