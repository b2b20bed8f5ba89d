//! Given a picture, `POST /api/v1/frames` answers what Pillow, NumPy and ONNX Runtime would, or refuses in a sentence.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Answer, Daemon, Setup, repository};

fn fixture(path: &str) -> PathBuf {
    let path = repository("target/fixtures").join(path);
    assert!(path.exists(), "{} is not there: run `make fixtures`", path.display());
    path
}

fn json<T: serde::de::DeserializeOwned>(path: &str) -> T {
    serde_json::from_slice(&std::fs::read(fixture(path)).unwrap()).unwrap()
}

fn frame(daemon: &Daemon, picture: &[u8]) -> Answer {
    daemon.post("/api/v1/frames", picture)
}

/// The most memory that the process has had in its life, in bytes.
fn peak_memory(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn the_best_class_of_every_odd_picture_and_sample_is_that_of_the_reference() {
    let daemon = Setup::digits().ready();
    let wanted: BTreeMap<String, Value> = json("top1.json");
    assert!(wanted.len() >= 130, "only {} pictures: run `make fixtures`", wanted.len());
    for (file, wanted) in &wanted {
        let answer = frame(&daemon, &std::fs::read(repository(file)).unwrap());
        assert_eq!(answer.status, 200, "{file}: {}", answer.text());
        let best = &answer.json()["predictions"][0];
        assert_eq!(best["index"], wanted["index"], "{file}: {best}, not {wanted}");
        let (score, reference) = (best["score"].as_f64().unwrap(), wanted["score"].as_f64().unwrap());
        // Pixels within 1 of 255 move a probability by this much at most; a wrong mean or colour order by far more.
        assert!((score - reference).abs() < 0.02, "{file}: {best}, not {wanted}");
    }
}

#[test]
fn the_command_line_gives_the_answers_of_http() {
    let wanted: BTreeMap<String, Value> = json("top1.json");
    let files: Vec<&String> = wanted.keys().step_by(7).collect();
    let setup = files.iter().fold(Setup::digits().arg("--json"), |setup, file| setup.arg(file));
    let (code, out, errors) = setup.run("infer");
    assert_eq!((code, errors.as_str()), (0, ""));
    let daemon = Setup::digits().ready();
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), files.len());
    for (line, file) in lines.iter().zip(files) {
        assert_eq!(line["file"], **file);
        let answer = frame(&daemon, &std::fs::read(repository(file)).unwrap()).json();
        assert_eq!(line["predictions"], answer["predictions"], "{file}");
        assert_eq!(line["predictions"][0]["index"], wanted[file]["index"], "{file}");
    }
}

/// The models' scores are their inputs: every element is compared with what NumPy makes of the same `model.toml`.
#[test]
fn layout_colours_scaling_and_datatype_are_those_of_model_toml() {
    let picture = std::fs::read(fixture("frames/picture.png")).unwrap();
    for name in
        ["nchw_fp32", "nhwc_uint8", "bgr_fp32", "nhwc_fp16", "gray_fp32", "int8", "fp64", "no_batch", "open_sides"]
    {
        let daemon = Setup::default().model(&fixture(&format!("frames/{name}/model.onnx"))).ready();
        let answer = frame(&daemon, &picture);
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let json_answer = answer.json();
        assert_eq!(json_answer["model_name"], name);
        let predictions = json_answer["predictions"].as_array().unwrap();
        let expected: Vec<f64> = json(&format!("frames/{name}/expected.json"));
        assert_eq!(predictions.len(), expected.len(), "{name}");
        // A half has ten bits behind its first: two roundings to it may part by one of its last.
        let near = if name.ends_with("fp16") { 1e-3 } else { 1e-5 };
        for prediction in predictions {
            let index = prediction["index"].as_u64().unwrap() as usize;
            let (ours, theirs) = (prediction["score"].as_f64().unwrap(), expected[index]);
            assert!((ours - theirs).abs() <= near * theirs.abs().max(1.0), "{name}[{index}]: {ours}, not {theirs}");
        }
    }
}

#[test]
fn what_is_no_picture_is_refused_in_a_sentence_and_leaves_no_trace() {
    let daemon = Setup::digits().ready();
    let sample = std::fs::read(repository("models/digits/samples/7-03.png")).unwrap();
    let before = frame(&daemon, &sample).json();
    for (file, wanted) in json::<BTreeMap<String, Value>>("refused/manifest.json") {
        let answer = frame(&daemon, &std::fs::read(fixture(&format!("refused/{file}"))).unwrap());
        assert_eq!(answer.status, wanted["status"].as_u64().unwrap() as u16, "{file}: {}", answer.text());
        let (error, says) = (answer.error(), wanted["says"].as_str().unwrap());
        assert!(error.contains(says), "{file}: no '{says}' in: {error}");
        assert!(error.contains("send") || error.contains("save"), "{file}: it does not say what to do: {error}");
        assert!(!error.contains("libjpeg"), "{file}: {error}");
    }
    assert_eq!(frame(&daemon, &sample).json()["predictions"], before["predictions"]);
    // Bad pictures are no faults of the daemon: nothing about them is in its log.
    // The box that runs this test may be in trouble of its own.
    let of_the_box = |line: &Value| line["event"] == "alert" || line["event"] == "probe_failed";
    let lines = daemon.log.all().into_iter();
    let noise: Vec<Value> = lines.filter(|line| line["level"] != "INFO" && !of_the_box(line)).collect();
    assert!(noise.is_empty(), "{noise:#?}");
}

#[test]
fn a_bomb_is_refused_at_once_and_takes_no_memory() {
    let daemon = Setup::digits().ready();
    let sample = std::fs::read(repository("models/digits/samples/7-03.png")).unwrap();
    assert_eq!(frame(&daemon, &sample).status, 200);
    let before = peak_memory(&daemon);
    for file in ["bomb-header.jpg", "bomb-header.png", "bomb.png", "scans.jpg"] {
        let bomb = std::fs::read(fixture(&format!("refused/{file}"))).unwrap();
        let begun = Instant::now();
        for _ in 0..8 {
            let status = frame(&daemon, &bomb).status;
            assert!(matches!(status, 400 | 413), "{file}: {status}");
        }
        assert!(begun.elapsed() < Duration::from_secs(8), "{file}: {:?} for eight", begun.elapsed());
    }
    // Decoded, the smallest of them has 147 MB of pixels.
    let grown = peak_memory(&daemon) - before;
    assert!(grown < 48 << 20, "grown by {grown} bytes");
}

#[test]
fn the_limit_is_the_operators() {
    let daemon = Setup::digits().set("model.max_image_pixels", 333 * 251).ready();
    let picture = std::fs::read(fixture("pictures/baseline420.jpg")).unwrap();
    assert_eq!(frame(&daemon, &picture).status, 200);
    let answer = frame(&daemon, &std::fs::read(fixture("pictures/tall.png")).unwrap());
    assert_eq!(answer.status, 200, "2 x 3000 is less");
    daemon.stop();
    let daemon = Setup::digits().set("model.max_image_pixels", 333 * 251 - 1).ready();
    let answer = frame(&daemon, &picture);
    assert_eq!(answer.status, 413);
    assert!(answer.error().contains("333 x 251 pixels, over the limit of 83582"), "{}", answer.error());
}

#[test]
fn the_content_type_does_not_matter() {
    let daemon = Setup::digits().ready();
    let sample = std::fs::read(repository("models/digits/samples/7-04.jpg")).unwrap();
    for kind in ["image/jpeg", "image/png", "application/json", "application/x-www-form-urlencoded", "nonsense"] {
        let answer = daemon.send("POST", "/api/v1/frames", &[("Content-Type", kind)], &sample);
        assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
        assert_eq!(answer.json()["predictions"][0]["label"], "7", "{kind}");
    }
}

#[test]
fn a_model_without_model_toml_takes_no_pictures_and_says_so() {
    let daemon = Setup::fixture("wide").ready();
    let answer = frame(&daemon, &std::fs::read(repository("models/digits/samples/7-04.jpg")).unwrap());
    assert_eq!(answer.status, 400);
    assert!(answer.error().contains("put a model.toml beside the model file"), "{}", answer.error());
}

#[test]
fn pictures_that_have_no_room_beside_each_other_are_decoded_one_after_the_other() {
    let daemon = Setup::digits().set("server.max_image_memory_bytes", 1024).ready();
    let picture = std::fs::read(repository("models/digits/samples/7-03.png")).unwrap();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (0..5).all(|_| daemon.post("/api/v1/frames", &picture).status == 200)))
            .collect();
        assert!(clients.into_iter().all(|client| client.join().unwrap()));
    });
    assert_eq!(daemon.metric("inference_refused_total{reason=\"image_memory\"}"), 0.0);
}
