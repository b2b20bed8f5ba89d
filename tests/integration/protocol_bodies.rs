//! G: bodies on the wire, by requirement number of docs/http.md: chunks, compression, limits, and clients that stall.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use serde_json::json;

use crate::harness::{Answer, Daemon, Setup};
use crate::wire::{LENGTH, Line, binary_x, bytes, chunked, fails, floats, identity, parts, post};

const INFER: &str = "/v2/models/identity_fp32/infer";

fn chunked_post(body: &[u8]) -> Vec<u8> {
    let head = format!("POST {INFER} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// A JSON request of exactly this many bytes.
fn padded(length: usize) -> Vec<u8> {
    let mut body = floats(&[1.0]).to_string().into_bytes();
    body.resize(length, b' ');
    body
}

#[test]
fn req_81_chunked_bodies_work_and_too_many_chunks_are_400() {
    let daemon = identity("fp32");
    let mut line = Line::new(&daemon);
    let body = floats(&[1.0, 2.0]).to_string();
    for size in [1, 3, 7, 1000] {
        line.send(&chunked_post(&chunked(body.as_bytes().chunks(size))));
        let answer = line.answer();
        assert_eq!((answer.status, &answer.json()["outputs"][0]["data"]), (200, &json!([1.0, 2.0])));
    }
    let spaces = vec![b' '; 65_537];
    line.try_send(&chunked_post(&chunked(spaces.chunks(1))));
    fails(&line.answer(), 400, "more than 65536 chunks");
    assert_eq!(daemon.infer("identity_fp32", &floats(&[1.0])).status, 200);
    let mut body = padded(60_000);
    assert_eq!(body.len(), 60_000);
    let mut line = Line::new(&daemon);
    line.send(&chunked_post(&chunked(body.chunks(1))));
    assert_eq!(line.answer().status, 200);
    body.truncate(10);
    line.send(&chunked_post(&chunked(body.chunks(1))));
    fails(&line.answer(), 400, "invalid JSON");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn packed(daemon: &Daemon, coding: &str, length: usize, body: &[u8]) -> Answer {
    daemon.send("POST", INFER, &[("Content-Encoding", coding), (LENGTH, &length.to_string())], body)
}

#[test]
fn req_82_gzip_and_deflate_go_both_ways_and_lengths_count_what_is_inflated() {
    let daemon = identity("fp32");
    let tensor = bytes(&(0u16..4096).map(f32::from).collect::<Vec<_>>());
    let json = binary_x("FP32", json!([4096]), tensor.len()).to_string();
    let body = [json.as_bytes(), &tensor].concat();
    for (coding, packed_body) in [("gzip", gzip(&body)), ("deflate", deflate(&body)), ("identity", body.clone())] {
        assert_eq!(parts(&packed(&daemon, coding, json.len(), &packed_body)).1, tensor, "{coding}");
    }
    for coding in ["gzip", "deflate"] {
        let accept = [("Accept-Encoding", coding), (LENGTH, &json.len().to_string())];
        let mut answer = daemon.send("POST", INFER, &accept, &body);
        assert_eq!(answer.header("content-encoding"), Some(coding));
        let mut inflated = Vec::new();
        match coding {
            "gzip" => flate2::read::GzDecoder::new(&answer.body[..]).read_to_end(&mut inflated).unwrap(),
            _ => flate2::read::ZlibDecoder::new(&answer.body[..]).read_to_end(&mut inflated).unwrap(),
        };
        assert!(answer.body.len() < inflated.len());
        answer.body = inflated;
        assert_eq!(parts(&answer).1, tensor, "{coding}");
    }
    // Clients inflate the answer to an inference only: metadata and errors stay as they are.
    let accept = [("Accept-Encoding", "gzip, deflate")];
    for path in ["/v2", "/v2/models/identity_fp32", "/v2/models/stats", "/v2/health/ready", "/nowhere"] {
        let answer = daemon.send("GET", path, &accept, b"");
        assert_eq!(answer.header("content-encoding"), None, "{path}");
        answer.json();
    }
    fails(&daemon.send("POST", INFER, &accept, b"{"), 400, "invalid JSON");
    let small = floats(&[1.0]).to_string();
    for nothing in ["br", "br, identity;q=0", "*;q=0", "gzip;q=0, deflate;q=0", "nonsense;;"] {
        let answer = daemon.send("POST", INFER, &[("Accept-Encoding", nothing)], small.as_bytes());
        assert_eq!((answer.status, answer.header("content-encoding")), (200, None), "{nothing}");
    }
    for coding in ["br", "zstd", "compress", "gzip, gzip", "nonsense"] {
        let answer = packed(&daemon, coding, json.len(), &body);
        fails(&answer, 415, "is not read: send gzip, deflate or identity");
        assert_eq!(answer.header("accept-encoding"), Some("gzip, deflate"));
    }
    let mut bare = DeflateEncoder::new(Vec::new(), Compression::default());
    bare.write_all(&body).unwrap();
    let half = gzip(&body);
    for (coding, wrong) in [
        ("gzip", body.clone()),
        ("deflate", bare.finish().unwrap()),
        ("gzip", half[..half.len() / 2].to_vec()),
        ("gzip", Vec::new()),
    ] {
        let answer = packed(&daemon, coding, json.len(), &wrong);
        assert_eq!(answer.status, 400, "{coding}: {}", answer.text());
        answer.error();
    }
}

#[test]
fn req_82_a_zip_bomb_is_413_and_never_held_whole() {
    let daemon = Setup::fixture("identity_fp32").set("server.max_body_bytes", 1 << 20).ready();
    let peak = || -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim_end_matches("kB").trim().parse().unwrap()
    };
    let before = peak();
    let bomb = vec![b' '; 128 << 20];
    for (coding, bomb) in [("gzip", gzip(&bomb)), ("deflate", deflate(&bomb))] {
        assert!(bomb.len() < 1 << 20);
        let answer = daemon.send("POST", INFER, &[("Content-Encoding", coding)], &bomb);
        fails(&answer, 413, "over the limit of 1048576 bytes (server.max_body_bytes)");
    }
    assert!(peak() - before < 32 << 10, "from {before} to {} KiB", peak());
    let exact = gzip(&padded(1 << 20));
    assert_eq!(daemon.send("POST", INFER, &[("Content-Encoding", "gzip")], &exact).status, 200);
    let over = gzip(&padded((1 << 20) + 1));
    fails(&daemon.send("POST", INFER, &[("Content-Encoding", "gzip")], &over), 413, "over the limit");
}

#[test]
fn req_83_exactly_the_limit_passes_and_one_byte_more_is_413() {
    let daemon = Setup::fixture("identity_fp32").set("server.max_body_bytes", 4096).ready();
    assert_eq!(daemon.post(INFER, &padded(4096)).status, 200);
    fails(&daemon.post(INFER, &padded(4097)), 413, "the body is over the limit of 4096 bytes (server.max_body_bytes)");
    let mut line = Line::new(&daemon);
    line.send(&chunked_post(&chunked(padded(4096).chunks(100))));
    assert_eq!(line.answer().status, 200);
    line.send(&chunked_post(&chunked(padded(4097).chunks(100))));
    fails(&line.answer(), 413, "over the limit of 4096 bytes");
    // Small JSON of a huge shape is refused before room is made.
    let huge = crate::wire::x("FP32", json!([1025]), json!([1]));
    fails(&daemon.post(INFER, huge.to_string().as_bytes()), 400, "over the limit of 4096 bytes");
    let huge = crate::wire::x("FP32", json!([1_000_000_000_000u64]), json!([1]));
    fails(&daemon.post(INFER, huge.to_string().as_bytes()), 400, "over the limit of 4096 bytes");
}

#[test]
fn req_83_a_large_body_that_is_refused_at_its_head_gets_its_status_and_no_reset() {
    let daemon = Setup::fixture("identity_fp32").set("server.max_body_bytes", 4096).ready();
    let large = vec![b'x'; 64 << 20];
    for request in
        [post(INFER, "", &large), chunked_post(&chunked(large.chunks(1 << 20))), post("/nowhere", "", &large)]
    {
        let mut line = Line::new(&daemon);
        line.send(&request);
        let answer = line.answer();
        assert!(matches!(answer.status, 413 | 404), "{}", answer.text());
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(!answer.error().is_empty());
    }
    // A client that takes its time, as over a slow network, is read to its end too.
    let mut line = Line::new(&daemon);
    line.send(format!("POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\n").as_bytes());
    for _ in 0..20 {
        line.send(&large[..1_000_000]);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(line.answer().status, 413);
    daemon.post("/v2/repository/models/identity_fp32/unload", b"");
    let mut line = Line::new(&daemon);
    line.send(&post(INFER, "", &large));
    assert_eq!(line.answer().status, 503);
}

#[test]
fn req_84_expect_100_continue_is_answered() {
    let daemon = Setup::fixture("identity_fp32").set("server.max_body_bytes", 4096).ready();
    let body = padded(2000);
    let mut line = Line::new(&daemon);
    line.send(
        format!("POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\nExpect: 100-continue\r\n\r\n").as_bytes(),
    );
    assert_eq!(line.answer().status, 100);
    line.send(&body);
    assert_eq!(line.answer().status, 200);
    line.send(
        format!("POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\nExpect: 100-continue\r\n\r\n").as_bytes(),
    );
    let mut answer = line.answer();
    if answer.status == 100 {
        answer = line.answer();
    }
    fails(&answer, 413, "over the limit of 4096 bytes");
}

#[test]
fn a_client_that_stalls_is_told_408_and_hung_up_on() {
    let daemon = Setup::fixture("identity_fp32").set("server.client_timeout_seconds", 2).ready();
    let begun = Instant::now();
    let chunk = "Host: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let stalls = [
        (format!("POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhello"), 408),
        (format!("POST {INFER} HTTP/1.1\r\n{chunk}"), 408),
        (format!("POST /nowhere HTTP/1.1\r\n{chunk}"), 404),
        ("GET /v2 HT".to_owned(), 408),
    ];
    std::thread::scope(|scope| {
        for (stall, status) in &stalls {
            let daemon = &daemon;
            scope.spawn(move || {
                let mut line = Line::new(daemon);
                line.send(stall.as_bytes());
                let answer = line.answer();
                assert_eq!((answer.status, answer.header("connection")), (*status, Some("close")), "{stall}");
                // What is not even a head has no body in its answer.
                assert!(!stall.contains("Host") || !answer.error().is_empty());
                assert!(line.ends());
            });
        }
    });
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn requests_on_one_connection_are_answered_in_order_however_they_come() {
    let daemon = identity("fp32");
    let mut line = Line::new(&daemon);
    let requests: Vec<u8> =
        (0..10u8).flat_map(|at| post(INFER, "", floats(&[f32::from(at)]).to_string().as_bytes())).collect();
    line.send(&requests);
    for at in 0..10u8 {
        assert_eq!(line.answer().json()["outputs"][0]["data"], json!([f32::from(at)]));
    }
    for piece in requests.chunks(11) {
        line.send(piece);
    }
    for at in 0..10u8 {
        assert_eq!(line.answer().json()["outputs"][0]["data"], json!([f32::from(at)]));
    }
}

#[test]
fn many_connections_get_their_own_answers() {
    let daemon = identity("fp32");
    std::thread::scope(|scope| {
        for client in 0..8u16 {
            let daemon = &daemon;
            scope.spawn(move || {
                let mut line = Line::new(daemon);
                for round in 0..50u16 {
                    // Large enough to come out of the pool of buffers.
                    let tensor = bytes(&vec![f32::from(client * 1000 + round); 10_000 + usize::from(round)]);
                    let json = binary_x("FP32", json!([tensor.len() / 4]), tensor.len()).to_string();
                    let headers = format!("{LENGTH}: {}\r\n", json.len());
                    line.send(&post(INFER, &headers, &[json.as_bytes(), &tensor].concat()));
                    assert!(parts(&line.answer()).1 == tensor, "client {client}, round {round}");
                }
            });
        }
    });
    assert_eq!(daemon.metric("inference_requests_total{model=\"identity_fp32\",outcome=\"ok\"}"), 400.0);
    // An answer may be read before the engine has let go of the request.
    daemon.wait_metric("request_body_memory_bytes", 0.0);
}

#[test]
fn x_request_id_is_returned_or_made_up() {
    let daemon = identity("fp32");
    let send = |id: &str| daemon.send("GET", "/v2", &[("X-Request-Id", id)], b"");
    assert_eq!(send("client-7").header("x-request-id"), Some("client-7"));
    let first = daemon.get("/v2").header("x-request-id").unwrap().to_owned();
    assert_ne!(daemon.get("/v2").header("x-request-id"), Some(first.as_str()));
    for odd in ["a b", &"z".repeat(129), ""] {
        let made_up = send(odd).header("x-request-id").unwrap().to_owned();
        assert!(made_up != odd && !made_up.is_empty());
    }
    for answer in [daemon.get("/nowhere"), daemon.post("/test/panic/handler", b""), daemon.post(INFER, b"{")] {
        assert!(answer.header("x-request-id").is_some(), "{answer:?}");
    }
}
