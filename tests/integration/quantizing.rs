//! The rewriter against onnxruntime's own tool, and against the float model, by what ONNX Runtime answers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use edge_service::core::tensor::{DataType, Tensor, TensorData};
use edge_service::engine::cancel::Cancel;
use edge_service::engine::ort::{LoadOptions, Runtime, load};
use edge_service::engine::{Call, Session};
use edge_service::onnx::file;
use edge_service::onnx::proto::{ModelProto, TensorProto};
use edge_service::quantize::{Integer, Method, Range, Ranges, Settings, observed, prepare, rewrite};
use serde_json::Value;

use crate::harness::repository;
use crate::quantize_command::Bench;

/// The runtime, opened once a process.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::open(&repository(".runtime/libonnxruntime.so")).unwrap())
}

/// What a model answers to each of some inputs: its outputs, one after another.
pub fn answers(model: &ModelProto, inputs: &[Tensor]) -> Vec<Vec<f64>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    file::write(&path, model).unwrap();
    let options = LoadOptions { threads: 1, spinning: false, memory_arena: true, keep_zipmap: false };
    let mut session = load(runtime(), &path, &options, &Cancel::default()).unwrap();
    let outputs: Vec<String> = session.spec().outputs.iter().map(|output| output.name.clone()).collect();
    let run = |input: &Tensor| {
        let inputs = std::slice::from_ref(input);
        let calls = [Call { inputs, outputs: &outputs, cancel: &Cancel::default() }];
        let answer = session.run(&calls).remove(0).unwrap();
        answer.iter().flat_map(|tensor| tensor.to_f64().unwrap()).collect()
    };
    inputs.iter().map(run).collect()
}

/// The runtime's sessions are made by one test at a time: each takes memory.
pub fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// One net that the other tool quantised: the runs and the ranges.
struct Net {
    float: ModelProto,
    inputs: Vec<Tensor>,
    ranges: Ranges,
    told: Value,
}

fn net(name: &str) -> Net {
    let folder = repository("target/fixtures/quantize");
    let text = std::fs::read_to_string(folder.join(format!("{name}.json")));
    let told: Value = serde_json::from_str(&text.expect("run `make fixtures`")).unwrap();
    let shape: Vec<usize> = numbers(&told["shape"]).iter().map(|size| *size as usize).collect();
    let tensor = |values: &Value| {
        let values = numbers(values);
        let (datatype, bytes): (DataType, Vec<u8>) = match name {
            "encoder" => (DataType::Int64, values.iter().flat_map(|value| (*value as i64).to_le_bytes()).collect()),
            _ => (DataType::Fp32, values.iter().flat_map(|value| (*value as f32).to_le_bytes()).collect()),
        };
        Tensor::new("x", datatype, shape.clone(), TensorData::Raw(bytes.into())).unwrap()
    };
    let range = |(tensor, limits): (&String, &Value)| {
        let limits = numbers(limits);
        (tensor.clone(), Range { low: limits[0] as f32, high: limits[1] as f32 })
    };
    Net {
        float: prepare(file::read(&folder.join(format!("{name}.onnx"))).unwrap()).unwrap(),
        inputs: told["inputs"].as_array().unwrap().iter().map(tensor).collect(),
        ranges: told["ranges"].as_object().unwrap().iter().map(range).collect(),
        told,
    }
}

fn settings(way: &Value) -> Settings {
    let integer = |signed: &Value| if signed.as_bool().unwrap() { Integer::S8 } else { Integer::U8 };
    Settings {
        method: if way["static"].as_bool().unwrap() { Method::Static } else { Method::Dynamic },
        activations: integer(&way["signed_activations"]),
        weights: integer(&way["signed_weights"]),
        per_channel: way["per_channel"].as_bool().unwrap(),
        reduce_range: way["reduce_range"].as_bool().unwrap(),
        refine: false,
        ..Settings::default()
    }
}

/// Contents of constants by name, whatever form they are kept in.
fn constants(model: &ModelProto) -> BTreeMap<String, (i32, Vec<u8>)> {
    let contents = |tensor: &TensorProto| match &tensor.raw_data {
        Some(raw) => raw.to_vec(),
        None if !tensor.float_data.is_empty() => {
            tensor.float_data.iter().flat_map(|value| value.to_le_bytes()).collect()
        }
        None if tensor.data_type == Some(6) => tensor.int32_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        None if tensor.data_type == Some(7) => tensor.int64_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        None => tensor.int32_data.iter().map(|value| *value as u8).collect(),
    };
    let graph = model.graph.as_ref().unwrap();
    let entry = |tensor: &TensorProto| (tensor.label().to_owned(), (tensor.data_type.unwrap(), contents(tensor)));
    graph.initializer.iter().map(entry).collect()
}

/// The largest difference, and the largest value, of two lists of answers.
fn difference(left: &[Vec<f64>], right: &[Vec<f64>]) -> (f64, f64) {
    let pairs = || left.iter().flatten().zip(right.iter().flatten());
    assert_eq!(left.iter().flatten().count(), right.iter().flatten().count());
    assert!(pairs().all(|(left, right)| left.is_finite() && right.is_finite()));
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0f64, f64::max);
    (most(&mut pairs().map(|(l, r)| (l - r).abs())), most(&mut right.iter().flatten().map(|value| value.abs())))
}

#[test]
fn weights_scales_and_answers_are_those_of_onnxruntimes_own_tool() {
    let _one = one_at_a_time();
    let mut compared = 0;
    for name in ["mlp", "conv", "encoder"] {
        let net = net(name);
        for (way, told) in net.told["ways"].as_object().unwrap() {
            let made = rewrite(&net.float, &net.ranges, &settings(told)).unwrap();
            let theirs = file::read(&repository(&format!("target/fixtures/quantize/{name}.{way}.onnx"))).unwrap();
            let (ours, theirs) = (constants(&made.model), constants(&theirs));
            assert!(theirs.len() > 5, "{name} {way}");
            for (constant, value) in &theirs {
                let own = ours.get(constant).unwrap_or_else(|| panic!("{name} {way} lacks {constant}"));
                assert!(own == value, "{name} {way}: {constant} differs");
                compared += 1;
            }
            assert_eq!(ours.len(), theirs.len(), "{name} {way}: {:?}", ours.keys());
            let expected: Vec<Vec<f64>> = told["outputs"].as_array().unwrap().iter().map(numbers).collect();
            let (most, _) = difference(&answers(&made.model, &net.inputs), &expected);
            assert!(most <= 1e-5, "{name} {way}: outputs differ by {most}");
        }
    }
    println!("{compared} constants are equal to the bit");
}

#[test]
fn calibrators_find_what_those_of_onnxruntimes_own_tool_find() {
    let folder = repository("target/fixtures/quantize");
    let text = std::fs::read_to_string(folder.join("conv.calibrated.json")).expect("run `make fixtures`");
    let told: Value = serde_json::from_str(&text).unwrap();
    let bench = Bench::new();
    let samples = folder.join("conv.samples.npz");
    let mut wider = BTreeMap::new();
    // The tool widens its histograms from sample to sample, and so its bins end elsewhere: half a bin, and a level of 128. Where two
    // ends of a range tell as much of the values, that decides which one it is.
    for (calibrator, apart, ties) in [("minmax", 1e-6, 0), ("percentile", 1e-3, 0), ("entropy", 0.03, 2)] {
        let arguments = ["--plain", "--method", "static", "--calibrator", calibrator, "--output", "out.onnx"];
        let mut command = bench.quantize(&folder.join("conv.onnx"), &arguments);
        let run = command.arg("--calibration").arg(&samples).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let made = file::read(&bench.at("out.onnx")).unwrap();
        let scales = made.graph.as_ref().unwrap().initializer.iter();
        let scales: BTreeMap<&str, f32> =
            scales.filter_map(|tensor| Some((tensor.label(), *tensor.floats().ok()?.first()?))).collect();
        let (mut compared, mut far) = (0, Vec::new());
        for (tensor, limits) in told[calibrator].as_object().unwrap() {
            let Some(scale) = scales.get(format!("{tensor}_scale").as_str()) else { continue };
            let limits = numbers(limits);
            let theirs = (limits[1].max(0.0) - limits[0].min(0.0)) / 255.0;
            let ratio = f64::from(*scale) / theirs;
            if (ratio - 1.0).abs() > apart {
                far.push(format!("{tensor} has {ratio} times the tool's step"));
            }
            compared += 1;
        }
        assert!(far.len() <= ties, "{calibrator}: {far:?}");
        assert!(compared > 10, "{compared}");
        wider.insert(calibrator, scales["x_scale"]);
    }
    assert!(wider["minmax"] > wider["percentile"] && wider["percentile"] > 1.5 * wider["entropy"], "{wider:?}");
}

#[test]
fn the_refined_layout_is_no_worse_than_the_plain_one() {
    let _one = one_at_a_time();
    for name in ["mlp", "conv"] {
        let net = net(name);
        let float = answers(&net.float, &net.inputs);
        let error = |refine| {
            let settings = Settings { refine, ..Settings::default() };
            assert!(observed(&net.float, &settings).iter().all(|tensor| net.ranges.contains_key(tensor)));
            let made = rewrite(&net.float, &net.ranges, &settings).unwrap();
            let answers = answers(&made.model, &net.inputs);
            let pairs = answers.iter().flatten().zip(float.iter().flatten());
            let squares: Vec<f64> = pairs.map(|(own, float)| (own - float).powi(2)).collect();
            let size: f64 = float.iter().flatten().map(|value| value.powi(2)).sum();
            (squares.iter().sum::<f64>() / size).sqrt()
        };
        let (plain, refined) = (error(false), error(true));
        assert!(refined < 0.05 && refined < plain * 1.3, "{name}: {refined} against {plain}");
    }
}

#[test]
fn the_shipped_model_is_quantised_and_answers_alike() {
    let _one = one_at_a_time();
    let float = prepare(file::read(Path::new(&repository("models/digits/model.onnx"))).unwrap()).unwrap();
    let settings = Settings { method: Method::Dynamic, ..Settings::default() };
    let made = rewrite(&float, &Ranges::new(), &settings).unwrap();
    assert!(!made.quantized.is_empty());
    assert!(made.left.iter().all(|left| !left.reason.is_empty() && !left.node.is_empty()), "{:?}", made.left);
    assert!(prepare(made.model).unwrap_err().to_string().contains("quantised already"));
}
