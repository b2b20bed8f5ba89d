//! Given something to quantise that it cannot, the command says so in one line and leaves nothing behind.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, repository};

const BINARY: &str = env!("CARGO_BIN_EXE_edge-service");

fn fixture(name: &str) -> PathBuf {
    let path = repository("target/fixtures/unquantizable").join(name);
    assert!(path.exists(), "{} is not there: run `make fixtures`", path.display());
    path
}

/// The command for a model and samples into a folder of its own.
fn words(model: &Path, samples: &Path, output: &Path) -> Vec<String> {
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let mut words: Vec<String> = ["quantize", "--model", &path(model), "--output", &path(output)].map(str::to_owned).to_vec();
    words.extend(["--calibration".to_owned(), path(samples)]);
    words
}

fn run(words: &[String]) -> Output {
    Command::new(BINARY).args(words).current_dir(repository("")).stdin(Stdio::null()).output().unwrap()
}

fn complaints(output: &Output) -> Vec<String> {
    String::from_utf8(output.stderr.clone()).unwrap().lines().map(str::to_owned).collect()
}

/// The names that are in a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// It fails with this code, one line that has these words, and nothing in the folder of the output.
fn refused(model: &Path, samples: &Path, code: i32, says: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&words(model, samples, &folder.path().join("int8.onnx")));
    let lines = complaints(&output);
    assert_eq!(output.status.code(), Some(code), "{}: {lines:?}", model.display());
    assert_eq!(lines.len(), 1, "{}: {lines:#?}", model.display());
    assert!(says.iter().all(|word| lines[0].contains(word)), "{}: {lines:?} has not {says:?}", model.display());
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[test]
fn models_that_cannot_be_quantised_are_told_why() {
    let samples = fixture("good.npz");
    for (model, says) in [
        ("text.onnx", &["not an ONNX model"][..]),
        ("cut.onnx", &["not an ONNX model"]),
        ("cyclic.onnx", &["circle"]),
        ("twice.onnx", &["\"y\" is made twice"]),
        ("missing.onnx", &["\"w2\""]),
        ("done.onnx", &["quantised already"]),
        ("nothing.onnx", &["no node"]),
        ("half.onnx", &["half precision"]),
    ] {
        refused(&fixture(model), &samples, 65, says);
    }
    refused(Path::new("/nowhere/model.onnx"), &samples, 66, &["/nowhere/model.onnx"]);
}

#[test]
fn samples_that_do_not_fit_are_told_why() {
    let model = fixture("good.onnx");
    for (samples, says) in [
        ("shape.npz", &["'x'"][..]),
        ("name.npz", &["'other'"]),
        ("nan.npz", &["not a number"]),
        ("empty.npz", &["no sample"]),
    ] {
        refused(&model, &fixture(samples), 65, says);
    }
    let folder = tempfile::tempdir().unwrap();
    refused(&repository("models/digits/model.onnx"), folder.path(), 65, &[folder.path().to_str().unwrap()]);
    refused(&model, Path::new("/nowhere/samples"), 66, &["/nowhere/samples"]);
}

/// A folder with every frame of the shipped model under `times` names.
fn frames(times: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(repository("models/digits/frames")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        for time in 0..times {
            fs::write(folder.path().join(format!("{time}-{}", path.file_name().unwrap().to_str().unwrap())), &bytes).unwrap();
        }
    }
    folder
}

#[test]
fn one_unreadable_picture_among_many_is_named_and_left_out() {
    let samples = frames(1);
    fs::write(samples.path().join("00-torn.png"), b"\x89PNG\r\n\x1a\n and no more").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("int8.onnx");
    let mut words = words(&repository("models/digits/model.onnx"), samples.path(), &target);
    words.extend(["--limit", "40", "--no-search"].map(str::to_owned));
    let output = run(&words);
    assert!(output.status.success(), "{:?}", complaints(&output));
    let named = complaints(&output).iter().filter(|line| line.contains("00-torn.png")).count();
    assert_eq!(named, 1, "{:?}", complaints(&output));
    assert_eq!(names(folder.path()), ["int8.onnx"]);
}

/// A disk of 64 KiB, which this process's own file system does not see.
fn on_a_full_disk(folder: &Path, words: &[String]) -> Output {
    // Whoever is not root is so in a user namespace of its own, where the kernel allows that.
    let root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let namespace: &[&str] = if root { &["--mount"] } else { &["--user", "--map-root-user", "--mount"] };
    let script = "mount -t tmpfs -o size=64k none \"$0\" && \"$@\"; code=$?; ls -A \"$0\"; exit $code";
    let mut command = Command::new("unshare");
    command.args(namespace).args(["sh", "-c", script]).arg(folder).arg(BINARY).args(words);
    command.current_dir(repository("")).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_disk_that_is_full_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("int8.onnx");
    let mut words = words(&repository("models/digits/model.onnx"), &repository("models/digits/frames"), &target);
    words.extend(["--limit", "40", "--no-search"].map(str::to_owned));
    let output = on_a_full_disk(folder.path(), &words);
    let lines = complaints(&output);
    assert_eq!(output.status.code(), Some(74), "{lines:?}");
    assert!(lines.last().unwrap().contains("No space left on device"), "{lines:?}");
    let left = String::from_utf8(output.stdout).unwrap();
    assert!(!left.contains("onnx"), "something is left: {left}");
}

#[test]
fn ctrl_c_in_the_middle_leaves_nothing_behind() {
    let samples = frames(40);
    let folder = tempfile::tempdir().unwrap();
    let words = words(&repository("models/digits/model.onnx"), samples.path(), &folder.path().join("int8.onnx"));
    let mut child = Command::new(BINARY)
        .args(&words)
        .current_dir(repository(""))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    assert!(child.try_wait().unwrap().is_none(), "4,000 frames were not enough to be in the middle of");
    let interrupted = Instant::now();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(interrupted.elapsed() < PATIENCE);
    let lines = complaints(&output);
    assert_eq!((output.status.code(), output.status.signal()), (Some(130), None), "{lines:?}");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[test]
fn or_original_puts_the_original_in_place_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("int8.onnx");
    let model = fixture("good.onnx");
    let mut words = words(&model, Path::new("/nowhere"), &target);
    words.push("--or-original".to_owned());
    let output = run(&words);
    assert!(output.status.success(), "{:?}", complaints(&output));
    let said = [String::from_utf8(output.stdout.clone()).unwrap(), complaints(&output).join("\n")].concat();
    assert!(said.contains("the original"), "{said}");
    assert_eq!(fs::read(&target).unwrap(), fs::read(&model).unwrap());
    assert_eq!(names(folder.path()), ["int8.onnx"]);
}
