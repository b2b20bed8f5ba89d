//! Tensors into values of the runtime and back, without a copy where alignment allows.

use std::ptr::NonNull;

use bytes::Bytes;
use ort::AsPointer;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::value::{DynValue, TensorElementType, ValueType};

use crate::core::tensor::{DataType, Tensor, TensorData, element_count};
use crate::engine::RunError;

/// The runtime's word for a datatype.
fn element_type(datatype: DataType) -> TensorElementType {
    match datatype {
        DataType::Bool => TensorElementType::Bool,
        DataType::Uint8 => TensorElementType::Uint8,
        DataType::Uint16 => TensorElementType::Uint16,
        DataType::Uint32 => TensorElementType::Uint32,
        DataType::Uint64 => TensorElementType::Uint64,
        DataType::Int8 => TensorElementType::Int8,
        DataType::Int16 => TensorElementType::Int16,
        DataType::Int32 => TensorElementType::Int32,
        DataType::Int64 => TensorElementType::Int64,
        DataType::Fp16 => TensorElementType::Float16,
        DataType::Bf16 => TensorElementType::Bfloat16,
        DataType::Fp32 => TensorElementType::Float32,
        DataType::Fp64 => TensorElementType::Float64,
        DataType::Bytes => TensorElementType::String,
    }
}

/// The protocol's datatype of a runtime type, if it has one.
pub(super) fn datatype(element: TensorElementType) -> Option<DataType> {
    DataType::ALL.into_iter().find(|datatype| element_type(*datatype) == element)
}

/// A value of the runtime that borrows a tensor's contents.
pub(super) struct Input<'a> {
    value: DynValue,
    _tensor: &'a Tensor,
}

impl<'a> Input<'a> {
    /// A view of `tensor`; its contents are copied only where they are not aligned for their type.
    pub(super) fn new(tensor: &'a Tensor) -> ort::Result<Input<'a>> {
        let value = match tensor.data() {
            TensorData::Raw(raw) => numbers(tensor, raw)?,
            TensorData::Strings(strings) => self::strings(tensor, strings)?,
        };
        Ok(Input { value, _tensor: tensor })
    }

    /// The value; it must not outlive the tensor, which the caller holds until the run is over.
    pub(super) fn into_value(self) -> DynValue {
        self.value
    }
}

fn dims(tensor: &Tensor) -> Vec<i64> {
    // A dimension beyond i64 cannot come with contents of that size.
    tensor.shape().iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect()
}

fn numbers(tensor: &Tensor, raw: &Bytes) -> ort::Result<DynValue> {
    let size = tensor.datatype().element_bytes().unwrap_or(1);
    if raw.is_empty() || !raw.as_ptr().addr().is_multiple_of(size) {
        return copied(tensor, raw);
    }
    let info = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Arena, MemoryType::CPUInput)?;
    let shape = dims(tensor);
    let mut value = std::ptr::null_mut();
    // SAFETY: the contents live as long as the tensor, which outlives the run; the runtime reads `raw.len()`
    // bytes, and never writes into the inputs of a graph.
    unsafe {
        let status = (ort::api().CreateTensorWithDataAsOrtValue)(
            info.ptr(),
            raw.as_ptr().cast_mut().cast(),
            raw.len(),
            shape.as_ptr(),
            shape.len(),
            element_type(tensor.datatype()).into(),
            &mut value,
        );
        ort::Error::result_from_status(status)?;
    }
    own(value)
}

/// A tensor in memory of the runtime's own, aligned for any type.
fn allocated(tensor: &Tensor) -> ort::Result<*mut ort::sys::OrtValue> {
    let mut allocator = Allocator::default();
    let shape = dims(tensor);
    let mut value = std::ptr::null_mut();
    // SAFETY: allocator and shape are valid for the call.
    unsafe {
        let status = (ort::api().CreateTensorAsOrtValue)(
            allocator.ptr_mut(),
            shape.as_ptr(),
            shape.len(),
            element_type(tensor.datatype()).into(),
            &mut value,
        );
        ort::Error::result_from_status(status)?;
    }
    Ok(value)
}

fn copied(tensor: &Tensor, raw: &Bytes) -> ort::Result<DynValue> {
    let value = allocated(tensor)?;
    if !raw.is_empty() {
        let mut data = std::ptr::null_mut();
        // SAFETY: the value was made for this shape and type, hence for exactly `raw.len()` bytes.
        unsafe {
            ort::Error::result_from_status((ort::api().GetTensorMutableData)(value, &mut data))?;
            std::ptr::copy_nonoverlapping(raw.as_ptr(), data.cast::<u8>(), raw.len());
        }
    }
    own(value)
}

/// Element by element with its length, so that an embedded NUL stays what it is.
fn strings(tensor: &Tensor, strings: &[Bytes]) -> ort::Result<DynValue> {
    let value = allocated(tensor)?;
    let owned = own(value)?;
    for (index, string) in strings.iter().enumerate() {
        let mut buffer = std::ptr::null_mut();
        // SAFETY: `index` lies within the tensor, and the buffer has the length that was asked for.
        unsafe {
            let status = (ort::api().GetResizedStringTensorElementBuffer)(value, index, string.len(), &mut buffer);
            ort::Error::result_from_status(status)?;
            if !string.is_empty() {
                std::ptr::copy_nonoverlapping(string.as_ptr(), buffer.cast::<u8>(), string.len());
            }
        }
    }
    Ok(owned)
}

fn own(value: *mut ort::sys::OrtValue) -> ort::Result<DynValue> {
    let value = NonNull::new(value).ok_or_else(|| ort::Error::new("the runtime made no value"))?;
    // SAFETY: the value was just made, by the default allocator or over memory that the tensor owns.
    Ok(unsafe { DynValue::from_ptr(value, Some(&Allocator::default())) })
}

/// The contents of an output, kept in the runtime's memory until the last reader is done.
struct Output {
    _value: DynValue,
    data: *const u8,
    bytes: usize,
}

// SAFETY: the value is only held to keep its memory, which nobody writes to any more.
unsafe impl Send for Output {}
// SAFETY: as above; readers share constant memory.
unsafe impl Sync for Output {}

impl AsRef<[u8]> for Output {
    fn as_ref(&self) -> &[u8] {
        if self.data.is_null() || self.bytes == 0 {
            return &[];
        }
        // SAFETY: the value owns `bytes` bytes at `data` for as long as it lives.
        unsafe { std::slice::from_raw_parts(self.data, self.bytes) }
    }
}

/// An output of a run as a tensor.
pub(super) fn to_tensor(name: &str, mut output: DynValue) -> Result<Tensor, RunError> {
    let graph = |error: ort::Error| RunError::Graph(super::one_line(error.message()));
    let ValueType::Tensor { ty, shape, .. } = output.dtype().clone() else {
        return Err(RunError::Graph(format!("output '{name}' is no tensor")));
    };
    let shape: Vec<usize> = shape.iter().map(|dim| usize::try_from(*dim).unwrap_or(0)).collect();
    let (Some(datatype), Some(count)) = (datatype(ty), element_count(&shape)) else {
        return Err(RunError::Graph(format!("output '{name}' has a type that the protocol cannot name")));
    };
    let data = match datatype.element_bytes() {
        None => TensorData::Strings(read_strings(&output, count).map_err(graph)?),
        Some(size) => {
            let mut data = std::ptr::null_mut();
            // SAFETY: the value is a tensor of numbers.
            let status = unsafe { (ort::api().GetTensorMutableData)(output.ptr_mut(), &mut data) };
            // SAFETY: the status comes from the call above.
            unsafe { ort::Error::result_from_status(status) }.map_err(graph)?;
            TensorData::Raw(Bytes::from_owner(Output { _value: output, data: data.cast(), bytes: count * size }))
        }
    };
    Tensor::new(name, datatype, shape, data).map_err(|error| RunError::Graph(error.to_string()))
}

fn read_strings(output: &DynValue, count: usize) -> ort::Result<Vec<Bytes>> {
    let mut total = 0;
    let mut offsets = vec![0usize; count];
    let mut contents = Vec::new();
    // SAFETY: the value is a tensor of `count` strings; both buffers have the sizes that the runtime is told.
    unsafe {
        ort::Error::result_from_status((ort::api().GetStringTensorDataLength)(output.ptr(), &mut total))?;
        contents.resize(total, 0u8);
        let status = (ort::api().GetStringTensorContent)(
            output.ptr(),
            contents.as_mut_ptr().cast(),
            total,
            offsets.as_mut_ptr(),
            count,
        );
        ort::Error::result_from_status(status)?;
    }
    let contents = Bytes::from(contents);
    let ends = offsets.iter().skip(1).copied().chain(std::iter::once(total));
    Ok(offsets.iter().zip(ends).map(|(start, end)| contents.slice(*start..end.max(*start))).collect())
}
