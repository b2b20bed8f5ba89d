//! Given clients that send too much, too slowly, or not at all, they get one clear answer, and nobody else notices.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Daemon, PATIENCE, Setup};

const LIMIT: usize = 1 << 20;

/// A daemon with small limits, and a model that is quick.
fn small() -> Setup {
    Setup::fixture("identity_fp32").set("server.max_body_bytes", LIMIT).set("server.max_body_memory_bytes", 4 * LIMIT)
}

/// The same, with little patience for slow clients.
fn impatient() -> Setup {
    small().set("server.client_timeout_seconds", SLOW).set("server.keep_alive_seconds", SLOW)
}

/// The next request is answered right.
fn answers(daemon: &Daemon) {
    let request = json!({"inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1.5, -2.0]}]});
    let answer = daemon.infer("identity_fp32", &request);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["outputs"][0]["data"], json!([1.5, -2.0]));
}

/// A number of `/proc/PID/status`, in kB.
fn memory_kb(daemon: &Daemon, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Reads until the daemon closes, or resets.
fn rest(mut stream: &TcpStream) -> String {
    let mut answer = Vec::new();
    let mut buffer = [0u8; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads one answer off a connection that stays open.
fn one_answer(mut stream: &TcpStream) -> String {
    let mut answer = Vec::new();
    let mut byte = [0u8; 1];
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    let head = String::from_utf8(answer).unwrap();
    let length = head.to_lowercase().split("content-length: ").nth(1).map(|rest| rest.lines().next().unwrap().parse());
    let mut body = vec![0u8; length.map_or(0, Result::unwrap)];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

fn head(length: &str) -> String {
    format!("POST /v2/models/identity_fp32/infer HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n")
}

#[test]
fn a_body_over_the_limit_is_refused_at_its_head() {
    let daemon = small().ready();
    let pictures = Setup::digits().set("server.max_body_bytes", LIMIT).ready();
    for (daemon, path) in [(&daemon, "/v2/models/identity_fp32/infer"), (&pictures, "/api/v1/frames")] {
        let body = vec![b' '; LIMIT + 1];
        let answer = daemon.raw(
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())
                .as_bytes(),
        );
        assert!(answer.starts_with("HTTP/1.1 413 "), "{path}: {answer}");
        assert!(answer.contains("server.max_body_bytes") && answer.contains(&LIMIT.to_string()), "{answer}");
    }
    answers(&daemon);
    // One that would fit exactly is read.
    let exact = daemon.post("/v2/models/identity_fp32/infer", &vec![b' '; LIMIT]);
    assert_eq!(exact.status, 400, "{}", exact.text());
}

#[test]
fn endless_bodies_cost_no_more_memory_than_is_allowed() {
    let daemon = small().ready();
    answers(&daemon);
    let before = memory_kb(&daemon, "VmHWM");
    let senders: Vec<_> = (0..8)
        .map(|_| {
            let stream = daemon.connect();
            std::thread::spawn(move || {
                (&stream).write_all(head("Transfer-Encoding: chunked").as_bytes()).unwrap();
                let mut chunk = format!("{:x}\r\n", 64 << 10).into_bytes();
                chunk.extend(std::iter::repeat_n(b' ', 64 << 10));
                chunk.extend(b"\r\n");
                // 64 MiB each, unless the daemon hangs up.
                for _ in 0..1024 {
                    if (&stream).write_all(&chunk).is_err() {
                        break;
                    }
                }
                let _ = stream.shutdown(Shutdown::Write);
                rest(&stream)
            })
        })
        .collect();
    for sender in senders {
        let answer = sender.join().unwrap();
        // A reset may overtake the answer to a client that does not stop to read it.
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 413 ") || answer.starts_with("HTTP/1.1 503 "),
            "{answer}"
        );
        assert!(answer.matches("HTTP/1.1").count() <= 1, "{answer}");
    }
    answers(&daemon);
    let grown_kb = memory_kb(&daemon, "VmHWM") - before;
    assert!(grown_kb < 24 << 10, "{grown_kb} kB for 512 MiB of bodies");
}

#[test]
fn a_small_body_that_inflates_to_a_large_one_is_refused() {
    let daemon = small().ready();
    answers(&daemon);
    let before = memory_kb(&daemon, "VmHWM");
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..256 {
        packer.write_all(&vec![b' '; 1 << 20]).unwrap();
    }
    let packed = packer.finish().unwrap();
    assert!(packed.len() < LIMIT);
    let headers = [("Content-Encoding", "gzip")];
    let answer = daemon.send("POST", "/v2/models/identity_fp32/infer", &headers, &packed);
    assert_eq!(answer.status, 413, "{}", answer.text());
    answers(&daemon);
    let grown_kb = memory_kb(&daemon, "VmHWM") - before;
    assert!(grown_kb < 16 << 10, "{grown_kb} kB for a body that inflates to 256 MiB");
}

/// Seconds of patience with clients in the tests of slow ones.
const SLOW: f64 = 1.0;

/// Waits for the daemon to close the connection; what it said before.
fn closed(stream: &TcpStream, begun: Instant) -> String {
    let said = rest(stream);
    let took = begun.elapsed();
    // The server looks at its clock twice a second.
    assert!(took > Duration::from_secs_f64(SLOW * 0.3), "closed after {took:?} already");
    assert!(took < PATIENCE, "not closed in {took:?}");
    said
}

#[test]
fn a_head_that_does_not_come_is_not_waited_for() {
    let daemon = impatient().ready();
    for begin in ["", "GET /v2 HT", "GET /v2 HTTP/1.1\r\nHost: x\r\nX-Long: "] {
        let begun = Instant::now();
        let mut stream = daemon.connect();
        stream.write_all(begin.as_bytes()).unwrap();
        answers(&daemon);
        let said = closed(&stream, begun);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408 "), "{begin:?}: {said}");
    }
}

#[test]
fn a_second_head_that_does_not_come_is_not_waited_for_either() {
    let daemon = impatient().ready();
    let mut stream = daemon.connect();
    stream.write_all(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(one_answer(&stream).starts_with("HTTP/1.1 200 "));
    let begun = Instant::now();
    stream.write_all(b"GET /v2 HTTP/1.1\r\nHost: ").unwrap();
    let said = closed(&stream, begun);
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408 "), "{said}");
    answers(&daemon);
}

#[test]
fn a_second_head_that_stalls_is_closed_long_before_an_idle_connection_is() {
    let daemon = small().set("server.client_timeout_seconds", SLOW).set("server.keep_alive_seconds", 3600).ready();
    let kept = |daemon: &Daemon| {
        let mut stream = daemon.connect();
        stream.write_all(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert!(one_answer(&stream).starts_with("HTTP/1.1 200 "));
        stream
    };
    let (mut stalled, mut idle) = (kept(&daemon), kept(&daemon));
    // A head that begins right behind an answer may be taken for a part of what came before.
    std::thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    stalled.write_all(b"GET /v2 HTTP/1.1\r\nHost: ").unwrap();
    closed(&stalled, begun);
    std::thread::sleep(Duration::from_secs_f64(SLOW));
    idle.write_all(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(one_answer(&idle).starts_with("HTTP/1.1 200 "), "an idle connection is kept");
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_body_counts_as_gone() {
    let daemon = small().ready();
    for (number, length) in ["Content-Length: 1000", "Transfer-Encoding: chunked"].into_iter().enumerate() {
        let mut stream = daemon.connect();
        stream.write_all(head(length).as_bytes()).unwrap();
        stream.write_all(b"10\r\n{").unwrap();
        std::thread::sleep(Duration::from_millis(50));
        drop(stream);
        daemon.wait_metric("inference_requests_total{model=\"identity_fp32\",outcome=\"gone\"}", number as f64 + 1.0);
    }
    assert_eq!(daemon.metric("inference_requests_total{model=\"identity_fp32\",outcome=\"invalid\"}"), 0.0);
    answers(&daemon);
}

#[test]
fn what_is_no_http_is_refused_without_a_line_in_the_log() {
    let daemon = small().ready();
    let chunks = head("Transfer-Encoding: chunked") + "zz\r\n{}\r\n0\r\n\r\n";
    assert!(daemon.raw(chunks.as_bytes()).contains("the body's chunks are malformed"));
    for nonsense in ["\x16\x03\x01\x02\x00\x01\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET /v2 HTTP/1.1\r\na b: c\r\n\r\n"]
    {
        assert!(daemon.raw(nonsense.as_bytes()).starts_with("HTTP/1.1 400 "), "{nonsense:?}");
    }
    answers(&daemon);
    assert_eq!(daemon.metric("inference_requests_total{model=\"identity_fp32\",outcome=\"invalid\"}"), 1.0);
    let errors: Vec<_> = daemon.stop().into_iter().filter(|line| line["level"] == "ERROR").collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn a_body_that_does_not_come_is_answered_with_408() {
    let daemon = impatient().ready();
    let begun = Instant::now();
    let stalled: Vec<_> = ["Content-Length: 1000", "Transfer-Encoding: chunked"]
        .map(|length| {
            let mut stream = daemon.connect();
            stream.write_all(head(length).as_bytes()).unwrap();
            stream.write_all(b"10\r\n{").unwrap();
            stream
        })
        .into();
    answers(&daemon);
    for stream in stalled {
        let said = closed(&stream, begun);
        assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("server.client_timeout_seconds"), "{said}");
    }
    answers(&daemon);
}

#[test]
fn a_body_that_comes_in_small_pieces_is_waited_for() {
    let daemon = small().set("server.client_timeout_seconds", 3).ready();
    let body = br#"{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [4]}]}"#;
    let mut stream = daemon.connect();
    stream.write_all(head(&format!("Content-Length: {}", body.len())).as_bytes()).unwrap();
    for piece in body.chunks(body.len() / 6) {
        // Together they take longer than the patience for one.
        std::thread::sleep(Duration::from_millis(600));
        stream.write_all(piece).unwrap();
    }
    let answer = one_answer(&stream);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn a_connection_that_is_half_closed_counts_as_gone() {
    let daemon = Setup::fixture("slow").set("model.canary_seconds", 0).ready();
    let values = vec!["0.5"; 64 * 64].join(",");
    let body = format!(
        r#"{{"inputs":[{{"name":"steps","shape":[1],"datatype":"INT64","data":[1000000000000]}},{{"name":"x","shape":[64,64],"datatype":"FP32","data":[{values}]}}]}}"#
    );
    let mut stream = daemon.connect();
    let head = format!("POST /v2/models/slow/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    // It runs once a short one finds the engine busy.
    let short = body.replace("1000000000000", "1");
    let probe = short.replacen('{', r#"{"parameters":{"timeout":100000},"#, 1);
    daemon.wait_until("it runs", |daemon| daemon.post("/v2/models/slow/infer", probe.as_bytes()).status == 504);
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&stream), "");
    daemon.wait_until("it is ended", |daemon| {
        daemon.metric("inference_requests_total{model=\"slow\",outcome=\"gone\"}") == 1.0
    });
    // The engine is free again: a short one is answered.
    assert_eq!(daemon.post("/v2/models/slow/infer", short.as_bytes()).status, 200);
}

#[test]
fn connections_past_the_limit_wait_for_a_place() {
    let daemon = small().set("server.max_connections", 8).set("server.client_timeout_seconds", 60).ready();
    let live = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n";
    // Each of them has been answered, so it is accepted and idle.
    let idle: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut stream = daemon.connect();
            stream.write_all(live).unwrap();
            assert!(one_answer(&stream).starts_with("HTTP/1.1 200 "));
            stream
        })
        .collect();
    let mut waiting = daemon.connect();
    waiting.write_all(live).unwrap();
    waiting.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(waiting.read(&mut [0u8; 1]).is_err(), "a ninth is served beside eight");
    for mut stream in &idle {
        stream.write_all(live).unwrap();
        assert!(one_answer(stream).starts_with("HTTP/1.1 200 "));
    }
    drop(idle);
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(one_answer(&waiting).starts_with("HTTP/1.1 200 "));
    drop(waiting);
    answers(&daemon);
}

#[test]
fn many_idle_connections_do_no_harm() {
    let daemon = small().set("server.max_connections", 400).ready();
    let before = memory_kb(&daemon, "VmRSS");
    let idle: Vec<TcpStream> = (0..300).map(|_| daemon.connect()).collect();
    for _ in 0..5 {
        answers(&daemon);
    }
    let grown_kb = memory_kb(&daemon, "VmRSS").saturating_sub(before);
    assert!(grown_kb < 32 << 10, "{grown_kb} kB for 300 idle connections");
    drop(idle);
    answers(&daemon);
}

#[test]
fn more_connections_than_open_files_do_not_end_the_daemon() {
    // A shell lowers the limit, soft and hard, and becomes the daemon.
    let script = "ulimit -n 64; exec \"$0\" \"$@\"";
    let folder = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_edge-service"), "--listen", "127.0.0.1:0", "--model"])
        .arg(crate::harness::model("scalar"))
        .env("STATE_DIRECTORY", folder.path())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines =
        std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap())).map_while(Result::ok);
    let told = lines.find(|line| line.contains("open files")).unwrap();
    assert!(told.contains("WARN") && told.contains("allows 64 open files") && told.contains("LimitNOFILE"), "{told}");
    let listening = lines.find(|line| line.contains("listening on http://")).unwrap();
    let address = listening.split("http://").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    lines.find(|line| line.ends_with("ready") || line.contains(" ready ")).unwrap();
    let drain = std::thread::spawn(move || lines.count());
    let crowd: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(&address).unwrap()).collect();
    std::thread::sleep(Duration::from_millis(300));
    drop(crowd);
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(one_answer(&stream).starts_with("HTTP/1.1 200 "));
    assert!(std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    drain.join().unwrap();
}
