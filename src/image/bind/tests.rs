use super::*;

fn tensor(name: &str, shape: &[i64]) -> TensorSpec {
    TensorSpec { name: name.into(), datatype: DataType::Fp32, shape: shape.to_vec(), optional: false }
}

fn model(toml: &str, labels: Option<&str>) -> ImageModel {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.toml"), toml).unwrap();
    if let Some(labels) = labels {
        std::fs::write(folder.path().join("labels.txt"), labels).unwrap();
    }
    ImageModel::beside(&folder.path().join("model.onnx")).unwrap().unwrap()
}

fn spec(input: &[i64], output: &[i64]) -> ModelSpec {
    ModelSpec { inputs: vec![tensor("x", input)], outputs: vec![tensor("y", output)], ..ModelSpec::default() }
}

fn problems(toml: &str, labels: Option<&str>, spec: &ModelSpec) -> String {
    model(toml, labels).check(spec).unwrap_err().join("\n")
}

#[test]
fn the_shape_follows_layout_and_rank() {
    let bound = model("", None).check(&spec(&[-1, 3, 4, 6], &[-1, 10])).unwrap();
    assert_eq!((bound.input_name(), bound.output_name(), bound.shape()), ("x", "y", &[1, 3, 4, 6][..]));
    let bound = model("[input]\nlayout = \"nhwc\"\nwidth = 6", None).check(&spec(&[4, -1, 3], &[10])).unwrap();
    assert_eq!(bound.shape(), [4, 6, 3]);
    let grey = "[input]\ncolor = \"gray\"\nwidth = 6\nheight = 4";
    assert_eq!(model(grey, None).check(&spec(&[-1, -1, -1, -1], &[1])).unwrap().shape(), [1, 1, 4, 6]);
}

#[test]
fn every_disagreement_is_told_at_once() {
    let toml = "[input]\nwidth = 7\nheight = 8\ndtype = \"uint8\"\n[output]\nname = \"z\"";
    let all = problems(toml, Some("a\nb"), &spec(&[2, 9, 6, 3], &[1, 10]));
    for piece in [
        "batches of 2",
        "did you mean layout = \"nhwc\"",
        "input.width is 7, input 'x' has 3",
        "input.height is 8, input 'x' has 6",
        "input.dtype is \"uint8\", input 'x' is FP32",
        "output.name is \"z\", the outputs are 'y' [1, 10]",
    ] {
        assert!(all.contains(piece), "no '{piece}' in:\n{all}");
    }
}

#[test]
fn labels_must_be_as_many_as_scores() {
    for shape in [&[1, 3][..], &[-1, 3], &[3], &[1, 3, 1, 1]] {
        let all = problems("", Some("a\nb"), &spec(&[1, 3, 4, 4], shape));
        assert!(all.contains("2 labels, output 'y' gives 3 scores"), "{all}");
    }
    assert!(model("", Some("a\nb")).check(&spec(&[1, 3, 4, 4], &[-1, -1])).is_ok());
}

#[test]
fn an_open_size_must_be_given() {
    let all = problems("", None, &spec(&[-1, 3, -1, -1], &[1]));
    assert!(all.contains("input.width is missing") && all.contains("input.height is missing"), "{all}");
}

#[test]
fn the_picture_input_is_found_or_asked_for() {
    let mut two = spec(&[1, 3, 4, 4], &[5]);
    two.inputs.push(tensor("mask", &[1, 1, 4, 4]));
    assert!(problems("", None, &two).contains("set input.name"));
    assert!(problems("[input]\nname = \"x\"", None, &two).contains("also needs input 'mask'"));
    two.inputs[1].optional = true;
    assert!(model("", None).check(&two).is_ok());
    assert!(problems("[input]\nname = \"w\"", None, &two).contains("input.name is \"w\""));
    assert!(problems("", None, &spec(&[1, 16], &[5])).contains("no input has 3 or 4 dimensions"));
    assert!(problems("[input]\nname = \"x\"", None, &spec(&[1, 16], &[5])).contains("has 2 dimensions"));
    assert!(problems("", None, &ModelSpec::default()).contains("there are none"));
}

#[test]
fn the_scores_output_is_found_or_asked_for() {
    let mut two = spec(&[1, 3, 4, 4], &[5]);
    two.outputs.push(tensor("boxes", &[1, 4]));
    two.left_out.push("map".into());
    assert!(problems("", None, &two).contains("set output.name"));
    assert!(problems("[output]\nname = \"map\"", None, &two).contains("no tensor"));
    assert_eq!(model("[output]\nname = \"boxes\"", None).check(&two).unwrap().output_name(), "boxes");
    two.outputs[1].datatype = DataType::Bytes;
    assert!(problems("[output]\nname = \"boxes\"", None, &two).contains("strings"));
}

#[test]
fn a_picture_becomes_the_tensor_that_the_model_declares() {
    let picture = Picture::from_rgb(1, 1, vec![255, 0, 51]).unwrap();
    let bound = model("", None).check(&spec(&[-1, 3, 1, 2], &[1])).unwrap();
    let made = bound.preprocess(&picture).unwrap();
    assert!(spec(&[-1, 3, 1, 2], &[1]).inputs[0].accepts(made.shape()));
    let values: Vec<f32> = made.to_f64().unwrap().into_iter().map(|value| value as f32).collect();
    assert_eq!(values, [1.0, 1.0, 0.0, 0.0, 0.2, 0.2]);
    // Integers are not scaled unless they are told to be.
    let mut quantised = spec(&[1, 1, 2, 3], &[1]);
    quantised.inputs[0].datatype = DataType::Uint8;
    let made = model("[input]\nlayout = \"nhwc\"", None).check(&quantised).unwrap().preprocess(&picture).unwrap();
    assert_eq!(made.to_f64().unwrap(), [255.0, 0.0, 51.0, 255.0, 0.0, 51.0]);
}

#[test]
fn predictions_carry_labels_and_the_asked_number() {
    let bound = model("[output]\ntop_k = 2", Some("a\nb\nc")).check(&spec(&[1, 3, 2, 2], &[1, 3])).unwrap();
    let scores = |values: [f32; 3], shape: Vec<usize>| {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        vec![Tensor::new("y", DataType::Fp32, shape, TensorData::Raw(raw.into())).unwrap()]
    };
    let best = bound.postprocess(&scores([0.5, 2.0, 1.0], vec![1, 3]), None, 5).unwrap();
    assert_eq!(best.iter().map(|one| (one.label.as_str(), one.index)).collect::<Vec<_>>(), [("b", 1), ("c", 2)]);
    assert_eq!(bound.postprocess(&scores([0.5, 2.0, 1.0], vec![1, 3]), Some(usize::MAX), 5).unwrap().len(), 3);
    assert_eq!(bound.postprocess(&scores([f32::NAN; 3], vec![3]), Some(1), 5).unwrap()[0].index, 0);
    assert!(bound.postprocess(&[], None, 5).unwrap_err().to_string().contains("did not give it"));
    assert!(bound.postprocess(&scores([0.0; 3], vec![3, 1]), None, 5).is_err());
    let short = Tensor::new("y", DataType::Uint8, vec![1, 2], TensorData::Raw(vec![0, 1].into())).unwrap();
    assert!(bound.postprocess(&[short], None, 5).unwrap_err().to_string().contains("2 scores for 3 labels"));
}
