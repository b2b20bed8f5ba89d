use bytes::Bytes;

use super::*;

fn tensor(name: &str, shape: &[usize], values: &[f32]) -> Tensor {
    let raw = values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    Tensor::new(name, DataType::Fp32, shape.to_vec(), TensorData::Raw(Bytes::from(raw))).unwrap()
}

fn whole(name: &str, values: &[i64]) -> Tensor {
    let raw = values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    Tensor::new(name, DataType::Int64, vec![values.len()], TensorData::Raw(Bytes::from(raw))).unwrap()
}

fn compare(samples: &[(Vec<Tensor>, Vec<Tensor>)]) -> Comparison {
    let mut comparison = Comparison::default();
    samples.iter().for_each(|(float, other)| comparison.add(float, other));
    comparison
}

fn near(value: f64, wanted: f64) -> bool {
    (value - wanted).abs() < 1e-6
}

/// A YOLO-like output: `rows` boxes of 10 by 10, of which those in `confident` score 0.9 for class 1 of 2.
fn yolo(rows: usize, confident: &[usize]) -> Vec<f32> {
    let row = |row: usize| {
        let objectness = if confident.contains(&row) { 1.0 } else { 0.1 };
        [row as f32 * 10.0, 50.0, 10.0, 10.0, objectness, 0.2, 0.9]
    };
    (0..rows).flat_map(row).collect()
}

#[test]
fn nothing_compared_is_no_agreement() {
    let none = Comparison::default();
    assert_eq!((none.value(), none.samples(), none.kind()), (0.0, 0, None));
    assert_eq!(none.text(), "no sample was compared");
}

#[test]
fn a_classifier_is_counted_by_its_best_class_whatever_its_labels() {
    let float = vec![whole("label", &[1, 0]), tensor("scores", &[2, 3], &[0.1, 0.7, 0.2, 3.0, 2.0, 1.0])];
    let other = vec![whole("label", &[1, 1]), tensor("scores", &[2, 3], &[0.1, 0.6, 0.3, 2.0, 2.5, 1.0])];
    let comparison = compare(&[(float.clone(), other), (float.clone(), float)]);
    assert_eq!(comparison.kind(), Some(&Kind::Classifier { output: 1 }));
    assert!(near(comparison.value(), 0.75), "{}", comparison.text());
    assert_eq!(comparison.text(), "the same best class in 3 of 4 rows");
    assert_eq!((comparison.measure(), comparison.default_target()), ("top-1", 0.98));
    assert_eq!(comparison.errors()[0].name, "label");
    assert!(comparison.errors()[0].error > 0.0);

    let plane = vec![tensor("y", &[1, 2, 1, 1], &[0.0, 1.0])];
    assert!(matches!(compare(&[(plane.clone(), plane)]).kind(), Some(Kind::Classifier { .. })));
}

#[test]
fn the_same_best_class_is_no_agreement_where_the_scores_are_far_off() {
    // Two values a row of which the second is always larger, as of a regression: both argmaxes are the same.
    let float = vec![tensor("y", &[2, 2], &[1.0, 10.0, 2.0, 20.0])];
    let near_by = compare(&[(float.clone(), vec![tensor("y", &[2, 2], &[1.5, 9.0, 2.5, 21.0])])]);
    assert_eq!((near_by.value(), near_by.text().as_str()), (1.0, "the same best class in 2 of 2 rows"));
    let far = compare(&[(float, vec![tensor("y", &[2, 2], &[0.0, 2.0, 0.0, 4.0])])]);
    assert!(near(far.value(), 0.198) || far.value() < 0.25, "{}", far.value());
    assert!(far.text().starts_with("the same best class in 2 of 2 rows, and scores whose normalised error is 0.8"));
}

#[test]
fn scores_that_are_no_numbers_agree_with_nothing() {
    let float = vec![tensor("y", &[1, 3], &[0.0, 1.0, 0.0])];
    let other = vec![tensor("y", &[1, 3], &[0.0, f32::NAN, 0.0])];
    let comparison = compare(&[(float, other)]);
    assert_eq!((comparison.value(), comparison.worst_error()), (0.0, f64::INFINITY));
}

#[test]
fn embeddings_regressions_and_hidden_states_are_held_to_their_values() {
    let unit = 1.0 / 16f32.sqrt();
    let embedding: Vec<f32> = (0..16).map(|index| if index % 2 == 0 { unit } else { -unit }).collect();
    for (shape, values) in
        [(vec![1, 16], embedding), (vec![1, 1], vec![4.0]), (vec![1, 8, 2], (0..16).map(|x| x as f32 - 8.0).collect())]
    {
        let outputs = vec![tensor("y", &shape, &values)];
        let same = compare(&[(outputs.clone(), outputs)]);
        assert_eq!((same.kind(), same.value()), (Some(&Kind::Values), 1.0), "{shape:?}");
    }
    let float = vec![tensor("y", &[1, 1, 2], &[3.0, 4.0]), tensor("z", &[1], &[1.0])];
    let other = vec![tensor("y", &[1, 1, 2], &[3.0, 4.5]), tensor("z", &[1], &[1.0])];
    let comparison = compare(&[(float, other)]);
    assert!(near(comparison.value(), 0.9), "{}", comparison.value());
    assert!(near(comparison.default_target(), 0.95));
    assert_eq!(comparison.text(), "the worst output's normalised error is 0.1000");
}

#[test]
fn another_shape_is_no_agreement_and_unequal_text_a_share() {
    let float = vec![tensor("y", &[1, 1, 2], &[3.0, 4.0])];
    let other = vec![tensor("y", &[1, 1, 1], &[3.0])];
    assert_eq!(compare(&[(float, other)]).value(), 0.0);
    let half = compare(&[(vec![whole("y", &[1, 2])], vec![whole("y", &[1, 3])])]);
    assert!(near(half.value(), 0.5), "{}", half.value());
}

#[test]
fn a_yolo_like_output_is_counted_by_its_confident_rows() {
    let float = vec![tensor("y", &[1, 20, 7], &yolo(20, &[1, 2, 3, 4]))];
    let other = vec![tensor("y", &[1, 20, 7], &yolo(20, &[2, 3, 4, 9]))];
    let comparison = compare(&[(float.clone(), other)]);
    assert_eq!(comparison.kind(), Some(&Kind::Detector(Detector::Rows { output: 0 })));
    assert!(near(comparison.value(), 0.75), "{}", comparison.text());
    assert_eq!(comparison.text(), "3 rows confident in both, 4 in the original, 4 in the other");

    let mut moved = yolo(20, &[1, 2, 3, 4]);
    moved[7] += 40.0;
    let comparison = compare(&[(float, vec![tensor("y", &[1, 20, 7], &moved)])]);
    assert!(near(comparison.value(), 0.75), "a box that is elsewhere is not the same: {}", comparison.text());
}

#[test]
fn a_yolo_like_output_may_lie_on_its_side() {
    let columns = |confident: &[usize]| {
        let mut cells = vec![0.0f32; 6 * 30];
        for column in 0..30 {
            cells[column] = column as f32 * 4.0;
            cells[5 * 30 + column] = if confident.contains(&column) { 0.8 } else { 0.1 };
        }
        vec![tensor("y", &[1, 6, 30], &cells)]
    };
    let comparison = compare(&[(columns(&[3, 5]), columns(&[3]))]);
    assert_eq!(comparison.kind(), Some(&Kind::Detector(Detector::Columns { output: 0 })));
    assert!(near(comparison.value(), 2.0 / 3.0), "{}", comparison.text());
}

#[test]
fn background_is_no_confident_class() {
    let scores = |faces: &[usize]| {
        let row = |row: usize| if faces.contains(&row) { [0.2, 0.8] } else { [0.9, 0.1] };
        tensor("scores", &[1, 10, 2], &(0..10).flat_map(row).collect::<Vec<f32>>())
    };
    let boxes = tensor("boxes", &[1, 10, 4], &[0.5; 40]);
    let float = vec![scores(&[7, 8]), boxes.clone()];
    let comparison = compare(&[(float.clone(), vec![scores(&[7]), boxes.clone()])]);
    let apart = Detector::Apart { scores: 0, boxes: 1, background: Some(0) };
    assert_eq!(comparison.kind(), Some(&Kind::Detector(apart)));
    assert!(near(comparison.value(), 2.0 / 3.0), "{}", comparison.text());

    let nothing = vec![scores(&[]), boxes.clone()];
    let empty = compare(&[(nothing.clone(), nothing)]);
    assert_eq!((empty.value(), empty.measure()), (1.0, "normalised error"));
    assert!(empty.text().starts_with("no row is confident"), "{}", empty.text());
    let invented = compare(&[(vec![scores(&[]), boxes.clone()], float)]);
    assert_eq!(invented.value(), 0.0, "{}", invented.text());
}
