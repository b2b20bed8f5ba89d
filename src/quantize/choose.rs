//! How a model is best quantised for a processor, by what its graph is made of.

use super::{Integer, Method, Settings};
use crate::engine::cpu::Cpu;
use crate::onnx::proto::{GraphProto, ModelProto, NodeProto};

/// What was chosen, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// How to quantise.
    pub settings: Settings,
    /// The reasons, as one line.
    pub why: String,
}

/// Chooses by the graph: nets of convolutions static, all others dynamic. Never dynamic convolutions, which run slower than
/// float ones, and on x86 never signed activations, whose products take more instructions. Inside `If`, `Loop` and `Scan` only
/// dynamic quantisation finds something.
pub fn choose(model: &ModelProto, cpu: &Cpu) -> Choice {
    let outer: Vec<&NodeProto> = model.graph.iter().flat_map(|graph| &graph.node).collect();
    let all: Vec<&NodeProto> = model.graph.iter().flat_map(GraphProto::nodes_within).collect();
    let count = |nodes: &[&NodeProto], operators: &[&str]| {
        nodes.iter().filter(|node| node.is_standard() && operators.contains(&node.operator())).count()
    };
    let (convolutions, products) = (count(&outer, &["Conv"]), count(&all, &["MatMul", "Gemm"]));
    let recurrent = count(&all, &["LSTM", "GRU", "RNN"]);
    // A convolution or two at the entry of a transformer (its patches) do not make it a net of convolutions.
    let method =
        if convolutions > 0 && convolutions * 4 > products + recurrent { Method::Static } else { Method::Dynamic };
    let reduce_range = cpu.architecture == "x86_64" && !cpu.has_dot_product();
    let graph = match (method, recurrent) {
        (Method::Static, _) => format!("static, as its work is in {convolutions} convolutions"),
        (Method::Dynamic, 0) => format!("dynamic, as its work is in {products} matrix products"),
        (Method::Dynamic, _) => {
            format!("dynamic, as it has {recurrent} recurrent layers and {products} matrix products")
        }
    };
    let bits = match reduce_range {
        true => "weights of 7 bits, as this processor sums products of 8-bit numbers in 16 bits",
        false => "weights of 8 bits",
    };
    let why = format!("{graph}; U8 activations and S8 weights, a scale a channel; {bits}");
    Choice {
        settings: Settings {
            method,
            activations: Integer::U8,
            weights: Integer::S8,
            reduce_range,
            ..Settings::default()
        },
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::AttributeProto;

    fn chosen(operators: &[&str], features: Vec<&'static str>) -> Choice {
        let node = |operator: &&str| NodeProto::new(operator, "", &[], &[]);
        let graph = GraphProto { node: operators.iter().map(node).collect(), ..Default::default() };
        let model = ModelProto { graph: Some(graph), ..Default::default() };
        choose(&model, &Cpu { architecture: "x86_64", features })
    }

    #[test]
    fn convolutions_are_quantised_from_samples_and_products_at_every_run() {
        let vnni = || vec!["avx512vnni"];
        assert_eq!(chosen(&["Conv", "Relu", "Conv", "Gemm"], vnni()).settings.method, Method::Static);
        assert_eq!(chosen(&["Gemm", "Relu", "Gemm"], vnni()).settings.method, Method::Dynamic);
        assert_eq!(chosen(&["LSTM", "Gemm"], vnni()).settings.method, Method::Dynamic);
        let transformer: Vec<&str> = std::iter::once("Conv").chain(std::iter::repeat_n("MatMul", 36)).collect();
        assert_eq!(chosen(&transformer, vnni()).settings.method, Method::Dynamic);
        let node = ["Conv", "LSTM"].map(|operator| NodeProto::new(operator, "", &[], &[])).to_vec();
        let inner = Some(Box::new(GraphProto { node, ..Default::default() }));
        let mut holder = NodeProto::new("If", "", &[], &[]);
        holder.attribute.push(AttributeProto { g: inner, ..Default::default() });
        let graph = Some(GraphProto { node: vec![holder], ..Default::default() });
        let choice =
            choose(&ModelProto { graph, ..Default::default() }, &Cpu { architecture: "x86_64", features: vnni() });
        assert!(choice.settings.method == Method::Dynamic && choice.why.contains("1 recurrent"), "{}", choice.why);
    }

    #[test]
    fn a_processor_without_the_instruction_gets_seven_bits() {
        let choice = chosen(&["Conv"], vec!["avx2"]);
        assert!(choice.settings.reduce_range && choice.why.contains("7 bits"), "{}", choice.why);
        let choice = chosen(&["Conv"], vec!["avxvnni"]);
        assert!(!choice.settings.reduce_range && choice.why.starts_with("static"), "{}", choice.why);
        assert_eq!((choice.settings.activations, choice.settings.weights), (Integer::U8, Integer::S8));
    }
}
