//! Contents of tensors: messages to values and back.

use bytes::Bytes;

use super::proto::{DataLocation, ElementType, TensorProto};

/// A tensor whose contents cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorFault {
    /// A size below zero, or a product beyond memory.
    #[error("the tensor {0:?} has an impossible shape")]
    Shape(String),
    /// Fewer or more elements than its shape says.
    #[error("the tensor {name:?} holds {found} bytes or elements where its shape wants {expected}")]
    Length {
        /// The tensor.
        name: String,
        /// What its shape says.
        expected: usize,
        /// What is there.
        found: usize,
    },
    /// Another element type than the caller can use.
    #[error("the tensor {name:?} has elements of type {element}, not {wanted}")]
    Element {
        /// The tensor.
        name: String,
        /// Its type's number.
        element: i32,
        /// What was asked for.
        wanted: &'static str,
    },
    /// Its contents are in another file, which was not read.
    #[error("the contents of the tensor {0:?} are in another file, which was not read")]
    External(String),
}

impl TensorProto {
    /// Its name; empty where it has none.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// Its element type; `None` for one that the specification does not know.
    pub fn element(&self) -> Option<ElementType> {
        ElementType::try_from(self.data_type.unwrap_or(0)).ok()
    }

    /// How many elements its shape says it has.
    pub fn elements(&self) -> Result<usize, TensorFault> {
        let mut sizes = self.dims.iter().map(|size| usize::try_from(*size).ok());
        let product = sizes.try_fold(1usize, |product, size| product.checked_mul(size?));
        product
            .filter(|count| *count <= isize::MAX as usize / 16)
            .ok_or_else(|| TensorFault::Shape(self.label().to_owned()))
    }

    /// Its sizes.
    pub fn shape(&self) -> Result<Vec<usize>, TensorFault> {
        self.elements()?;
        Ok(self.dims.iter().map(|size| usize::try_from(*size).unwrap_or(0)).collect())
    }

    /// Whether its contents are in another file.
    pub fn is_external(&self) -> bool {
        self.data_location == Some(DataLocation::External as i32)
    }

    /// Its contents as 32-bit floats; only for tensors of that type.
    pub fn floats(&self) -> Result<Vec<f32>, TensorFault> {
        self.expect(ElementType::Float, "float")?;
        let bytes = |raw: &Bytes| raw.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        self.contents(4, bytes, || self.float_data.clone())
    }

    /// Its contents as 64-bit integers; for tensors of 32 or 64 bits.
    pub fn integers(&self) -> Result<Vec<i64>, TensorFault> {
        if self.element() == Some(ElementType::Int32) {
            return Ok(self.words()?.into_iter().map(i64::from).collect());
        }
        self.expect(ElementType::Int64, "int64")?;
        let bytes = |raw: &Bytes| {
            raw.chunks_exact(8).map(|b| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]])).collect()
        };
        self.contents(8, bytes, || self.int64_data.clone())
    }

    /// Its contents as 32-bit integers.
    pub fn words(&self) -> Result<Vec<i32>, TensorFault> {
        self.expect(ElementType::Int32, "int32")?;
        let bytes = |raw: &Bytes| raw.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        self.contents(4, bytes, || self.int32_data.clone())
    }

    fn expect(&self, element: ElementType, wanted: &'static str) -> Result<(), TensorFault> {
        if self.element() == Some(element) {
            return Ok(());
        }
        Err(TensorFault::Element { name: self.label().to_owned(), element: self.data_type.unwrap_or(0), wanted })
    }

    fn contents<T>(
        &self,
        size: usize,
        raw: impl FnOnce(&Bytes) -> Vec<T>,
        typed: impl FnOnce() -> Vec<T>,
    ) -> Result<Vec<T>, TensorFault> {
        let count = self.elements()?;
        if self.is_external() {
            return Err(TensorFault::External(self.label().to_owned()));
        }
        let length = |expected, found| TensorFault::Length { name: self.label().to_owned(), expected, found };
        match &self.raw_data {
            Some(bytes) if bytes.len() == count * size => Ok(raw(bytes)),
            Some(bytes) if !bytes.is_empty() => Err(length(count * size, bytes.len())),
            _ => Some(typed()).filter(|values| values.len() == count).ok_or_else(|| length(count, 0)),
        }
    }

    /// A tensor of these bytes, little-endian.
    pub fn of_bytes(name: &str, element: ElementType, dims: &[usize], bytes: impl Into<Bytes>) -> TensorProto {
        TensorProto {
            name: Some(name.to_owned()),
            data_type: Some(element as i32),
            dims: dims.iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect(),
            raw_data: Some(bytes.into()),
            ..TensorProto::default()
        }
    }

    /// A tensor of 32-bit floats.
    pub fn of_floats(name: &str, dims: &[usize], values: &[f32]) -> TensorProto {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        TensorProto::of_bytes(name, ElementType::Float, dims, bytes)
    }

    /// A tensor of 32-bit integers.
    pub fn of_words(name: &str, dims: &[usize], values: &[i32]) -> TensorProto {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        TensorProto::of_bytes(name, ElementType::Int32, dims, bytes)
    }

    /// A vector of 64-bit integers.
    pub fn of_integers(name: &str, values: &[i64]) -> TensorProto {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        TensorProto::of_bytes(name, ElementType::Int64, &[values.len()], bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_from_both_forms() {
        let raw = TensorProto::of_floats("w", &[2, 2], &[1.0, -2.5, 0.0, 3.25]);
        assert_eq!(raw.floats().unwrap(), [1.0, -2.5, 0.0, 3.25]);
        let typed = TensorProto { raw_data: None, float_data: vec![1.0, 2.0], dims: vec![2], ..raw.clone() };
        assert_eq!(typed.floats().unwrap(), [1.0, 2.0]);
        assert_eq!(TensorProto::of_integers("axes", &[-1, 2]).integers().unwrap(), [-1, 2]);
        assert_eq!(TensorProto::of_words("b", &[2], &[7, -7]).integers().unwrap(), [7, -7]);
        assert_eq!(TensorProto::of_floats("empty", &[0], &[]).floats().unwrap(), [] as [f32; 0]);
    }

    #[test]
    fn a_shape_that_lies_is_told() {
        let mut tensor = TensorProto::of_floats("w", &[2], &[1.0, 2.0]);
        tensor.dims = vec![3];
        assert_eq!(tensor.floats(), Err(TensorFault::Length { name: "w".into(), expected: 12, found: 8 }));
        tensor.dims = vec![i64::MAX, i64::MAX];
        assert_eq!(tensor.floats(), Err(TensorFault::Shape("w".into())));
        tensor.dims = vec![-1];
        assert_eq!(tensor.elements(), Err(TensorFault::Shape("w".into())));
        tensor.dims = vec![2];
        assert!(matches!(tensor.words(), Err(TensorFault::Element { wanted: "int32", .. })));
    }
}
