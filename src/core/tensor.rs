//! Tensors as the daemon carries them: a datatype of the Open Inference Protocol, a shape, and row-major
//! little-endian contents that several rooms can share without a copy.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// An element type that the protocol can name.
///
/// Source: Open Inference Protocol V2, "Tensor Data Types", and `BF16` of the binary extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataType {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned, 1 byte.
    Uint8,
    /// Unsigned, 2 bytes.
    Uint16,
    /// Unsigned, 4 bytes.
    Uint32,
    /// Unsigned, 8 bytes.
    Uint64,
    /// Signed, 1 byte.
    Int8,
    /// Signed, 2 bytes.
    Int16,
    /// Signed, 4 bytes.
    Int32,
    /// Signed, 8 bytes.
    Int64,
    /// IEEE 754 half precision, 2 bytes.
    Fp16,
    /// bfloat16, 2 bytes.
    Bf16,
    /// IEEE 754 single precision, 4 bytes.
    Fp32,
    /// IEEE 754 double precision, 8 bytes.
    Fp64,
    /// A string of bytes of any length: `tensor(string)` of ONNX.
    Bytes,
}

impl DataType {
    /// Every datatype, in the order of the protocol's table.
    pub const ALL: [DataType; 14] = [
        DataType::Bool,
        DataType::Uint8,
        DataType::Uint16,
        DataType::Uint32,
        DataType::Uint64,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::Fp16,
        DataType::Bf16,
        DataType::Fp32,
        DataType::Fp64,
        DataType::Bytes,
    ];

    /// The protocol's word, such as `FP32`.
    pub fn name(self) -> &'static str {
        match self {
            DataType::Bool => "BOOL",
            DataType::Uint8 => "UINT8",
            DataType::Uint16 => "UINT16",
            DataType::Uint32 => "UINT32",
            DataType::Uint64 => "UINT64",
            DataType::Int8 => "INT8",
            DataType::Int16 => "INT16",
            DataType::Int32 => "INT32",
            DataType::Int64 => "INT64",
            DataType::Fp16 => "FP16",
            DataType::Bf16 => "BF16",
            DataType::Fp32 => "FP32",
            DataType::Fp64 => "FP64",
            DataType::Bytes => "BYTES",
        }
    }

    /// The datatype of a protocol word, if it is one.
    pub fn parse(word: &str) -> Option<DataType> {
        DataType::ALL.into_iter().find(|datatype| datatype.name() == word)
    }

    /// Bytes of one element; `None` for [`DataType::Bytes`], whose elements have any length.
    pub fn element_bytes(self) -> Option<usize> {
        match self {
            DataType::Bool | DataType::Uint8 | DataType::Int8 => Some(1),
            DataType::Uint16 | DataType::Int16 | DataType::Fp16 | DataType::Bf16 => Some(2),
            DataType::Uint32 | DataType::Int32 | DataType::Fp32 => Some(4),
            DataType::Uint64 | DataType::Int64 | DataType::Fp64 => Some(8),
            DataType::Bytes => None,
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Stands alone in the place of a shape that the model does not tell: it takes any.
pub const ANY_RANK: i64 = -2;

/// One input or output as the model declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name in the graph.
    pub name: String,
    /// The element type.
    pub datatype: DataType,
    /// Dimensions, `-1` where the model leaves one open; empty for a scalar; [`ANY_RANK`] alone where it leaves even their
    /// number open.
    pub shape: Vec<i64>,
    /// An input that has an initialiser: it may be left out of a request.
    pub optional: bool,
}

impl TensorSpec {
    /// Whether a tensor of this shape fits: the same rank, and equal where the model fixes a dimension.
    pub fn accepts(&self, shape: &[usize]) -> bool {
        self.shape == [ANY_RANK]
            || self.shape.len() == shape.len()
                && self.shape.iter().zip(shape).all(|(want, got)| *want < 0 || usize::try_from(*want) == Ok(*got))
    }

    /// The shape as the protocol can say it, which has no word for any number of dimensions: one that is open.
    pub fn told_shape(&self) -> Vec<i64> {
        self.shape.iter().map(|dim| (*dim).max(-1)).collect()
    }
}

/// What a model takes and gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelSpec {
    /// Inputs in the graph's order, optional ones included and marked.
    pub inputs: Vec<TensorSpec>,
    /// Outputs in the graph's order, tensors only.
    pub outputs: Vec<TensorSpec>,
    /// Names of outputs that are no tensors (sequences, maps): known, and refused when asked for.
    pub left_out: Vec<String>,
    /// The names of the classes along the last axis of an output, where the file tells them.
    pub classes: BTreeMap<String, Arc<[String]>>,
}

impl ModelSpec {
    /// The names of the classes of an output, where the file tells them.
    pub fn classes(&self, output: &str) -> Option<&[String]> {
        self.classes.get(output).map(AsRef::as_ref)
    }
}

/// Contents of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TensorData {
    /// Row-major little-endian elements without padding; cheap to clone, of any alignment.
    Raw(Bytes),
    /// One entry an element, for [`DataType::Bytes`].
    Strings(Vec<Bytes>),
}

/// A named tensor whose contents have the size that its shape and datatype ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    name: String,
    datatype: DataType,
    shape: Vec<usize>,
    data: TensorData,
}

/// Why contents and shape do not make a tensor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The number of elements does not fit the machine.
    #[error("tensor '{name}' of shape {shape:?} has more elements than this machine can count")]
    Overflow {
        /// The tensor's name.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// Fixed-size elements: the number of bytes is wrong.
    #[error("tensor '{name}' of type {datatype} and shape {shape:?} needs {want} bytes, got {got}")]
    ByteSize {
        /// The tensor's name.
        name: String,
        /// Its datatype.
        datatype: DataType,
        /// Its shape.
        shape: Vec<usize>,
        /// Bytes that shape and datatype ask for.
        want: usize,
        /// Bytes that came.
        got: usize,
    },
    /// Strings: the number of elements is wrong.
    #[error("tensor '{name}' of shape {shape:?} needs {want} elements, got {got}")]
    ElementCount {
        /// The tensor's name.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Elements that the shape asks for.
        want: usize,
        /// Elements that came.
        got: usize,
    },
    /// The datatype and the form of the contents do not go together.
    #[error("tensor '{name}' of type {datatype} cannot hold contents of this form")]
    Form {
        /// The tensor's name.
        name: String,
        /// Its datatype.
        datatype: DataType,
    },
}

impl Tensor {
    /// A tensor, if `data` holds exactly what `datatype` and `shape` ask for.
    ///
    /// # Errors
    /// [`TensorError`] names the mismatch.
    pub fn new(
        name: impl Into<String>,
        datatype: DataType,
        shape: Vec<usize>,
        data: TensorData,
    ) -> Result<Tensor, TensorError> {
        let name = name.into();
        let Some(count) = element_count(&shape) else { return Err(TensorError::Overflow { name, shape }) };
        match (&data, datatype.element_bytes()) {
            (TensorData::Raw(bytes), Some(size)) => {
                let Some(want) = count.checked_mul(size) else { return Err(TensorError::Overflow { name, shape }) };
                if bytes.len() != want {
                    return Err(TensorError::ByteSize { name, datatype, shape, want, got: bytes.len() });
                }
            }
            (TensorData::Strings(strings), None) => {
                if strings.len() != count {
                    return Err(TensorError::ElementCount { name, shape, want: count, got: strings.len() });
                }
            }
            _ => return Err(TensorError::Form { name, datatype }),
        }
        Ok(Tensor { name, datatype, shape, data })
    }

    /// The name in the graph.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The element type.
    pub fn datatype(&self) -> DataType {
        self.datatype
    }

    /// Dimensions; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The contents.
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether some dimension is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as `f64`, for any datatype that is a number or a boolean; `None` for strings.
    /// 64-bit integers lose what a double cannot hold: meant for scores, not for transport.
    pub fn to_f64(&self) -> Option<Vec<f64>> {
        let TensorData::Raw(raw) = &self.data else { return None };
        macro_rules! read {
            ($type:ty) => {
                raw.as_chunks::<{ size_of::<$type>() }>().0.iter().map(|c| <$type>::from_le_bytes(*c) as f64).collect()
            };
        }
        Some(match self.datatype {
            DataType::Bool | DataType::Uint8 => raw.iter().map(|byte| f64::from(*byte)).collect(),
            DataType::Int8 => read!(i8),
            DataType::Uint16 => read!(u16),
            DataType::Uint32 => read!(u32),
            DataType::Uint64 => read!(u64),
            DataType::Int16 => read!(i16),
            DataType::Int32 => read!(i32),
            DataType::Int64 => read!(i64),
            DataType::Fp32 => read!(f32),
            DataType::Fp64 => read!(f64),
            DataType::Fp16 => raw.as_chunks::<2>().0.iter().map(|c| half::f16::from_le_bytes(*c).to_f64()).collect(),
            DataType::Bf16 => raw.as_chunks::<2>().0.iter().map(|c| half::bf16::from_le_bytes(*c).to_f64()).collect(),
            DataType::Bytes => return None,
        })
    }
}

/// The number of elements of a shape, 1 for a scalar; `None` where it overflows.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    // A zero anywhere makes the tensor empty, whatever the other dimensions multiply to.
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |count, dim| count.checked_mul(*dim))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_datatype_is_found_by_its_own_name() {
        for datatype in DataType::ALL {
            assert_eq!(DataType::parse(datatype.name()), Some(datatype));
        }
        assert_eq!(DataType::parse("STRING"), None);
    }

    #[test]
    fn a_scalar_has_one_element_and_a_zero_dimension_none() {
        assert_eq!(element_count(&[]), Some(1));
        assert_eq!(element_count(&[usize::MAX, 0, usize::MAX]), Some(0));
        assert_eq!(element_count(&[usize::MAX, 2]), None);
    }

    #[test]
    fn contents_must_have_the_size_of_their_shape() {
        let raw = TensorData::Raw(Bytes::from_static(&[0; 8]));
        assert!(Tensor::new("x", DataType::Fp32, vec![2], raw.clone()).is_ok());
        assert!(matches!(
            Tensor::new("x", DataType::Fp32, vec![3], raw.clone()),
            Err(TensorError::ByteSize { want: 12, got: 8, .. })
        ));
        assert!(matches!(Tensor::new("x", DataType::Bytes, vec![2], raw), Err(TensorError::Form { .. })));
    }

    #[test]
    fn scores_read_alike_from_every_float_type() {
        let halves = TensorData::Raw(Bytes::copy_from_slice(&half::f16::from_f32(1.5).to_le_bytes()));
        let half = Tensor::new("x", DataType::Fp16, vec![1], halves).unwrap();
        assert_eq!(half.to_f64(), Some(vec![1.5]));
        let doubles = TensorData::Raw(Bytes::copy_from_slice(&(-2.0f64).to_le_bytes()));
        let double = Tensor::new("x", DataType::Fp64, vec![], doubles).unwrap();
        assert_eq!(double.to_f64(), Some(vec![-2.0]));
    }

    #[test]
    fn a_spec_accepts_what_it_leaves_open() {
        let spec = TensorSpec { name: "x".into(), datatype: DataType::Fp32, shape: vec![-1, 3], optional: false };
        assert!(spec.accepts(&[7, 3]));
        assert!(!spec.accepts(&[7, 4]));
        assert!(!spec.accepts(&[3]));
        let any = TensorSpec { shape: vec![ANY_RANK], ..spec };
        assert!(any.accepts(&[]) && any.accepts(&[0]) && any.accepts(&[2, 3, 4]));
        assert_eq!(any.told_shape(), [-1]);
    }
}
