//! Words that the protocol's tests share: requests, refusals, and connections of raw bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::harness::{Answer, Daemon, Setup};

/// The header that says where JSON ends and tensors begin.
pub const LENGTH: &str = "Inference-Header-Content-Length";

/// A daemon that hands a vector of one type through.
pub fn identity(datatype: &str) -> Daemon {
    Setup::fixture(&format!("identity_{datatype}")).ready()
}

/// One input `x`.
pub fn x(datatype: &str, shape: Value, data: Value) -> Value {
    json!({"inputs": [{"name": "x", "datatype": datatype, "shape": shape, "data": data}]})
}

/// The request of `fails_inside`, which has ten rows.
pub fn row(index: i64) -> Value {
    json!({"inputs": [{"name": "index", "datatype": "INT64", "shape": [1], "data": [index]}]})
}

/// A vector `x` of FP32.
pub fn floats(data: &[f32]) -> Value {
    x("FP32", json!([data.len()]), json!(data))
}

/// The JSON of an inference that must succeed.
#[track_caller]
pub fn inferred(daemon: &Daemon, model: &str, request: &Value) -> Value {
    let answer = daemon.infer(model, request);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// The `data` of the first output of an inference that must succeed.
#[track_caller]
pub fn data(daemon: &Daemon, model: &str, request: &Value) -> Value {
    inferred(daemon, model, request)["outputs"][0]["data"].clone()
}

/// Asks that an answer is a failure of this status, with the one body that failures have and these words in it.
#[track_caller]
pub fn fails(answer: &Answer, status: u16, words: &str) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{text}");
    assert!(answer.error().contains(words), "'{words}' is not in {text}");
}

/// Asks that an inference with this body is refused with 400 and these words, and that the daemon lives on.
#[track_caller]
pub fn refused(daemon: &Daemon, model: &str, body: &str, words: &str) {
    fails(&daemon.post(&format!("/v2/models/{model}/infer"), body.as_bytes()), 400, words);
    assert_eq!(daemon.get("/v2/health/live").status, 200);
}

/// An inference whose body is JSON and then bytes.
pub fn binary(daemon: &Daemon, model: &str, json: &Value, tail: &[u8]) -> Answer {
    let json = json.to_string();
    binary_with(daemon, model, &json.len().to_string(), &[json.as_bytes(), tail].concat())
}

/// An inference with a header length of one's own.
pub fn binary_with(daemon: &Daemon, model: &str, length: &str, body: &[u8]) -> Answer {
    daemon.send("POST", &format!("/v2/models/{model}/infer"), &[(LENGTH, length)], body)
}

/// The JSON of an answer in binary, and what follows it.
#[track_caller]
pub fn parts(answer: &Answer) -> (Value, &[u8]) {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    let length: usize = answer.header("inference-header-content-length").unwrap().parse().unwrap();
    let (head, tail) = answer.body.split_at(length);
    (serde_json::from_slice(head).unwrap(), tail)
}

/// The little-endian bytes of floats.
pub fn bytes(floats: &[f32]) -> Vec<u8> {
    floats.iter().flat_map(|float| float.to_le_bytes()).collect()
}

/// A request with one binary input `x`, all outputs in binary.
pub fn binary_x(datatype: &str, shape: Value, size: usize) -> Value {
    json!({
        "inputs": [{"name": "x", "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}],
        "parameters": {"binary_data_output": true},
    })
}

/// The bytes of a POST request, head and body.
pub fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A body in chunks.
pub fn chunked<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut body = Vec::new();
    for chunk in chunks {
        body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    body
}

/// A connection that stays open for several requests.
pub struct Line {
    reader: BufReader<TcpStream>,
}

impl Line {
    pub fn new(daemon: &Daemon) -> Line {
        Line { reader: BufReader::new(daemon.connect()) }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).unwrap();
    }

    /// Sends what the daemon may not want any more.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.reader.get_mut().write_all(bytes).is_ok()
    }

    /// The next answer, whose body has a declared length.
    pub fn answer(&mut self) -> Answer {
        let mut status = 0;
        let mut headers = std::collections::BTreeMap::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.reader.read_line(&mut line).unwrap(), 0, "the daemon closed without an answer");
            match (line.trim_end(), line.split_once(": ")) {
                ("", _) => break,
                (text, _) if text.starts_with("HTTP/1.1 ") => status = text[9..12].parse().unwrap(),
                (_, Some((name, value))) => drop(headers.insert(name.to_lowercase(), value.trim_end().to_owned())),
                (other, None) => panic!("no header: {other}"),
            }
        }
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; if status == 100 { 0 } else { length }];
        self.reader.read_exact(&mut body).unwrap();
        Answer { status, headers, body }
    }

    /// The next line as it comes; none at the end.
    pub fn text_line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line).ok().filter(|read| *read > 0).map(|_| line)
    }

    /// Whether the daemon closes without another word.
    pub fn ends(&mut self) -> bool {
        let mut rest = Vec::new();
        matches!(self.reader.read_to_end(&mut rest), Ok(0))
    }
}
