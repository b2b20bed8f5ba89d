//! Given a float model and samples, `quantize` makes a smaller file that agrees with it, or says in one line why not and
//! leaves nothing behind.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use edge_service::onnx::file;
use serde_json::Value;
use zip::write::SimpleFileOptions;

use crate::harness::{model, repository};

pub struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Bench {
        Bench { folder: tempfile::tempdir().unwrap() }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `quantize` of a model, run here.
    pub fn quantize(&self, model: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edge-service"));
        command.current_dir(self.folder.path()).env_clear().env("HOME", self.folder.path()).stdin(Stdio::null());
        command.arg("quantize").arg("--model").arg(model).args(arguments);
        command
    }

    /// The same, writing out.onnx and report.json here.
    fn command(&self, model: &Path, arguments: &[&str]) -> Command {
        let mut command = self.quantize(model, &["--output", "out.onnx", "--report", "report.json"]);
        command.args(arguments);
        command
    }

    fn run(&self, model: &Path, arguments: &[&str]) -> Output {
        self.command(model, arguments).output().unwrap()
    }

    /// The report of a run that must succeed.
    fn report(&self, model: &Path, arguments: &[&str]) -> Value {
        let output = self.run(model, arguments);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        serde_json::from_slice(&std::fs::read(self.at("report.json")).unwrap()).unwrap()
    }

    /// The line of a run that must fail with this code and leave nothing but what was there.
    fn refusal(&self, model: &Path, arguments: &[&str], code: i32) -> String {
        let before = self.names();
        let output = self.run(model, arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert_eq!(self.names(), before, "something was left behind");
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines.len() == 1 && lines[0].starts_with("edge-service: "), "{lines:#?}");
        lines[0].to_owned()
    }

    pub fn names(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> = names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A .npz with one array of 32-bit floats.
    pub fn npz(&self, name: &str, input: &str, shape: &[usize], values: &[f32]) -> String {
        let dims: String = shape.iter().map(|dim| format!("{dim}, ")).collect();
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({dims}), }}\n");
        let mut array = b"\x93NUMPY\x01\x00".to_vec();
        array.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
        array.extend(header.as_bytes());
        values.iter().for_each(|value| array.extend(value.to_le_bytes()));
        let mut writer = zip::ZipWriter::new(std::fs::File::create(self.at(name)).unwrap());
        writer.start_file(format!("{input}.npy"), SimpleFileOptions::default()).unwrap();
        writer.write_all(&array).unwrap();
        writer.finish().unwrap();
        name.to_owned()
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub fn digits() -> PathBuf {
    repository("models/digits/model.onnx")
}

pub fn frames() -> String {
    repository("models/digits/frames").to_str().unwrap().to_owned()
}

pub fn detector(file: &str) -> PathBuf {
    repository("target/fixtures/detector").join(file)
}

#[test]
fn the_digits_model_becomes_three_times_smaller_and_reads_on() {
    let bench = Bench::new();
    let report = bench.report(&digits(), &["--calibration", &frames(), "--limit", "64"]);
    assert_eq!(report["method"], "static", "{report:#}");
    assert!(report["size"]["ratio"].as_f64().unwrap() >= 3.0, "{report:#}");
    assert_eq!((&report["accuracy"]["measure"], &report["accuracy"]["reached"]), (&"top-1".into(), &true.into()));
    let used = |part: &str| report["samples"][part].as_array().unwrap().len();
    assert_eq!((used("calibrated"), used("compared")), (48, 16));
    assert_eq!(bench.names(), ["out.onnx", "report.json"]);

    // It reads what neither ranges nor the comparison have seen.
    std::fs::copy(repository("models/digits/model.toml"), bench.at("model.toml")).unwrap();
    std::fs::copy(repository("models/digits/labels.txt"), bench.at("labels.txt")).unwrap();
    std::fs::create_dir(bench.at("samples")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-service"));
    command.current_dir(bench.folder.path()).env_clear().env("HOME", bench.folder.path());
    command.args(["infer", "--json", "--model", "out.onnx"]);
    let mut count = 0;
    for picture in std::fs::read_dir(repository("models/digits/samples")).unwrap() {
        let path = picture.unwrap().path();
        std::fs::copy(&path, bench.at("samples").join(path.file_name().unwrap())).unwrap();
        command.arg(path);
        count += 1;
    }
    let output = command.output().unwrap();
    let said = text(&output.stdout);
    let right = said.lines().filter(|line| {
        let answer: Value = serde_json::from_str(line).unwrap();
        let name = answer["file"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        answer["predictions"][0]["label"].as_str().unwrap() == &name[..1]
    });
    assert_eq!(right.count(), count, "{}", text(&output.stderr));
}

#[test]
fn a_detector_whose_rows_are_lost_in_8_bits_gets_them_back() {
    let bench = Bench::new();
    let pictures = detector("pictures.npz");
    let pictures = pictures.to_str().unwrap();
    let naive = bench.report(&detector("model.onnx"), &["--calibration", pictures, "--no-search", "--plain"]);
    let agreement = naive["accuracy"]["agreement"].as_f64().unwrap();
    assert_eq!(naive["accuracy"]["measure"], "confident rows", "{naive:#}");
    assert!(agreement < 0.9, "the naive form agrees by {agreement}: this detector is too easy to show anything");

    let report = bench.report(&detector("model.onnx"), &["--calibration", pictures]);
    assert_eq!(report["accuracy"]["reached"], true, "{report:#}");
    assert!(report["accuracy"]["agreement"].as_f64().unwrap() >= 0.98, "{report:#}");
    assert_eq!(report["samples"]["compared_on"], "held out");
    // The layer with the wide channels, and what reads it, stay in float; the other convolutions do their work in 8 bits.
    let names = |value: &Value| value.as_str().unwrap().to_owned();
    let kept: Vec<String> = report["search"]["kept"].as_array().unwrap().iter().map(|k| names(&k["node"])).collect();
    assert!((1..=3).contains(&kept.len()) && kept.contains(&"backbone1".to_owned()), "{kept:?}");
    let quantized: Vec<String> = report["nodes"]["quantized"].as_array().unwrap().iter().map(names).collect();
    for convolution in ["backbone0", "backbone3", "s8.stem", "s16.stem"] {
        assert!(quantized.contains(&convolution.to_owned()) || kept.contains(&convolution.to_owned()), "{report:#}");
    }
    assert!(report["search"]["kept"][0]["harm"].as_f64().unwrap() > 0.1 && report["search"]["cost"].as_f64().is_some());
}

#[test]
fn an_mlp_is_quantised_dynamically_and_says_so() {
    let bench = Bench::new();
    let output = bench.run(&model("mlp"), &[]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(said.contains("dynamic, as its work is in") && said.contains("made-up inputs"), "{said}");
}

#[test]
fn what_is_no_float_model_is_refused_in_one_line() {
    let bench = Bench::new();
    let made = |name: &str, bytes: &[u8]| {
        std::fs::write(bench.at(name), bytes).unwrap();
        bench.at(name)
    };
    let whole = std::fs::read(digits()).unwrap();
    assert!(bench.refusal(&made("text.onnx", b"this is no model"), &[], 65).contains("not an ONNX model"));
    assert!(bench.refusal(&made("empty.onnx", b""), &[], 65).contains("is empty"));
    bench.refusal(&made("cut.onnx", &whole[..whole.len() / 2]), &[], 65);
    assert!(bench.refusal(Path::new("none.onnx"), &[], 66).contains("none.onnx"));
    let nothing = bench.refusal(&model("identity_fp32"), &[], 65);
    assert!(nothing.contains("no node that can be quantised"), "{nothing}");

    let bench = Bench::new();
    bench.report(&digits(), &["--calibration", &frames(), "--limit", "8", "--no-search"]);
    std::fs::rename(bench.at("out.onnx"), bench.at("int8.onnx")).unwrap();
    let twice = bench.refusal(&bench.at("int8.onnx"), &["--calibration", &frames()], 65);
    assert!(twice.contains("quantised already"), "{twice}");
}

#[test]
fn samples_that_do_not_fit_are_refused_in_one_line() {
    let bench = Bench::new();
    let npz =
        |name: &str, shape: &[usize], value: f32| bench.npz(name, "image", shape, &vec![value; shape.iter().product()]);
    let refused = |calibration: &str, code: i32| bench.refusal(&digits(), &["--calibration", calibration], code);
    assert!(refused(&npz("shape.npz", &[2, 3, 8, 8, 8], 0.0), 65).contains("takes the shape"));
    assert!(refused("absent.npz", 66).contains("absent.npz"));
    std::fs::create_dir(bench.at("empty")).unwrap();
    assert!(refused("empty", 65).contains("no sample"));
    assert!(refused("out/of/reach", 66).contains("out/of/reach"));
    let nan = npz("nan.npz", &[2, 3, 96, 96], f32::NAN);
    let output = bench.run(&digits(), &["--calibration", &nan]);
    let said = text(&output.stderr);
    assert!(said.contains("holds a NaN") && said.contains("none of them can be read"), "{said}");
    assert_eq!(output.status.code(), Some(65));
    assert!(!bench.at("out.onnx").exists());
    // A model of its own without a folder of frames beside it.
    std::fs::copy(digits(), bench.at("alone.onnx")).unwrap();
    let without = bench.refusal(&bench.at("alone.onnx"), &[], 64);
    assert!(without.contains("--calibration"), "{without}");
}

#[test]
fn one_unreadable_picture_among_many_is_told_and_passed_over() {
    let bench = Bench::new();
    std::fs::create_dir(bench.at("pictures")).unwrap();
    for digit in 0..8 {
        let name = format!("{digit}-20.png");
        std::fs::copy(Path::new(&frames()).join(&name), bench.at("pictures").join(&name)).unwrap();
    }
    std::fs::write(bench.at("pictures/broken.png"), b"no picture").unwrap();
    let output = bench.run(&digits(), &["--calibration", "pictures"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(said.matches("broken.png is passed over").count(), 1, "{said}");
    let report: Value = serde_json::from_slice(&std::fs::read(bench.at("report.json")).unwrap()).unwrap();
    assert_eq!(report["samples"]["passed_over"].as_array().unwrap().len(), 1);
}

#[test]
fn an_output_that_cannot_be_written_is_told_before_the_work() {
    let bench = Bench::new();
    let folder = bench.at("folder");
    std::fs::create_dir(&folder).unwrap();
    for output in ["absent/out.onnx", "folder"] {
        let run = bench.quantize(&digits(), &["--output", output]).output().unwrap();
        assert_eq!(run.status.code(), Some(74), "{}", text(&run.stderr));
    }
}

#[test]
fn a_full_disk_leaves_nothing_and_is_told_in_one_line() {
    let bench = Bench::new();
    let small = bench.at("small");
    std::fs::create_dir(&small).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=64k none {0} || exit 99; {1} quantize --model {2} --calibration {3} --limit 8 --no-search \
         --output {0}/out.onnx; code=$?; ls -A {0}; exit $code",
        small.display(),
        env!("CARGO_BIN_EXE_edge-service"),
        digits().display(),
        frames()
    );
    let run = Command::new("unshare").args(["-rm", "sh", "-c", &script]).output();
    let Ok(run) = run else { return println!("no unshare here: a small disk cannot be made") };
    if matches!(run.status.code(), Some(99 | 1)) {
        return println!("a small disk cannot be mounted here: {}", text(&run.stderr));
    }
    let said = text(&run.stderr);
    assert_eq!(run.status.code(), Some(74), "{said}");
    assert!(
        said.contains("cannot be written") && said.contains("No space left") && said.lines().count() == 1,
        "{said}"
    );
    assert_eq!(text(&run.stdout).trim(), "", "something was left behind");
}

#[test]
fn an_interrupt_in_the_middle_leaves_nothing_and_exits_with_130() {
    let bench = Bench::new();
    for or_original in [false, true] {
        let pictures = detector("pictures.npz");
        let mut arguments =
            vec!["--calibration", pictures.to_str().unwrap(), "--target-agreement", "1", "--search-seconds", "100"];
        arguments.extend(or_original.then_some("--or-original"));
        let mut child = bench
            .command(&detector("model.onnx"), &arguments)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        if or_original {
            // The child's lines come when it is done: its search goes on for long.
            std::thread::sleep(std::time::Duration::from_millis(500));
        } else {
            assert!(lines.any(|line| line.contains("looking for the nodes")));
        }
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        assert!(lines.any(|line| line.contains("interrupted by signal 2")));
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert_eq!(bench.names(), [] as [&str; 0]);
    }
}

#[test]
fn the_original_takes_the_place_of_what_could_not_be_made() {
    let bench = Bench::new();
    std::fs::write(bench.at("broken.png"), b"no picture").unwrap();
    let output = bench.run(&digits(), &["--calibration", ".", "--or-original"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.lines().count() == 1 && said.contains("out.onnx is the original, not quantised: "), "{said}");
    assert_eq!(std::fs::read(bench.at("out.onnx")).unwrap(), std::fs::read(digits()).unwrap());
    assert_eq!(bench.names(), ["broken.png", "out.onnx"]);

    let missing = bench.run(Path::new("none.onnx"), &["--or-original"]);
    assert_eq!(missing.status.code(), Some(66), "{}", text(&missing.stderr));

    let good = bench.run(&digits(), &["--calibration", &frames(), "--limit", "8", "--no-search", "--or-original"]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    assert!(std::fs::metadata(bench.at("out.onnx")).unwrap().len() < 700_000, "{}", text(&good.stderr));
}

#[test]
fn a_perceptron_gets_the_scales_that_this_box_runs_faster_and_the_report_says_so() {
    let bench = Bench::new();
    let model = repository("target/fixtures/quantize/mlp.onnx");
    let values: Vec<f32> = (0..32 * 32).map(|place| ((place * 7919 % 1000) as f32 - 500.0) / 250.0).collect();
    let samples = bench.npz("samples.npz", "x", &[32, 32], &values);
    let report = bench.report(&model, &["--calibration", &samples]);
    let one_a_weight = report["why"].as_str().unwrap().ends_with("one scale a weight, faster on this box");
    let made = file::read(&bench.at("out.onnx")).unwrap();
    let tensors = made.graph.unwrap().initializer;
    let scales: Vec<usize> =
        tensors.iter().filter(|tensor| tensor.label().ends_with("_scale")).map(|tensor| tensor.dims.len()).collect();
    assert_eq!(scales, [if one_a_weight { 0 } else { 1 }; 3], "{}", report["why"]);
    let asked = bench.report(&model, &["--calibration", &samples, "--per-tensor"]);
    assert!(!asked["why"].as_str().unwrap().contains("faster on this box"), "{}", asked["why"]);
}
