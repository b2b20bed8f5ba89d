//! The C library behind the JPEG decoder, kept from taking the process with it.
//!
//! libjpeg reports a fault by calling back, and the callback must not return. Here it unwinds through the library's
//! frames (which are built for that) to [`contained`], without the panic hook: a bad picture is no panic.

use std::os::raw::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use mozjpeg_sys as ffi;

use crate::image::ImageError;

/// The format's name in messages.
pub const FORMAT: &str = "JPEG";

/// The code of a libjpeg message: what an unwinding carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fault(c_int);

/// An error manager that ends the decoding at the first error, and at the first warning that means lost pixels.
pub fn error_manager() -> ffi::jpeg_error_mgr {
    // SAFETY: the structure is made of integers, nullable pointers and optional functions, for which zero is a value.
    let mut manager: ffi::jpeg_error_mgr = unsafe { std::mem::zeroed() };
    // SAFETY: it fills in the structure and keeps no reference to it.
    unsafe { ffi::jpeg_std_error(&mut manager) };
    manager.error_exit = Some(error_exit);
    manager.emit_message = Some(emit_message);
    manager
}

/// Runs calls of the library. What they hold must not be used after a fault: it is dropped on the way here.
pub fn contained<T>(calls: impl FnOnce() -> Result<T, ImageError>) -> Result<T, ImageError> {
    catch_unwind(AssertUnwindSafe(calls)).unwrap_or_else(|payload| match payload.downcast::<Fault>() {
        Ok(fault) => Err(refusal(fault.0)),
        Err(other) => resume_unwind(other),
    })
}

extern "C-unwind" fn error_exit(library: &mut ffi::jpeg_common_struct) {
    resume_unwind(Box::new(Fault(code(library))));
}

/// Messages of level 0 and above are traces. Warnings are -1; Pillow decodes on after each of them, and so does this for
/// those that leave the pixels whole.
extern "C-unwind" fn emit_message(library: &mut ffi::jpeg_common_struct, level: c_int) {
    if level < 0 && loses_pixels(code(library)) {
        error_exit(library);
    }
}

fn code(library: &ffi::jpeg_common_struct) -> c_int {
    // SAFETY: the library calls back with the error manager that it was made with, which lives as long as it does.
    unsafe { library.err.as_ref() }.map_or(ffi::JMSG_NOMESSAGE, |manager| manager.msg_code)
}

/// Not those: bytes between two segments, JFIF or Adobe markers of unknown versions, scan parameters that contradict
/// the process.
fn loses_pixels(warning: c_int) -> bool {
    matches!(
        warning,
        ffi::JWRN_HIT_MARKER
            | ffi::JWRN_HUFF_BAD_CODE
            | ffi::JWRN_JPEG_EOF
            | ffi::JWRN_MUST_RESYNC
            | ffi::JWRN_TOO_MUCH_DATA
    )
}

/// What a message's code means to who sent the picture. Source: `jerror.h`.
fn refusal(code: c_int) -> ImageError {
    let reason = match code {
        ffi::JWRN_JPEG_EOF | ffi::JERR_INPUT_EOF | ffi::JERR_INPUT_EMPTY | ffi::JERR_FILE_READ => {
            return ImageError::CutShort { format: FORMAT };
        }
        ffi::JERR_FRACT_SAMPLE_NOTIMPL | ffi::JERR_CCIR601_NOTIMPL => return unsupported("its way of sharing chroma"),
        ffi::JERR_CONVERSION_NOTIMPL | ffi::JERR_BAD_J_COLORSPACE => return unsupported("its colours"),
        ffi::JERR_ARITH_NOTIMPL => return unsupported("arithmetic coding"),
        ffi::JERR_SOF_UNSUPPORTED | ffi::JERR_NOTIMPL | ffi::JERR_NOT_COMPILED => return unsupported("its coding"),
        ffi::JERR_OUT_OF_MEMORY => return unsupported("too large for the memory that is left"),
        ffi::JWRN_HIT_MARKER => "its data end before its last row",
        ffi::JWRN_HUFF_BAD_CODE | ffi::JERR_BAD_DCT_COEF => "its data hold codes that mean nothing",
        ffi::JWRN_MUST_RESYNC => "a restart marker is missing",
        ffi::JERR_BAD_HUFF_TABLE | ffi::JERR_NO_HUFF_TABLE | ffi::JERR_DHT_INDEX => "its code tables are wrong",
        ffi::JERR_NO_QUANT_TABLE | ffi::JERR_DQT_INDEX | ffi::JERR_MISMATCHED_QUANT_TABLE => {
            "its quantisation tables are wrong"
        }
        ffi::JERR_BAD_SAMPLING | ffi::JERR_BAD_MCU_SIZE => "its sampling factors are out of range",
        ffi::JERR_BAD_PROGRESSION => "its scans do not follow each other",
        ffi::JERR_BAD_COMPONENT_ID | ffi::JERR_COMPONENT_COUNT => "a scan names components that are not there",
        ffi::JERR_BAD_LENGTH => "a segment has a length that cannot be",
        ffi::JERR_SOF_DUPLICATE | ffi::JERR_SOI_DUPLICATE | ffi::JERR_EOI_EXPECTED => "it begins a second picture",
        ffi::JERR_SOS_NO_SOF | ffi::JERR_SOF_NO_SOS | ffi::JERR_NO_IMAGE => "it has no picture",
        _ => return damaged(&format!("libjpeg's message {code}")),
    };
    damaged(reason)
}

/// A file that breaks the rules.
pub fn damaged(reason: &str) -> ImageError {
    ImageError::Damaged { format: FORMAT, reason: reason.to_owned() }
}

/// A valid file of a kind that is not decoded.
pub fn unsupported(what: &str) -> ImageError {
    ImageError::Unsupported { format: FORMAT, what: what.to_owned() }
}
