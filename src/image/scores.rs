//! Scores to predictions: activation, the best few, their labels.

use std::cmp::Ordering;

use crate::core::tensor::Tensor;

use super::ImageError;

/// One class and its score.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Prediction {
    /// The label, or the index as text where the model has no labels.
    pub label: String,
    /// The class, counted from 0 as in the model's output.
    pub index: usize,
    /// The score after the activation; not a number where the model gave none.
    pub score: f64,
}

/// What is done to the scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// Positive, and one in sum.
    Softmax,
    /// Each to between 0 and 1 by itself.
    Sigmoid,
}

impl Activation {
    fn apply(self, scores: &mut [f64]) {
        match self {
            Activation::None => (),
            Activation::Sigmoid => scores.iter_mut().for_each(|score| *score = 1.0 / (1.0 + (-*score).exp())),
            Activation::Softmax => {
                // The largest is taken off first, so that no exponential overflows.
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                scores.iter_mut().for_each(|score| *score = (*score - largest).exp());
                let sum: f64 = scores.iter().sum();
                scores.iter_mut().for_each(|score| *score /= sum);
            }
        }
    }
}

/// The scores in a tensor of one picture: `[N]`, or `[1, N]` with any dimensions of 1.
pub fn read(output: &Tensor) -> Result<Vec<f64>, ImageError> {
    let refuse = |reason: String| ImageError::Scores { output: output.name().to_owned(), reason };
    if output.shape().len() > 1 && output.shape().first() != Some(&1) {
        return Err(refuse(format!("its shape {:?} does not begin with a batch of 1", output.shape())));
    }
    if output.is_empty() {
        return Err(refuse(format!("its shape {:?} has no elements", output.shape())));
    }
    output.to_f64().ok_or_else(|| refuse("it holds strings: name an output of numbers in model.toml".to_owned()))
}

/// The best `top_k` of the scores, best first. Equal scores keep the order of their indices; what is not a number comes
/// last.
pub fn rank(mut scores: Vec<f64>, activation: Activation, top_k: usize, labels: Option<&[String]>) -> Vec<Prediction> {
    activation.apply(&mut scores);
    let mut ranked: Vec<(usize, f64)> = scores.into_iter().enumerate().collect();
    let best_first = |a: &(usize, f64), b: &(usize, f64)| better(a.1, b.1).then(a.0.cmp(&b.0));
    if top_k > 0 && top_k < ranked.len() {
        ranked.select_nth_unstable_by(top_k - 1, best_first);
    }
    ranked.truncate(top_k);
    ranked.sort_unstable_by(best_first);
    ranked
        .into_iter()
        .map(|(index, score)| {
            let label = labels.and_then(|labels| labels.get(index)).cloned().unwrap_or_else(|| index.to_string());
            Prediction { label, index, score }
        })
        .collect()
}

/// Higher first, not-a-number last: a total order, which the sort needs.
fn better(a: f64, b: f64) -> Ordering {
    a.is_nan().cmp(&b.is_nan()).then(b.partial_cmp(&a).unwrap_or(Ordering::Equal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::tensor::{DataType, TensorData};

    fn order(scores: &[f64], top_k: usize) -> Vec<usize> {
        rank(scores.to_vec(), Activation::None, top_k, None).iter().map(|prediction| prediction.index).collect()
    }

    #[test]
    fn ties_keep_their_order_and_nan_comes_last() {
        assert_eq!(order(&[1.0, 3.0, 3.0, 2.0], 3), [1, 2, 3]);
        assert_eq!(order(&[f64::NAN, 1.0, f64::NAN, f64::INFINITY, -0.0, 0.0], 9), [3, 1, 4, 5, 0, 2]);
        assert_eq!(order(&[f64::NAN; 4], 2), [0, 1]);
        assert_eq!(order(&[5.0; 100], 4), [0, 1, 2, 3]);
        assert!(order(&[1.0], 0).is_empty());
    }

    #[test]
    fn softmax_sums_to_one_and_does_not_overflow() {
        let ranked = rank(vec![1000.0, 1001.0, -1e300], Activation::Softmax, 3, None);
        let sum: f64 = ranked.iter().map(|prediction| prediction.score).sum();
        assert!((sum - 1.0).abs() < 1e-12);
        // e / (1 + e)
        assert!((ranked[0].score - 0.731_058_578_630_004_9).abs() < 1e-12);
        assert_eq!(ranked[0].index, 1);
    }

    #[test]
    fn softmax_does_not_hide_what_is_not_a_number() {
        let ranked = rank(vec![1.0, f64::NAN], Activation::Softmax, 2, None);
        assert!(ranked.iter().all(|prediction| prediction.score.is_nan()));
    }

    #[test]
    fn sigmoid_is_bounded() {
        let ranked = rank(vec![0.0, 1e6, -1e6], Activation::Sigmoid, 3, None);
        assert_eq!(ranked.iter().map(|prediction| prediction.score).collect::<Vec<_>>(), [1.0, 0.5, 0.0]);
    }

    #[test]
    fn labels_fall_back_to_the_index() {
        let labels = ["cat".to_owned()];
        let ranked = rank(vec![2.0, 1.0], Activation::None, 2, Some(&labels));
        assert_eq!((ranked[0].label.as_str(), ranked[1].label.as_str()), ("cat", "1"));
    }

    #[test]
    fn only_one_picture_has_scores() {
        let tensor = |shape: Vec<usize>, bytes: usize| {
            Tensor::new("s", DataType::Uint8, shape, TensorData::Raw(vec![7; bytes].into())).unwrap()
        };
        assert_eq!(read(&tensor(vec![3], 3)).unwrap(), [7.0; 3]);
        assert_eq!(read(&tensor(vec![1, 3, 1, 1], 3)).unwrap(), [7.0; 3]);
        assert_eq!(read(&tensor(vec![], 1)).unwrap(), [7.0]);
        assert!(read(&tensor(vec![2, 3], 6)).is_err());
        assert!(read(&tensor(vec![1, 0], 0)).is_err());
        let strings = Tensor::new("s", DataType::Bytes, vec![1], TensorData::Strings(vec![bytes::Bytes::new()]));
        assert!(read(&strings.unwrap()).is_err());
    }
}
