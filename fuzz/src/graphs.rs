//! A graph out of any bytes: names that fit each other, and otherwise whatever the bytes say. Mutated files are seldom
//! valid; these nearly always are, and reach the rules.

use crate::onnx::proto::{
    AttributeProto, AttributeType, ElementType, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorShapeProtoDimension, TensorShapeProtoDimensionValue, TypeProto, TypeProtoTensor,
    TypeProtoValue, ValueInfoProto,
};

/// Operators with the number of their inputs.
const OPERATORS: [(&str, usize); 32] = [
    ("Conv", 3),
    ("Conv", 2),
    ("MatMul", 2),
    ("Gemm", 3),
    ("Gemm", 2),
    ("Add", 2),
    ("Mul", 2),
    ("Concat", 3),
    ("MaxPool", 1),
    ("AveragePool", 1),
    ("GlobalAveragePool", 1),
    ("Reshape", 2),
    ("Transpose", 1),
    ("Flatten", 1),
    ("Squeeze", 2),
    ("Unsqueeze", 2),
    ("Resize", 4),
    ("Relu", 1),
    ("Clip", 3),
    ("Sigmoid", 1),
    ("HardSigmoid", 1),
    ("HardSwish", 1),
    ("Softmax", 1),
    ("Gather", 2),
    ("BatchNormalization", 5),
    ("Identity", 1),
    ("LSTM", 3),
    ("ConvTranspose", 2),
    ("Split", 1),
    ("LayerNormalization", 3),
    ("If", 1),
    ("QuantizeLinear", 2),
];
const ATTRIBUTES: [&str; 20] = [
    "axis",
    "axes",
    "group",
    "kernel_shape",
    "pads",
    "strides",
    "dilations",
    "auto_pad",
    "alpha",
    "beta",
    "transA",
    "transB",
    "perm",
    "min",
    "max",
    "keepdims",
    "ceil_mode",
    "mode",
    "to",
    "then_branch",
];
const MOST_NODES: usize = 40;

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    /// The next byte; 0 after the last.
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.next()) % bound.max(1)
    }
}

fn kind(rank: usize, bytes: &mut Bytes<'_>) -> TypeProto {
    let dim = |size: usize| {
        let value = (size > 0).then_some(TensorShapeProtoDimensionValue::DimValue(size as i64));
        TensorShapeProtoDimension { value, denotation: None }
    };
    let shape = TensorShapeProto { dim: (0..rank).map(|_| dim(bytes.below(9))).collect() };
    let element = if bytes.below(200) == 7 { ElementType::Float16 } else { ElementType::Float };
    let tensor = TypeProtoTensor { elem_type: Some(element.into()), shape: Some(shape) };
    TypeProto { value: Some(TypeProtoValue::TensorType(tensor)), denotation: None }
}

fn value(name: String, bytes: &mut Bytes<'_>) -> ValueInfoProto {
    let rank = bytes.below(6);
    ValueInfoProto { name: Some(name), r#type: Some(kind(rank, bytes)), ..ValueInfoProto::default() }
}

fn constant(name: String, rank: usize, bytes: &mut Bytes<'_>) -> TensorProto {
    let dims: Vec<i64> = (0..rank).map(|_| bytes.below(5) as i64).collect();
    let count: i64 = dims.iter().product();
    let values = (0..count).map(|_| f32::from(bytes.next().cast_signed()) * 0.05).collect::<Vec<_>>();
    let mut tensor = TensorProto { name: Some(name), dims, ..TensorProto::default() };
    match bytes.below(8) {
        0 => {
            tensor.data_type = Some(ElementType::Int64.into());
            tensor.int64_data = values.iter().map(|value| *value as i64).collect();
        }
        // Contents that do not fit the shape.
        1 => {
            (tensor.data_type, tensor.raw_data) =
                (Some(ElementType::Float.into()), Some(bytes::Bytes::from_static(b"abcdefgh")))
        }
        2 => {
            tensor.data_type = Some(ElementType::Float.into());
            tensor.float_data = values;
            tensor.float_data.iter_mut().for_each(|value| *value = if *value < 0.0 { f32::NAN } else { f32::INFINITY });
        }
        3 => (tensor.data_type, tensor.float_data) = (Some(ElementType::Float.into()), values),
        _ => {
            tensor.data_type = Some(ElementType::Float.into());
            tensor.raw_data = Some(values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into());
        }
    }
    tensor
}

fn attribute(depth: usize, names: &[String], bytes: &mut Bytes<'_>) -> AttributeProto {
    let name = ATTRIBUTES[bytes.below(ATTRIBUTES.len())];
    let mut attribute = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    let small = |bytes: &mut Bytes<'_>| i64::from(bytes.next().cast_signed()) / 16;
    let kind = match bytes.below(if depth < 2 { 5 } else { 4 }) {
        0 => {
            attribute.i = Some(if bytes.below(32) == 0 { i64::MIN } else { small(bytes) });
            AttributeType::Int
        }
        1 => {
            attribute.ints = (0..bytes.below(9)).map(|_| small(bytes)).collect();
            AttributeType::Ints
        }
        2 => {
            attribute.f = Some(f32::from(bytes.next().cast_signed()));
            AttributeType::Float
        }
        3 => {
            attribute.s = Some(bytes::Bytes::from_static(b"SAME_UPPER"));
            AttributeType::String
        }
        _ => {
            attribute.g = Some(Box::new(graph(depth + 1, names, bytes)));
            AttributeType::Graph
        }
    };
    attribute.r#type = Some(kind.into());
    attribute
}

/// A graph that may read the names of the ones around it.
fn graph(depth: usize, outer: &[String], bytes: &mut Bytes<'_>) -> GraphProto {
    let mut graph = GraphProto { name: Some(format!("g{depth}")), ..GraphProto::default() };
    let mut names = outer.to_vec();
    let mut count = 0;
    let mut fresh = |prefix: &str| {
        count += 1;
        format!("{prefix}{depth}.{count}.{}", outer.len())
    };
    let inputs = if depth == 0 { 1 + bytes.below(3) } else { 0 };
    for _ in 0..inputs {
        let name = fresh("x");
        graph.input.push(value(name.clone(), bytes));
        names.push(name);
    }
    for _ in 0..bytes.below(12) {
        let (name, rank) = (fresh("w"), bytes.below(5));
        graph.initializer.push(constant(name.clone(), rank, bytes));
        names.push(name);
    }
    for _ in 0..bytes.below(MOST_NODES) {
        let (operator, inputs) = match OPERATORS[bytes.below(OPERATORS.len())] {
            // One that is quantised already has all of the graph refused.
            ("QuantizeLinear", _) if bytes.below(8) > 0 => OPERATORS[0],
            operator => operator,
        };
        let pick = |bytes: &mut Bytes<'_>| match bytes.below(24) {
            0 => String::new(),
            // Mostly what was made last.
            choice if choice < 12 => names.last().cloned().unwrap_or_default(),
            _ => names.get(bytes.below(names.len())).cloned().unwrap_or_default(),
        };
        let mut node = NodeProto { op_type: Some(operator.to_owned()), ..NodeProto::default() };
        for place in 0..inputs {
            // Weights are constants as a rule, and of a rank that fits.
            let rank = match (operator, place) {
                ("Conv" | "ConvTranspose", 1) => Some(3 + bytes.below(3)),
                ("MatMul" | "Gemm", 1) => Some(2),
                ("Conv" | "Gemm", 2) | ("BatchNormalization", 1..) => Some(1),
                _ => None,
            };
            match rank.filter(|_| bytes.below(4) > 0) {
                Some(rank) => {
                    let name = fresh("w");
                    graph.initializer.push(constant(name.clone(), rank, bytes));
                    node.input.push(name);
                }
                None => node.input.push(pick(bytes)),
            }
        }
        node.attribute = (0..bytes.below(4)).map(|_| attribute(depth, &names, bytes)).collect();
        let name = fresh("t");
        node.output.push(name.clone());
        if bytes.below(4) > 0 {
            node.name = Some(fresh("n"));
        }
        if bytes.below(4) == 0 {
            graph.value_info.push(value(name.clone(), bytes));
        }
        graph.node.push(node);
        names.push(name);
    }
    for _ in 0..=bytes.below(2) {
        let place = bytes.below(graph.node.len() * 2);
        let name = match graph.node.get(place).or(graph.node.last()) {
            Some(node) => node.output[0].clone(),
            None => names.last().cloned().unwrap_or_default(),
        };
        graph.output.push(value(name, bytes));
    }
    graph
}

/// The model that these bytes say.
pub fn grow(bytes: &[u8]) -> ModelProto {
    let mut bytes = Bytes(bytes);
    let opset = 7 + bytes.below(17) as i64;
    let graph = graph(0, &[], &mut bytes);
    let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(opset) };
    ModelProto { ir_version: Some(8), graph: Some(graph), opset_import: vec![opset], ..ModelProto::default() }
}
