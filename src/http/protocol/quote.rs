//! How errors quote what a client sent, and what they count.

/// What an element of `BYTES` counts towards the limit, its characters aside: the handle that it is kept by.
pub(super) const STRING_BYTES: usize = size_of::<bytes::Bytes>();

/// The most characters of a client's text that an error quotes.
pub const CLIP: usize = 120;

/// `text`, or its beginning where it is long.
pub(super) fn clip(text: &str) -> String {
    match text.char_indices().nth(CLIP) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Dimensions as Triton prints them: `[-1,3]`.
pub(super) fn list<T: ToString>(dims: &[T]) -> String {
    format!("[{}]", dims.iter().map(T::to_string).collect::<Vec<_>>().join(","))
}
