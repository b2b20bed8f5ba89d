//! What a request costs apart from the model's run: reading and writing tensors, decoding and preparing pictures, and the
//! hand-over to an engine thread and back.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use edge_service::core::tensor::{DataType, ModelSpec, Tensor, TensorData, TensorSpec};
use edge_service::engine::cancel::Cancel;
use edge_service::engine::job::{Asker, Job};
use edge_service::engine::threads::{Threads, Work};
use edge_service::engine::{Call, RunError, Session};
use edge_service::http::protocol::{self, OutputForm, OutputPlan, ProtocolLimits};
use edge_service::image::{self, ImageModel, Limits};

const SHAPE: [usize; 4] = [1, 3, 224, 224];
const LIMITS: ProtocolLimits = ProtocolLimits { max_tensor_bytes: 64 << 20 };

fn spec(name: &str, shape: &[i64]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), datatype: DataType::Fp32, shape: shape.to_vec(), optional: false }
}

fn picture_model() -> ModelSpec {
    ModelSpec {
        inputs: vec![spec("x", &[-1, 3, 224, 224])],
        outputs: vec![spec("y", &[-1, -1])],
        ..ModelSpec::default()
    }
}

fn values() -> Vec<f32> {
    (0..SHAPE.iter().product::<usize>()).map(|index| (index as f32).sin()).collect()
}

fn raw() -> Vec<u8> {
    values().iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn requests(criterion: &mut Criterion) {
    let model = picture_model();
    let raw = raw();
    let head = format!(
        r#"{{"inputs":[{{"name":"x","shape":{SHAPE:?},"datatype":"FP32","parameters":{{"binary_data_size":{}}}}}]}}"#,
        raw.len()
    );
    let binary = Bytes::from([head.as_bytes(), &raw].concat());
    let json = Bytes::from(
        serde_json::json!({"inputs": [{"name": "x", "shape": SHAPE, "datatype": "FP32", "data": values()}]})
            .to_string(),
    );
    let mut group = criterion.benchmark_group("read a request of 150,528 floats");
    group.throughput(Throughput::Bytes(binary.len() as u64));
    group.bench_function("binary", |bench| {
        bench.iter(|| protocol::parse(binary.clone(), Some(head.len()), "m", &model, &LIMITS).unwrap());
    });
    group.throughput(Throughput::Bytes(json.len() as u64));
    group.bench_function("json", |bench| {
        bench.iter(|| protocol::parse(json.clone(), None, "m", &model, &LIMITS).unwrap());
    });
    group.finish();
}

fn answers(criterion: &mut Criterion) {
    let tensor = Tensor::new("y", DataType::Fp32, SHAPE.to_vec(), TensorData::Raw(raw().into())).unwrap();
    let mut group = criterion.benchmark_group("write an answer of 150,528 floats");
    for (name, form) in [("binary", OutputForm::Binary), ("json", OutputForm::Json)] {
        let plans = [OutputPlan { name: "y".to_owned(), form }];
        group.bench_function(name, |bench| {
            bench.iter(|| protocol::render("m", "1", None, std::slice::from_ref(&tensor), &plans, |_| None).unwrap());
        });
    }
    group.finish();
}

fn pictures(criterion: &mut Criterion) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/digits");
    let model = ImageModel::beside(&folder.join("model.onnx")).unwrap().unwrap();
    let model = model
        .check(&ModelSpec {
            inputs: vec![spec("image", &[-1, 3, 96, 96])],
            outputs: vec![spec("scores", &[-1, 10])],
            ..ModelSpec::default()
        })
        .unwrap();
    let limits = Limits { max_pixels: 50_000_000 };
    let mut group = criterion.benchmark_group("shipped samples");
    for sample in ["samples/7-03.png", "samples/7-04.jpg"] {
        let bytes = std::fs::read(folder.join(sample)).unwrap();
        let picture = image::decode(&bytes, &limits).unwrap();
        group.bench_function(format!("decode {sample}"), |bench| {
            bench.iter(|| image::decode(&bytes, &limits).unwrap());
        });
        group.bench_function(format!("preprocess {sample}"), |bench| {
            bench.iter(|| model.preprocess(&picture).unwrap());
        });
    }
    group.finish();
}

/// A session whose run costs nothing.
struct Echo(ModelSpec);

impl Session for Echo {
    fn spec(&self) -> &ModelSpec {
        &self.0
    }

    fn run(&mut self, calls: &[Call<'_>]) -> Vec<Result<Vec<Tensor>, RunError>> {
        calls.iter().map(|call| Ok(call.inputs.to_vec())).collect()
    }
}

fn hand_over(criterion: &mut Criterion) {
    let threads = Threads::start(1, 8, Arc::new(|_, _| {})).unwrap();
    let load = Work::Load {
        limit: Duration::from_secs(5),
        load: Box::new(|pool, _| drop(pool.install(vec![Box::new(Echo(picture_model()))]))),
    };
    assert!(threads.send(load).is_ok());
    let input = Tensor::new("x", DataType::Fp32, SHAPE.to_vec(), TensorData::Raw(raw().into())).unwrap();
    criterion.bench_function("to an engine thread and back", |bench| {
        bench.iter(|| {
            let (reply, answer) = tokio::sync::oneshot::channel();
            let now = Instant::now();
            let job = Job {
                inputs: vec![input.clone()],
                outputs: vec!["y".to_owned()],
                deadline: now + Duration::from_secs(60),
                cancel: Arc::new(Cancel::default()),
                reply,
                asker: Asker::Client,
                queued: now,
                place: None,
            };
            assert!(threads.send(Work::Run(Box::new(job))).is_ok());
            answer.blocking_recv().unwrap().result.unwrap()
        });
    });
    threads.close();
    assert!(threads.join(Instant::now() + Duration::from_secs(5)));
}

criterion_group!(hot_path, requests, answers, pictures, hand_over);
criterion_main!(hot_path);
