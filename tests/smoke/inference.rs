//! The daemon loads the model, answers frames in time, and many at once.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::stage::{Stage, classify, status};

/// Frames that are timed: enough for a 99th percentile that is not the slowest of all.
const FRAMES: usize = 200;
const BATCH: usize = 8;

/// It is ready, and the INT8 form is what runs.
pub fn load(stage: &mut Stage) {
    let daemon = stage.daemon();
    let status = status(daemon);
    assert_eq!((&status["ready"], &status["model"]["variant"]), (&json!(true), &json!("quantized")), "{status}");
    assert!(daemon.metric("model_load_duration_seconds_count") >= 1.0);
    assert_eq!(daemon.metric("inference_session_ready"), 1.0);
}

/// From the request to its answer, at the client.
pub fn under_100_ms(stage: &mut Stage) {
    let pictures: Vec<_> = stage.samples().iter().map(|(file, _)| fs::read(file).unwrap()).collect();
    let daemon = stage.daemon();
    let timed = |picture: &Vec<u8>| {
        let begun = Instant::now();
        classify(daemon, picture);
        begun.elapsed()
    };
    let mut took: Vec<Duration> = pictures.iter().cycle().take(FRAMES).map(timed).collect();
    stage.answered += FRAMES as u64;
    took.sort_unstable();
    let percentile = |percent: usize| took[FRAMES * percent / 100 - 1];
    let (p95, p99) = (percentile(95), percentile(99));
    assert!(p95 < Duration::from_millis(100) && p99 < Duration::from_millis(100), "p95 {p95:?}, p99 {p99:?}");
}

/// A batch in one request gives what its entries give one by one, and so do requests at the same time.
pub fn batches(stage: &mut Stage) {
    let daemon = stage.daemon();
    let input = daemon.get("/v2/models/digits").json()["inputs"][0].clone();
    let elements = 3 * 96 * 96;
    // Every entry is a gradient of its own.
    let entry = |number: usize| (0..elements).map(move |i| ((i * (number + 3)) % 97) as f32 / 97.0).collect::<Vec<_>>();
    let ask = |entries: &[Vec<f32>]| -> Vec<f64> {
        let bytes: Vec<u8> = entries.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
        let head = json!({"inputs": [{
            "name": input["name"], "datatype": "FP32", "shape": [entries.len(), 3, 96, 96],
            "parameters": {"binary_data_size": bytes.len()},
        }]})
        .to_string();
        let length = head.len().to_string();
        let body = [head.as_bytes(), &bytes].concat();
        let headers = [("Inference-Header-Content-Length", length.as_str())];
        let answer = daemon.send("POST", "/v2/models/digits/infer", &headers, &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer: Value = answer.json();
        assert_eq!(answer["outputs"][0]["shape"], json!([entries.len(), 10]));
        answer["outputs"][0]["data"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
    };
    let entries: Vec<_> = (0..BATCH).map(entry).collect();
    let together = ask(&entries);
    let ask = &ask;
    let apart: Vec<f64> = std::thread::scope(|scope| {
        let asked: Vec<_> = entries.iter().map(|entry| scope.spawn(move || ask(std::slice::from_ref(entry)))).collect();
        asked.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    for (a, b) in together.iter().zip(&apart) {
        assert!((a - b).abs() <= 1e-3 * a.abs().max(1.0), "{a} in a batch is {b} alone");
    }
    stage.answered += 1 + BATCH as u64;
}
