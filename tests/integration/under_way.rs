//! Requests that are under way while something else happens, and the faults that happen.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Answer, Daemon, Setup};

/// The model `scalar`, which answers twice its input, at once.
pub fn scalar() -> Setup {
    Setup::fixture("scalar")
}

/// A request to it.
pub fn twice(number: f64) -> Value {
    json!({"inputs": [{"name": "x", "shape": [], "datatype": "FP32", "data": [number]}]})
}

/// The same with a deadline of its own.
pub fn twice_within(number: f64, timeout: Duration) -> Value {
    let mut request = twice(number);
    request["parameters"] = json!({"timeout": u64::try_from(timeout.as_micros()).unwrap()});
    request
}

/// A request to the model `slow`, which runs for so many rounds: about 150,000 a second on a core.
pub fn rounds(steps: u64) -> Value {
    json!({"inputs": [
        {"name": "steps", "shape": [1], "datatype": "INT64", "data": [steps]},
        {"name": "x", "shape": [64, 64], "datatype": "FP32", "data": vec![0.5; 64 * 64]},
    ]})
}

/// An HTTP request that asks for the connection to be closed after its answer.
pub fn request(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// A request that was sent and is not answered yet.
pub struct Pending {
    answer: JoinHandle<Vec<u8>>,
    stream: TcpStream,
}

impl Pending {
    /// The status and the body of its answer; 0 where the connection was closed without one.
    pub fn answer(self) -> Answer {
        let bytes = self.answer.join().unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            return Answer { status: 0, headers: Default::default(), body: bytes };
        };
        let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
        let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        Answer { status, headers, body: body.as_bytes().to_vec() }
    }

    /// Its client goes away.
    pub fn close(self) {
        self.stream.shutdown(std::net::Shutdown::Both).unwrap();
        drop(self.stream);
        self.answer.join().unwrap();
    }

    /// Its client closes the half that it sends on, and listens still.
    pub fn close_half(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }
}

impl Daemon {
    /// Sends a request and does not wait for the answer.
    pub fn begin(&self, path: &str, body: &str) -> Pending {
        let mut stream = self.connect();
        stream.write_all(&request(path, body)).unwrap();
        let mut reader = stream.try_clone().unwrap();
        let answer = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = reader.read_to_end(&mut bytes);
            bytes
        });
        Pending { answer, stream }
    }

    /// The same, for an inference.
    pub fn begin_infer(&self, model: &str, request: &Value) -> Pending {
        self.begin(&format!("/v2/models/{model}/infer"), &request.to_string())
    }

    /// Sessions answer like this from now on: `right`, `wrong`, `nan`, `silent` (not before this changes), `deaf` (the
    /// same, and such a run cannot be ended) or `panic` (once).
    pub fn answers(&self, how: &str) {
        assert_eq!(self.post(&format!("/test/answer/{how}"), b"").status, 202);
    }

    /// Makes a room panic.
    pub fn panic_in(&self, room: &str) {
        assert_eq!(self.post(&format!("/test/panic/{room}"), b"").status, 202);
    }

    /// Waits until so many runs are under way.
    pub fn wait_running(&self, count: usize) {
        self.wait_until(&format!("{count} runs under way"), |daemon| {
            daemon.get("/test/running").text() == count.to_string()
        });
    }

    /// Waits until so many requests wait for the engine.
    pub fn wait_queued(&self, count: usize) {
        self.wait_metric("inference_queue_depth", count as f64);
    }

    /// Waits until a metric has this value.
    pub fn wait_metric(&self, line: &str, value: f64) {
        self.wait_until(&format!("{line} {value}"), |daemon| daemon.metric(line) == value);
    }

    /// The status of `/readyz` and the reason that it gives.
    pub fn readiness(&self) -> (u16, String) {
        let answer = self.get("/readyz");
        (answer.status, answer.json()["reason"].as_str().unwrap_or_default().to_owned())
    }

    /// All inference requests that were counted.
    pub fn counted(&self) -> f64 {
        let text = self.get("/metrics").text();
        let lines = text.lines().filter(|line| line.starts_with("inference_requests_total{"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// Asks for the configured file to be loaded again, and does not wait.
    pub fn begin_load(&self, model: &str) -> Pending {
        self.begin(&format!("/v2/repository/models/{model}/load"), "")
    }
}
