//! Pictures against Pillow: every odd file decoded and resized here is within 2 of 255 of what Pillow makes of it.
//! `make fixtures` makes the files and the references with `tests/python/make_pictures.py`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use edge_service::core::tensor::{DataType, ModelSpec, Tensor, TensorData, TensorSpec};
use edge_service::image::{ImageModel, Limits, Picture, decode, read_npy};
use serde_json::Value;

use crate::harness::repository;

/// The most that a channel may differ.
const BOUND: u8 = 2;

const LIMITS: Limits = Limits { max_pixels: 50_000_000 };

fn folder() -> PathBuf {
    repository("target/fixtures/pictures")
}

fn entries() -> Vec<Value> {
    let manifest = folder().join("manifest.json");
    let Ok(text) = std::fs::read_to_string(&manifest) else {
        panic!("{} is not there: run make fixtures", manifest.display());
    };
    let manifest: Value = serde_json::from_str(&text).unwrap();
    manifest["pictures"].as_array().unwrap().clone()
}

fn text(entry: &Value, key: &str) -> String {
    entry[key].as_str().unwrap_or_else(|| panic!("no {key} in {entry}")).to_owned()
}

fn decoded(entry: &Value) -> Picture {
    let file = text(entry, "file");
    let bytes = std::fs::read(folder().join(&file)).unwrap();
    decode(&bytes, &LIMITS).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn reference(entry: &Value) -> Tensor {
    let file = text(entry, "reference");
    read_npy(&std::fs::read(folder().join(&file)).unwrap(), &file).unwrap()
}

fn raw(tensor: &Tensor) -> &[u8] {
    match tensor.data() {
        TensorData::Raw(raw) => raw,
        TensorData::Strings(_) => panic!("{} holds strings", tensor.name()),
    }
}

/// The picture as the entry's case resizes it: through `model.toml` and a model that takes bytes.
fn resized(entry: &Value, picture: &Picture) -> Tensor {
    let number = |key: &str| entry[key].as_i64();
    let (width, height) = (number("width").unwrap(), number("height").unwrap());
    let mut toml = format!(
        "[input]\nlayout = \"nhwc\"\nresize = \"{}\"\nfilter = \"{}\"\n",
        text(entry, "mode"),
        text(entry, "filter")
    );
    if entry["mode"] == "fit" {
        toml += &format!("padding = {}\n", entry["padding"]);
    }
    if let Some(side) = number("shorter_side") {
        toml += &format!("shorter_side = {side}\n");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.toml"), toml).unwrap();
    let spec = |name: &str, datatype, shape| TensorSpec { name: name.into(), datatype, shape, optional: false };
    let spec = ModelSpec {
        inputs: vec![spec("image", DataType::Uint8, vec![-1, height, width, 3])],
        outputs: vec![spec("scores", DataType::Fp32, vec![-1, 10])],
        ..ModelSpec::default()
    };
    let model = ImageModel::beside(&folder.path().join("model.onnx")).unwrap().unwrap();
    model.check(&spec).unwrap().preprocess(picture).unwrap()
}

fn largest_difference(ours: &[u8], theirs: &[u8]) -> u8 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

fn report(worst: &BTreeMap<String, u8>) {
    let lines: Vec<String> = worst.iter().map(|(name, difference)| format!("{difference} {name}")).collect();
    println!("differences, of 255:\n{}", lines.join("\n"));
    assert!(worst.values().all(|difference| *difference <= BOUND), "over {BOUND} of 255: run with --nocapture");
}

#[test]
fn resized_pixels_are_those_of_pillow() {
    let mut worst = BTreeMap::new();
    for entry in entries().iter().filter(|entry| entry["case"] != "whole") {
        let (picture, reference) = (decoded(entry), reference(entry));
        let ours = resized(entry, &picture);
        assert_eq!(ours.shape()[1..], *reference.shape(), "{entry}");
        worst.insert(text(entry, "reference"), largest_difference(raw(&ours), raw(&reference)));
    }
    let files: BTreeSet<String> = entries().iter().map(|entry| text(entry, "file")).collect();
    assert!(files.len() >= 10, "only {} pictures: run make fixtures", files.len());
    report(&worst);
}

/// Before any resizing the pixels are Pillow's own.
#[test]
fn whole_pictures_are_upright_and_those_of_pillow() {
    let mut worst = BTreeMap::new();
    for entry in entries().iter().filter(|entry| entry["case"] == "whole") {
        let (picture, reference) = (decoded(entry), reference(entry));
        assert_eq!([picture.height() as usize, picture.width() as usize, 3], *reference.shape(), "{entry}");
        worst.insert(text(entry, "file"), largest_difference(picture.pixels(), raw(&reference)));
    }
    report(&worst);
    assert!(worst.values().all(|difference| *difference == 0), "not exact: run with --nocapture");
}
