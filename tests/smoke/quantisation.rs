//! The model is quantised by the binary's own command, and the result is as right and as small as it should be.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::Setup;
use crate::stage::Stage;

/// The quantiser works on the shipped model and tells what it did.
pub fn set_up(stage: &mut Stage) {
    let report = stage.report();
    assert!(stage.quantized().is_file(), "there is no {}", stage.quantized().display());
    assert_eq!(report["method"], "static", "a net of convolutions is quantised from samples: {report}");
}

/// On pictures that it has not seen, the INT8 form says what the original says.
pub fn validation(stage: &mut Stage) {
    stage.report();
    let samples = stage.samples();
    let predictions = |model: &Path| -> Vec<String> {
        let setup = Setup::default().model(model).arg("--json");
        let setup = samples.iter().fold(setup, |setup, (file, _)| setup.arg(file.to_str().unwrap()));
        let (code, said, complaints) = setup.run("infer");
        assert_eq!(code, 0, "{complaints}");
        let label = |line: &str| {
            let answer: Value = serde_json::from_str(line).unwrap();
            answer["predictions"][0]["label"].as_str().unwrap().to_owned()
        };
        said.lines().map(label).collect()
    };
    let (original, quantized) = (predictions(&stage.original()), predictions(&stage.quantized()));
    assert_eq!(quantized.len(), samples.len());
    let same = original.iter().zip(&quantized).filter(|(a, b)| a == b).count();
    let right = samples.iter().zip(&quantized).filter(|((_, digit), label)| **label == digit.to_string()).count();
    // One of twenty may lie on an edge.
    assert!(same + 1 >= samples.len() && right + 1 >= samples.len(), "{same} are the same, {right} are right");
}

/// At least three times smaller, and the report says so too.
pub fn compression_ratio(stage: &mut Stage) {
    let report = stage.report();
    let size = |path: &Path| fs::metadata(path).unwrap().len();
    let (before, after) = (size(&stage.original()), size(&stage.quantized()));
    assert!(before as f64 / after as f64 >= 3.0, "{before} bytes became {after}");
    assert_eq!(
        (report["size"]["before_bytes"].as_u64(), report["size"]["after_bytes"].as_u64()),
        (Some(before), Some(after))
    );
}
