//! Where `quantize` reads and writes: nothing that is read is written over, links stay, and what is no file takes bytes as it can.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use edge_service::onnx::file;
use edge_service::onnx::proto::{
    AttributeProto, DataLocation, ModelProto, NodeProto, StringStringEntryProto, TensorProto,
};

use crate::quantize_command::{Bench, digits, frames, text};
use crate::quantizing_nets::{Net, value};

/// A quick run.
const QUICK: [&str; 2] = ["--no-search", "--limit=8"];

fn calibrated(arguments: &[&str]) -> Vec<String> {
    let own = arguments.iter().chain(&QUICK).map(|argument| (*argument).to_owned());
    own.chain(["--calibration".to_owned(), frames()]).collect()
}

/// Runs, and gives back the exit code and what was said.
fn run(bench: &Bench, model: &Path, arguments: &[&str]) -> (Option<i32>, String, Vec<u8>) {
    let run = bench.quantize(model, &[]).args(calibrated(arguments)).output().unwrap();
    (run.status.code(), text(&run.stderr), run.stdout)
}

#[test]
fn what_is_read_or_written_already_is_not_written_over() {
    let bench = Bench::new();
    std::fs::copy(digits(), bench.at("model.onnx")).unwrap();
    symlink("model.onnx", bench.at("link.onnx")).unwrap();
    let cases: [(&[&str], &str); 5] = [
        (&["--output", "model.onnx"], "--output is the model itself"),
        (&["--output", "link.onnx"], "--output is the model itself"),
        (&["--output", "./model.onnx", "--or-original"], "--output is the model itself"),
        (&["--output", "out.onnx", "--report", "model.onnx"], "--report is the model itself"),
        (&["--output", "out.onnx", "--report", "./out.onnx"], "--report is the --output itself"),
    ];
    for (arguments, why) in cases {
        let (code, said, _) = run(&bench, Path::new("model.onnx"), arguments);
        assert!(code == Some(64) && said.contains(why) && said.lines().count() == 1, "{arguments:?}: {said}");
    }
    assert_eq!(std::fs::read(bench.at("model.onnx")).unwrap(), std::fs::read(digits()).unwrap());
    assert_eq!(bench.names(), ["link.onnx", "model.onnx"]);
}

#[test]
fn a_link_stays_and_leads_to_the_new_file() {
    let bench = Bench::new();
    std::fs::create_dir(bench.at("elsewhere")).unwrap();
    std::fs::write(bench.at("elsewhere/out.onnx"), b"old").unwrap();
    symlink("elsewhere/out.onnx", bench.at("out.onnx")).unwrap();
    let (code, said, _) = run(&bench, &digits(), &["--output", "out.onnx"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(bench.at("out.onnx").is_symlink());
    assert!(std::fs::metadata(bench.at("elsewhere/out.onnx")).unwrap().len() > 100_000);
}

#[test]
fn what_is_no_file_takes_the_report_and_stays() {
    let bench = Bench::new();
    let (code, said, out) = run(&bench, &digits(), &["--output", "out.onnx", "--report", "/dev/stdout"]);
    assert_eq!(code, Some(0), "{said}");
    let json = text(&out).split_once("\n{").map(|(_, rest)| format!("{{{rest}")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["method"], "static");
    assert!(Command::new("mkfifo").arg(bench.at("pipe")).status().unwrap().success());
    let (code, said, _) = run(&bench, &digits(), &["--output", "other.onnx", "--report", "pipe"]);
    assert!(code == Some(74) && said.contains("pipe cannot be written"), "a pipe that nobody reads: {said}");
    assert_eq!(bench.names(), ["other.onnx", "out.onnx", "pipe"]);
    let reader = Command::new("cat").arg(bench.at("pipe")).stdout(Stdio::piped()).spawn().unwrap();
    let (code, said, _) = run(&bench, &digits(), &["--output", "other.onnx", "--report", "pipe"]);
    assert_eq!(code, Some(0), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&reader.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(report["method"], "static");
}

/// A product whose weights lie in a file beside, and a sum with a constant that lies there too.
fn parted(folder: &Path) {
    let mut net = Net::new(3, false);
    let h = net.layer("x", 64, 64, 1, 1);
    let y = net.layer(&h, 64, 64, 1, 1);
    let tensor = TensorProto {
        data_location: Some(DataLocation::External as i32),
        external_data: [("location", "more.bin"), ("length", "256")]
            .map(|(key, value)| StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) })
            .to_vec(),
        raw_data: None,
        ..TensorProto::of_floats("", &[64], &[0.5; 64])
    };
    let attribute =
        AttributeProto { name: Some("value".into()), r#type: Some(4), t: Some(tensor), ..Default::default() };
    net.graph.node.push(NodeProto { attribute: vec![attribute], ..NodeProto::new("Constant", "", &[], &["c"]) });
    let z = net.op("Add", &[&y, "c"], &[]);
    net.graph.input.push(value("x", Some(&[1, 64])));
    net.graph.output.push(value(&z, None));
    let mut model = ModelProto { ir_version: Some(8), graph: Some(net.graph), ..Default::default() };
    model.set_opset("", 17);
    file::write_beside(&folder.join("model.onnx"), model).unwrap();
    std::fs::write(folder.join("more.bin"), [0; 256]).unwrap();
}

#[test]
fn weights_beside_a_model_are_found_where_both_are_links() {
    let bench = Bench::new();
    for folder in ["blobs", "snapshot"] {
        std::fs::create_dir(bench.at(folder)).unwrap();
    }
    parted(&bench.at("blobs"));
    for (number, name) in std::fs::read_dir(bench.at("blobs")).unwrap().map(|e| e.unwrap().file_name()).enumerate() {
        let blob = format!("{number:040}");
        std::fs::rename(bench.at("blobs").join(&name), bench.at("blobs").join(&blob)).unwrap();
        symlink(Path::new("../blobs").join(&blob), bench.at("snapshot").join(&name)).unwrap();
    }
    let linked = bench.quantize(Path::new("snapshot/model.onnx"), &["--output", "out.onnx"]).output().unwrap();
    assert_eq!(linked.status.code(), Some(0), "{}", text(&linked.stderr));
    assert!(!file::is_parted(&mut file::read(&bench.at("out.onnx")).unwrap()));
}

#[test]
fn the_original_takes_its_place_with_all_that_lies_beside_it() {
    let bench = Bench::new();
    std::fs::create_dir(bench.at("model")).unwrap();
    parted(&bench.at("model"));
    let model = Path::new("model/model.onnx");
    let arguments = ["--output", "out.onnx", "--calibration", "none.npz", "--or-original"];
    let run = bench.quantize(model, &arguments).output().unwrap();
    let said = text(&run.stderr);
    assert!(run.status.code() == Some(0) && said.contains("is the original, not quantised"), "{said}");
    let bytes = std::fs::read(bench.at("out.onnx")).unwrap();
    assert!(!file::is_parted(&mut file::decode(bytes.into()).unwrap()), "its constants lie elsewhere still");
    // Without them it would not load anywhere.
    std::fs::remove_file(bench.at("model/more.bin")).unwrap();
    std::fs::remove_file(bench.at("out.onnx")).unwrap();
    let run = bench.quantize(model, &arguments).output().unwrap();
    assert!(run.status.code() == Some(66) && text(&run.stderr).contains("more.bin"), "{}", text(&run.stderr));
    assert_eq!(bench.names(), ["model"]);
}
