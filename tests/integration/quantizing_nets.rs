//! Random small nets: what the rewriter makes of them is valid, runs, keeps its names and answers nearly as the float net does.

use edge_service::core::tensor::{DataType, Tensor, TensorData};
use edge_service::onnx::check::check;
use edge_service::onnx::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use edge_service::onnx::proto::{TensorShapeProto, TensorShapeProtoDimension, TensorShapeProtoDimensionValue};
use edge_service::onnx::proto::{TypeProto, TypeProtoTensor, TypeProtoValue};
use edge_service::quantize::{Error, Integer, Method, Range, Ranges, Settings, observed, prepare, rewrite};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::quantizing::{answers, one_at_a_time};

/// How many nets are tried.
const NETS: u32 = 64;
/// How many inputs each is tried on.
const INPUTS: usize = 4;
/// The largest error that is let pass, as a share of the answers' size: a fault of layout gives far more.
const BOUND: f64 = 0.25;

/// What comes after a layer.
#[derive(Clone, Copy, Debug)]
enum After {
    Nothing,
    Relu,
    Clip,
    Silu,
    HardSwish,
    LeakyRelu,
    Tanh,
}

/// A part of a net; the tensor between parts has as many channels as the part before gave.
#[derive(Clone, Copy, Debug)]
enum Part {
    Layer { channels: usize, wide: bool, after: After },
    Depthwise { after: After },
    Shortcut { after: After },
    Join { channels: usize, after: After },
    Pool { average: bool },
    Multiple { by: f32 },
}

#[derive(Clone, Debug)]
struct Shape {
    pictures: bool,
    parts: Vec<Part>,
    head: bool,
    seed: u64,
    settings: Settings,
}

fn after() -> impl Strategy<Value = After> {
    use After::*;
    prop::sample::select(vec![Nothing, Relu, Relu, Clip, Silu, HardSwish, LeakyRelu, Tanh])
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        (2usize..9, any::<bool>(), after()).prop_map(|(channels, wide, after)| Part::Layer { channels, wide, after }),
        after().prop_map(|after| Part::Depthwise { after }),
        after().prop_map(|after| Part::Shortcut { after }),
        (2usize..6, after()).prop_map(|(channels, after)| Part::Join { channels, after }),
        any::<bool>().prop_map(|average| Part::Pool { average }),
        (0.25f32..4.0).prop_map(|by| Part::Multiple { by }),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    let types = prop::sample::select(vec![
        (Integer::U8, Integer::S8),
        (Integer::U8, Integer::S8),
        (Integer::U8, Integer::U8),
        (Integer::S8, Integer::S8),
    ]);
    (any::<bool>(), types, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(dynamic, (activations, weights), per_channel, reduce_range, refine)| Settings {
            method: if dynamic { Method::Dynamic } else { Method::Static },
            activations,
            weights,
            per_channel,
            reduce_range,
            refine,
            ..Settings::default()
        },
    )
}

fn shape() -> impl Strategy<Value = Shape> {
    (any::<bool>(), prop::collection::vec(part(), 1..6), any::<bool>(), any::<u64>(), settings())
        .prop_map(|(pictures, parts, head, seed, settings)| Shape { pictures, parts, head, seed, settings })
}

/// A net under construction.
pub struct Net {
    pub graph: GraphProto,
    state: u64,
    pub count: usize,
    pictures: bool,
}

impl Net {
    /// Its numbers follow from the seed.
    pub fn new(seed: u64, pictures: bool) -> Net {
        Net { graph: GraphProto { name: Some("net".into()), ..Default::default() }, state: seed, count: 0, pictures }
    }

    /// A number between -1 and 1.
    fn random(&mut self) -> f32 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.state >> 40) as f32 / (1 << 23) as f32) - 1.0
    }

    pub fn weight(&mut self, dims: &[usize], gain: f32) -> String {
        let fan: usize = dims.iter().skip(1).product();
        let gain = gain * (3.0 / fan.max(1) as f32).sqrt();
        let values: Vec<f32> = (0..dims.iter().product()).map(|_| self.random() * gain).collect();
        self.constant(dims, &values)
    }

    pub fn constant(&mut self, dims: &[usize], values: &[f32]) -> String {
        self.count += 1;
        let name = format!("w{}", self.count);
        self.graph.initializer.push(TensorProto::of_floats(&name, dims, values));
        name
    }

    pub fn op(&mut self, operator: &str, inputs: &[&str], ints: &[(&str, &[i64])]) -> String {
        self.count += 1;
        let name = format!("t{}", self.count);
        let mut node = NodeProto::new(operator, "", inputs, &[&name]);
        for (name, values) in ints {
            let mut attribute = AttributeProto { name: Some((*name).into()), r#type: Some(7), ..Default::default() };
            attribute.ints = values.to_vec();
            node.attribute.push(attribute);
        }
        self.graph.node.push(node);
        name
    }

    pub fn layer(&mut self, x: &str, from: usize, to: usize, size: usize, group: usize) -> String {
        let bias = self.weight(&[to], 0.1);
        if !self.pictures {
            let weight = self.weight(&[to, from], 1.0);
            let name = self.op("Gemm", &[x, &weight, &bias], &[]);
            self.graph.node.last_mut().unwrap().set_int("transB", 1);
            return name;
        }
        let weight = self.weight(&[to, from / group, size, size], 1.2);
        let pad = (size / 2) as i64;
        let name = self.op("Conv", &[x, &weight, &bias], &[("pads", &[pad; 4])]);
        self.graph.node.last_mut().unwrap().set_int("group", group as i64);
        name
    }

    fn after(&mut self, x: String, after: After) -> String {
        match after {
            After::Nothing => x,
            After::Relu => self.op("Relu", &[&x], &[]),
            After::Tanh => self.op("Tanh", &[&x], &[]),
            After::LeakyRelu => self.op("LeakyRelu", &[&x], &[]),
            After::HardSwish => self.op("HardSwish", &[&x], &[]),
            After::Clip => {
                let (low, high) = (self.constant(&[], &[0.0]), self.constant(&[], &[6.0]));
                self.op("Clip", &[&x, &low, &high], &[])
            }
            After::Silu => {
                let gate = self.op("Sigmoid", &[&x], &[]);
                self.op("Mul", &[&x, &gate], &[])
            }
        }
    }

    fn part(&mut self, x: String, channels: usize, part: Part) -> (String, usize) {
        match part {
            Part::Layer { channels: to, wide, after } => {
                let y = self.layer(&x, channels, to, if wide { 3 } else { 1 }, 1);
                (self.after(y, after), to)
            }
            Part::Depthwise { after } => {
                let y = self.layer(&x, channels, channels, 3, if self.pictures { channels } else { 1 });
                (self.after(y, after), channels)
            }
            Part::Shortcut { after } => {
                let y = self.layer(&x, channels, channels, 3, 1);
                let y = self.op("Add", &[&x, &y], &[]);
                (self.after(y, after), channels)
            }
            Part::Join { channels: more, after } => {
                let y = self.layer(&x, channels, more, 1, 1);
                let y = self.after(y, after);
                let y = self.op("Concat", &[&x, &y], &[]);
                self.graph.node.last_mut().unwrap().set_int("axis", 1);
                (y, channels + more)
            }
            Part::Pool { .. } if !self.pictures => (x, channels),
            Part::Pool { average } => {
                let operator = if average { "AveragePool" } else { "MaxPool" };
                (self.op(operator, &[&x], &[("kernel_shape", &[3, 3]), ("pads", &[1; 4])]), channels)
            }
            Part::Multiple { by } => {
                let factor = self.constant(&[], &[by]);
                (self.op("Mul", &[&x, &factor], &[]), channels)
            }
        }
    }
}

fn sizes(shape: &Shape) -> Vec<usize> {
    if shape.pictures { vec![1, 4, 6, 6] } else { vec![1, 16] }
}

/// A value of 32-bit floats with these sizes, or of any where they are not known.
pub fn value(name: &str, sizes: Option<&[usize]>) -> ValueInfoProto {
    let dim = |size: &usize| TensorShapeProtoDimension {
        value: Some(TensorShapeProtoDimensionValue::DimValue(*size as i64)),
        denotation: None,
    };
    let shape = sizes.map(|sizes| TensorShapeProto { dim: sizes.iter().map(dim).collect() });
    let tensor = TypeProtoTensor { elem_type: Some(1), shape };
    let r#type = TypeProto { value: Some(TypeProtoValue::TensorType(tensor)), denotation: None };
    ValueInfoProto { name: Some(name.into()), r#type: Some(r#type), ..Default::default() }
}

fn build(shape: &Shape) -> ModelProto {
    let mut net = Net::new(shape.seed, shape.pictures);
    let channels = sizes(shape)[1];
    let first = net.layer("x", channels, channels, 1, 1);
    let (mut x, mut channels) = (net.after(first, After::Relu), channels);
    for part in &shape.parts {
        (x, channels) = net.part(x, channels, *part);
    }
    if shape.head {
        if shape.pictures {
            let pooled = net.op("GlobalAveragePool", &[&x], &[]);
            x = net.op("Flatten", &[&pooled], &[]);
        }
        let weight = net.weight(&[channels, 5], 1.5);
        x = net.op("MatMul", &[&x, &weight], &[]);
    }
    net.graph.input.push(value("x", Some(&sizes(shape))));
    net.graph.output.push(value(&x, None));
    let mut model = ModelProto { ir_version: Some(8), graph: Some(net.graph), ..Default::default() };
    model.set_opset("", 17);
    model
}

fn inputs(shape: &Shape) -> Vec<Tensor> {
    random_inputs(!shape.seed, &sizes(shape), 1.7)
}

/// Values of `x` from `-reach` to `reach`.
pub fn random_inputs(seed: u64, sizes: &[usize], reach: f32) -> Vec<Tensor> {
    let mut net = Net::new(seed, true);
    let tensor = |_| {
        let bytes: Vec<u8> = (0..sizes.iter().product()).flat_map(|_| (net.random() * reach).to_le_bytes()).collect();
        Tensor::new("x", DataType::Fp32, sizes.to_vec(), TensorData::Raw(bytes.into())).unwrap()
    };
    (0..INPUTS).map(tensor).collect()
}

/// The ranges of tensors, as the float net has them on the inputs.
pub fn ranges(model: &ModelProto, tensors: &[String], inputs: &[Tensor]) -> Ranges {
    let mut ranges = Ranges::new();
    for tensor in tensors {
        let seen: Vec<f64> = if tensor == "x" {
            inputs.iter().flat_map(|input| input.to_f64().unwrap()).collect()
        } else {
            let mut exposed = model.clone();
            exposed.graph.as_mut().unwrap().output = vec![value(tensor, None)];
            answers(&exposed, inputs).into_iter().flatten().collect()
        };
        let low = seen.iter().copied().fold(f64::INFINITY, f64::min) as f32;
        let high = seen.iter().copied().fold(f64::NEG_INFINITY, f64::max) as f32;
        ranges.insert(tensor.clone(), Range { low, high });
    }
    ranges
}

fn try_net(shape: &Shape) -> Result<(), TestCaseError> {
    let original = build(shape);
    prop_assert_eq!(check(&original), Ok(()));
    let float = prepare(original.clone()).unwrap();
    prop_assert_eq!(prepare(float.clone()).unwrap(), float.clone());
    let inputs = inputs(shape);
    let tensors = observed(&float, &shape.settings);
    prop_assert_eq!(tensors.is_empty(), shape.settings.method == Method::Dynamic);
    let ranges = ranges(&float, &tensors, &inputs);
    let made = match rewrite(&float, &ranges, &shape.settings) {
        // Nets of convolutions alone have nothing for dynamic quantisation.
        Err(Error::NothingToQuantize { .. }) if shape.settings.method == Method::Dynamic && shape.pictures => {
            return Ok(());
        }
        made => made.unwrap(),
    };
    prop_assert_eq!(check(&made.model), Ok(()));
    let doubled = matches!(prepare(made.model.clone()), Err(Error::AlreadyQuantized { .. }));
    prop_assert!(doubled, "a quantised net is taken for a float one");
    let (before, after) = (float.graph.as_ref().unwrap(), made.model.graph.as_ref().unwrap());
    prop_assert_eq!((&before.input, &before.output), (&after.input, &after.output));
    prop_assert_eq!(before.node.len(), made.quantized.len() + made.left.len());
    let (expected, found) = (answers(&original, &inputs), answers(&made.model, &inputs));
    prop_assert_eq!(expected.iter().flatten().count(), found.iter().flatten().count());
    let (error, size) = error_and_size(&expected, &found);
    let bound = BOUND * size + 1e-3;
    prop_assert!(error <= bound, "an error of {} where answers have {}", error, size);
    Ok(())
}

/// How far answers are from what was expected, and how large that is.
pub fn error_and_size(expected: &[Vec<f64>], found: &[Vec<f64>]) -> (f64, f64) {
    let pairs = || expected.iter().flatten().zip(found.iter().flatten());
    let size = pairs().map(|(expected, _)| expected.powi(2)).sum::<f64>().sqrt();
    let error = pairs().map(|(expected, found)| (expected - found).powi(2)).sum::<f64>().sqrt();
    (error, size)
}

#[test]
fn random_nets_are_quantised_validly_and_nearly_rightly() {
    let _one = one_at_a_time();
    let config = Config { cases: NETS, failure_persistence: None, ..Config::default() };
    // The same nets at every run: a change that breaks one is seen, and none fails by chance.
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    runner.run(&shape(), |shape| try_net(&shape)).unwrap();
}
