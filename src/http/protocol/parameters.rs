//! The `parameters` of a request, its inputs and its outputs: what is known is read, the rest must be scalars.

use super::error::{ProtocolError, clip};
use super::json::Cursor;

/// What the request as a whole is given.
#[derive(Default)]
pub(super) struct Parameters {
    pub timeout_us: Option<u64>,
    pub binary_data_output: Option<bool>,
}

/// Walks a `parameters` object. `known` takes the values that it wants and says so; the others must be scalars.
fn parameters<'t>(
    cursor: &mut Cursor<'t>,
    of: &str,
    mut known: impl FnMut(&str, &mut Cursor<'t>) -> Result<bool, ProtocolError>,
) -> Result<(), ProtocolError> {
    if !cursor.opens(b'{')? {
        return Err(member_type("parameters", of, "an object"));
    }
    let mut first = true;
    while let Some(key) = cursor.member(&mut first)? {
        if key.starts_with("triton_") {
            return Err(ProtocolError::ReservedParameter { key: clip(&key), of: of.to_owned() });
        }
        if known(&key, cursor)? {
            continue;
        }
        let scalar = !matches!(cursor.peek(), Some(b'{' | b'[' | b'n'));
        cursor.skip()?;
        if !scalar {
            return Err(ProtocolError::ParameterType { key: clip(&key), of: of.to_owned() });
        }
    }
    Ok(())
}

pub(super) fn request_parameters(cursor: &mut Cursor<'_>) -> Result<Parameters, ProtocolError> {
    const OF: &str = "the request's parameters";
    let mut timeout_us = None;
    let mut binary_data_output = None;
    parameters(cursor, "the request", |key, cursor| {
        match key {
            "timeout" => {
                let want = "a non-negative integer of microseconds";
                let value = cursor.unsigned()?.ok_or_else(|| member_type("timeout", OF, want))?;
                set(&mut timeout_us, value, "timeout", OF)?;
            }
            "binary_data_output" => {
                let value = cursor.boolean()?.ok_or_else(|| member_type("binary_data_output", OF, "true or false"))?;
                set(&mut binary_data_output, value, "binary_data_output", OF)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(Parameters { timeout_us: timeout_us.filter(|timeout| *timeout > 0), binary_data_output })
}

pub(super) fn input_parameters(cursor: &mut Cursor<'_>, of: &str) -> Result<Option<usize>, ProtocolError> {
    let mut size = None;
    parameters(cursor, of, |key, cursor| {
        if key != "binary_data_size" {
            return Ok(false);
        }
        let value = cursor.unsigned()?.and_then(|value| usize::try_from(value).ok());
        let value = value.ok_or_else(|| member_type("binary_data_size", of, "a non-negative integer of bytes"))?;
        set(&mut size, value, "binary_data_size", of).map(|()| true)
    })?;
    Ok(size)
}

/// `binary_data`, and `classification` with 0 for none.
pub(super) fn output_parameters(cursor: &mut Cursor<'_>, of: &str) -> Result<(Option<bool>, usize), ProtocolError> {
    let mut binary = None;
    let mut classes = None;
    parameters(cursor, of, |key, cursor| {
        match key {
            "binary_data" => {
                let value = cursor.boolean()?.ok_or_else(|| member_type("binary_data", of, "true or false"))?;
                set(&mut binary, value, "binary_data", of)?;
            }
            "classification" => {
                let want = "a non-negative integer, the number of classes";
                let value = cursor.unsigned()?.ok_or_else(|| member_type("classification", of, want))?;
                set(&mut classes, usize::try_from(value).unwrap_or(usize::MAX), "classification", of)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok((binary, classes.unwrap_or(0)))
}

/// Takes a member that may come once.
pub(super) fn set<T>(place: &mut Option<T>, value: T, member: &'static str, of: &str) -> Result<(), ProtocolError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(ProtocolError::Duplicate { member, of: of.to_owned() }),
    }
}

pub(super) fn missing(member: &'static str, of: &str) -> ProtocolError {
    ProtocolError::Missing { member, of: of.to_owned() }
}

pub(super) fn member_type(member: &'static str, of: &str, want: &'static str) -> ProtocolError {
    ProtocolError::MemberType { member, of: of.to_owned(), want }
}

pub(super) fn wrong(what: &str, want: &'static str) -> ProtocolError {
    ProtocolError::WrongType { what: what.to_owned(), want }
}
