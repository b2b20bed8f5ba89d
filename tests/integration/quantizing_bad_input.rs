//! Given graphs that do not hold together, or a frame that is spoilt, `quantize` says so in one line each.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::harness::repository;

fn fixture(name: &str) -> PathBuf {
    let path = repository("target/fixtures/unquantizable").join(name);
    assert!(path.exists(), "{} is not there: run `make fixtures`", path.display());
    path
}

fn command(model: &str, samples: &Path, output: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-service"));
    command.arg("quantize").arg("--model").arg(fixture(model)).arg("--output").arg(output);
    command.arg("--calibration").arg(samples).current_dir(repository("")).stdin(Stdio::null());
    command
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8(output.stderr.clone()).unwrap().lines().map(str::to_owned).collect()
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn graphs_that_do_not_hold_together_are_told_where() {
    for (model, says) in [
        ("text.onnx", "is not an ONNX model"),
        ("cut.onnx", "is not an ONNX model"),
        ("cyclic.onnx", "the graph has a circle"),
        ("twice.onnx", "is made twice"),
        ("missing.onnx", "w2"),
        ("done.onnx", "quantised already"),
        ("nothing.onnx", "no node that can be quantised"),
        ("half.onnx", "half precision"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = command(model, &fixture("good.npz"), &folder.path().join("out.onnx")).output().unwrap();
        let lines = lines(&output);
        assert_eq!(output.status.code(), Some(65), "{model}: {lines:?}");
        assert!(lines.len() == 1 && lines[0].contains(says), "{model}: {lines:?}");
        assert!(is_empty(folder.path()), "{model} leaves something behind");
    }
}

#[test]
fn a_frame_that_is_spoilt_is_named_and_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("out.onnx");
    let output = command("good.onnx", &fixture("nan.npz"), &target).arg("--no-search").output().unwrap();
    let lines = lines(&output);
    assert!(output.status.success() && target.is_file(), "{lines:?}");
    let named = |line: &&String| line.contains("sample 7 is passed over") && line.contains("NaN");
    assert_eq!(lines.iter().filter(named).count(), 1, "{lines:?}");
}
