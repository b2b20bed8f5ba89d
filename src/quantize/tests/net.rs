//! Small float nets under construction.

use crate::onnx::graph::Index;
use crate::onnx::proto::{
    AttributeProto, AttributeType, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};
use crate::quantize::{Range, Ranges};

/// A value at the edge of a graph.
pub fn value(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: Some(name.into()), ..Default::default() }
}

/// A net: each call adds a node, whose result has its name.
#[derive(Default)]
pub struct Net {
    pub graph: GraphProto,
}

impl Net {
    /// A net of one input.
    pub fn new(input: &str) -> Net {
        Net { graph: GraphProto { input: vec![value(input)], ..Default::default() } }
    }

    /// A constant of 32-bit floats, in steps from -1 to 1.
    pub fn weight(&mut self, name: &str, dims: &[usize]) -> &mut Net {
        let count: usize = dims.iter().product();
        let step = 2.0 / (count.max(2) - 1) as f32;
        let values: Vec<f32> = (0..count).map(|place| place as f32 * step - 1.0).collect();
        self.constant(TensorProto::of_floats(name, dims, &values))
    }

    /// One 32-bit float.
    pub fn scalar(&mut self, name: &str, value: f32) -> &mut Net {
        self.constant(TensorProto::of_floats(name, &[], &[value]))
    }

    /// Integers.
    pub fn integers(&mut self, name: &str, values: &[i64]) -> &mut Net {
        self.constant(TensorProto::of_integers(name, values))
    }

    /// Any constant.
    pub fn constant(&mut self, tensor: TensorProto) -> &mut Net {
        self.graph.initializer.push(tensor);
        self
    }

    /// A node of one result.
    pub fn node(&mut self, operator: &str, inputs: &[&str], result: &str) -> &mut Net {
        self.add(NodeProto::new(operator, &format!("n_{result}"), inputs, &[result]))
    }

    /// Any node.
    pub fn add(&mut self, node: NodeProto) -> &mut Net {
        self.graph.node.push(node);
        self
    }

    /// An attribute for the node that was added last.
    pub fn ints(&mut self, name: &str, values: &[i64]) -> &mut Net {
        let (name, r#type) = (Some(name.to_owned()), Some(AttributeType::Ints as i32));
        let attribute = AttributeProto { name, r#type, ints: values.to_vec(), ..Default::default() };
        self.graph.node.last_mut().unwrap().attribute.push(attribute);
        self
    }

    /// A graph for the node that was added last.
    pub fn inner(&mut self, name: &str, graph: GraphProto) -> &mut Net {
        let (name, r#type) = (Some(name.to_owned()), Some(AttributeType::Graph as i32));
        let attribute = AttributeProto { name, r#type, g: Some(Box::new(graph)), ..Default::default() };
        self.graph.node.last_mut().unwrap().attribute.push(attribute);
        self
    }

    /// The model, with these outputs.
    pub fn model(&mut self, outputs: &[&str]) -> ModelProto {
        let mut graph = std::mem::take(&mut self.graph);
        graph.output = outputs.iter().map(|name| value(name)).collect();
        let mut model = ModelProto { ir_version: Some(8), graph: Some(graph), ..Default::default() };
        model.set_opset("", 17);
        model
    }
}

/// A range for every tensor: from 0 to 6 where a Relu or Clip makes it, else from -1 to 2.
pub fn ranges(model: &ModelProto) -> Ranges {
    let graph = model.graph.as_ref().unwrap();
    let index = Index::new(graph);
    let range = |name: &str| match index.producers.get(name).map(|place| graph.node[*place].operator()) {
        Some("Relu" | "Clip") => Range { low: 0.0, high: 6.0 },
        _ => Range { low: -1.0, high: 2.0 },
    };
    let names = graph.input.iter().map(ValueInfoProto::label);
    let names = names.chain(graph.node.iter().flat_map(|node| node.output.iter().map(String::as_str)));
    names.map(|name| (name.to_owned(), range(name))).collect()
}
