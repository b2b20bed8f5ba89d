//! LSTM layers: the runtime has an operator of its own for them, with weights of 8 bits.

use super::dynamic::VENDOR;
use crate::onnx::graph::Names;
use crate::onnx::proto::{NodeProto, TensorProto};
use crate::quantize::Integer;
use crate::quantize::rules::{View, dynamic_form};
use crate::quantize::scales::Weight;

/// The node in an LSTM's place, and its constants.
pub(super) struct Made {
    pub node: NodeProto,
    pub initializers: Vec<TensorProto>,
}

/// `LSTM` to `DynamicQuantizeLSTM`: weights are turned, `[directions, 4 * hidden, inputs]` to `[directions, inputs, 4 * hidden]`.
pub(super) fn lstm(node: &NodeProto, view: &View, names: &mut Names) -> Result<Made, String> {
    if node.int("layout").unwrap_or(0) != 0 {
        return Err("the runtime's INT8 form of it has no batch-first layout".to_owned());
    }
    if view.settings.weights != Integer::S8 {
        return Err("the runtime's INT8 form of it has signed weights".to_owned());
    }
    let mut initializers = Vec::new();
    let mut inputs: Vec<String> = (0..8).map(|place| node.source(place).unwrap_or_default().to_owned()).collect();
    let mut parameters = Vec::new();
    for place in [1, 2] {
        let name = node.source(place).ok_or("it has no weights")?;
        let tensor = view.weight(name)?;
        let shape = tensor.shape().map_err(|fault| fault.to_string())?;
        let [directions, gates, width] = shape[..] else { return Err("its weights have an unknown shape".to_owned()) };
        // Either a scale a direction, or one a gate of each unit.
        let rows = if view.settings.per_channel { directions * gates } else { directions };
        let length = directions * gates * width / rows.max(1);
        let sizes: &[usize] = if view.settings.per_channel { &[directions, gates] } else { &[directions] };
        let flat = TensorProto { dims: vec![rows as i64, length as i64], ..tensor.clone() };
        let weight =
            Weight::new(&flat, dynamic_form(view.settings, Some(0))).ok_or("its weights are not all finite")?;
        let mut fresh = |suffix: &str| names.fresh(&format!("{name}{suffix}"));
        let (numbers, scale, zero) = (fresh("_quantized"), fresh("_scale"), fresh("_zero_point"));
        let dims =
            |tensor: TensorProto| TensorProto { dims: sizes.iter().map(|size| *size as i64).collect(), ..tensor };
        let straight = weight.numbers(&numbers).raw_data.unwrap_or_default();
        let turned = |place: usize| {
            let (direction, rest) = (place / (gates * width), place % (gates * width));
            straight[direction * gates * width + (rest % gates) * width + rest / gates]
        };
        let turned: Vec<u8> = (0..straight.len()).map(turned).collect();
        initializers.push(TensorProto::of_bytes(&numbers, Integer::S8.element(), &[directions, width, gates], turned));
        initializers.extend([dims(weight.scales(&scale)), dims(weight.zeros(&zero))]);
        inputs[place] = numbers;
        parameters.extend([scale, zero]);
    }
    inputs.extend(parameters);
    let mut made = NodeProto {
        op_type: Some("DynamicQuantizeLSTM".to_owned()),
        domain: Some(VENDOR.to_owned()),
        name: Some(names.fresh(&format!("{}_quant", node.label()))),
        input: inputs,
        ..node.clone()
    };
    made.take("layout");
    Ok(Made { node: made, initializers })
}
