//! A strict JSON reader over a text that is already in memory (RFC 8259).
//!
//! It builds no tree: the request's members are read in place, so that a tensor of a megabyte goes straight from its
//! digits to its bytes. Nothing here recurses, whatever the text nests.

use std::borrow::Cow;

use super::error::{ProtocolError, clip};
use super::number::{self, Number};

/// How deep arrays and objects may nest, the outermost object counted.
pub(super) const MAX_DEPTH: u32 = 100;

/// A place in a JSON text. A copy is a bookmark to come back to.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

/// A string as it stands in the text, between its quotes.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    /// The characters, escapes not yet resolved.
    pub raw: &'a str,
    /// Where they start in the text.
    pub at: usize,
    /// Whether there is an escape among them.
    pub escaped: bool,
}

impl<'a> Text<'a> {
    /// The string that is meant.
    pub fn decode(&self) -> Result<Cow<'a, str>, ProtocolError> {
        if !self.escaped {
            return Ok(Cow::Borrowed(self.raw));
        }
        let invalid = || ProtocolError::Json { at: self.at, problem: "a string with a broken escape" };
        let mut decoded = String::with_capacity(self.raw.len());
        let mut rest = self.raw;
        while let Some((plain, escape)) = rest.split_once('\\') {
            decoded.push_str(plain);
            let mut chars = escape.chars();
            let kind = chars.next().ok_or_else(invalid)?;
            rest = chars.as_str();
            let meant = match kind {
                '"' | '\\' | '/' => kind,
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                _ => {
                    let (high, after) = hex4(rest).ok_or_else(invalid)?;
                    rest = after;
                    if (0xd800..0xdc00).contains(&high) {
                        let low = rest.strip_prefix("\\u").and_then(hex4);
                        let (low, after) = low.ok_or_else(invalid)?;
                        rest = after;
                        let low = low.checked_sub(0xdc00).filter(|low| *low < 0x400).ok_or_else(invalid)?;
                        char::from_u32(0x10000 + ((high - 0xd800) << 10) + low).ok_or_else(invalid)?
                    } else {
                        char::from_u32(high).ok_or_else(invalid)?
                    }
                }
            };
            decoded.push(meant);
        }
        decoded.push_str(rest);
        Ok(Cow::Owned(decoded))
    }
}

fn hex4(text: &str) -> Option<(u32, &str)> {
    let digits = text.get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    Some((u32::from_str_radix(digits, 16).ok()?, text.get(4..)?))
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Cursor<'a> {
        Cursor { text, at: 0, depth: 0 }
    }

    /// Bytes of text that are left.
    pub fn remaining(&self) -> usize {
        self.text.len().saturating_sub(self.at)
    }

    /// The next byte that is no white space.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// Takes `byte` if it comes next.
    #[inline]
    pub fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.at += 1;
        }
        found
    }

    /// What is wrong here, by the next byte.
    #[cold]
    pub fn error<T>(&mut self, problem: &'static str) -> Result<T, ProtocolError> {
        let word = match self.peek() {
            None => return Err(ProtocolError::Json { at: self.at, problem: "the text ends too early" }),
            Some(b'N') => "NaN",
            Some(b'I') => "Infinity",
            Some(b'-') if self.text.as_bytes().get(self.at + 1) == Some(&b'I') => "-Infinity",
            Some(_) => return Err(ProtocolError::Json { at: self.at, problem }),
        };
        if self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            return Err(ProtocolError::NonFinite { at: self.at, word });
        }
        Err(ProtocolError::Json { at: self.at, problem })
    }

    /// Takes the bracket that opens an array or an object.
    #[inline]
    pub fn open(&mut self) -> Result<(), ProtocolError> {
        if self.depth >= MAX_DEPTH {
            return Err(ProtocolError::Depth);
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Takes the bracket that closes an array or an object.
    #[inline]
    pub fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.at += 1;
    }

    /// The key of the next member of an opened object, with its colon; `None` when the object is closed.
    pub fn member(&mut self, first: &mut bool) -> Result<Option<Cow<'a, str>>, ProtocolError> {
        if self.peek() == Some(b'}') {
            self.close();
            return Ok(None);
        }
        if !std::mem::take(first) && !self.take(b',') {
            return self.error("expected ',' or '}'");
        }
        let key = self.key()?;
        Ok(Some(key.decode()?))
    }

    fn key(&mut self) -> Result<Text<'a>, ProtocolError> {
        if self.peek() != Some(b'"') {
            return self.error("expected a member's name in double quotes");
        }
        let key = self.string()?;
        if !self.take(b':') {
            return self.error("expected ':'");
        }
        Ok(key)
    }

    /// Whether an opened array has another element; it is closed when not.
    pub fn element(&mut self, first: &mut bool) -> Result<bool, ProtocolError> {
        if self.peek() == Some(b']') {
            self.close();
            return Ok(false);
        }
        if !std::mem::take(first) {
            if !self.take(b',') {
                return self.error("expected ',' or ']'");
            }
            if self.peek() == Some(b']') {
                return self.error("expected a value after ','");
            }
        }
        Ok(true)
    }

    /// The string that comes next; its opening quote has been seen.
    #[inline]
    pub fn string(&mut self) -> Result<Text<'a>, ProtocolError> {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let mut end = start;
        let mut escaped = false;
        loop {
            match bytes.get(end) {
                None => return Err(ProtocolError::Json { at: self.at, problem: "a string without its closing quote" }),
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    end += match bytes.get(end + 1) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                        Some(b'u') if self.text.get(end + 2..).and_then(hex4).is_some() => 6,
                        _ => return Err(ProtocolError::Json { at: end, problem: "a string with a broken escape" }),
                    };
                }
                Some(0..0x20) => {
                    return Err(ProtocolError::Json { at: end, problem: "a control character that is not escaped" });
                }
                Some(_) => end += 1,
            }
        }
        self.at = end + 1;
        Ok(Text { raw: self.text.get(start..end).unwrap_or_default(), at: start, escaped })
    }

    /// The number that comes next.
    #[inline(always)]
    pub fn number(&mut self) -> Result<Number<'a>, ProtocolError> {
        match number::scan(self.text, self.at) {
            Some((number, end)) => {
                self.at = end;
                Ok(number)
            }
            None => self.error("expected a number"),
        }
    }

    /// Takes `true`, `false` or `null`.
    pub fn word(&mut self, word: &'static str) -> bool {
        let found = self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word));
        if found {
            self.at += word.len();
        }
        found
    }

    /// The boolean that comes next; anything else is skipped and `None`.
    pub fn boolean(&mut self) -> Result<Option<bool>, ProtocolError> {
        match self.peek() {
            Some(b't') if self.word("true") => Ok(Some(true)),
            Some(b'f') if self.word("false") => Ok(Some(false)),
            _ => self.skip().map(|()| None),
        }
    }

    /// The non-negative integer that comes next; anything else is skipped and `None`.
    pub fn unsigned(&mut self) -> Result<Option<u64>, ProtocolError> {
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => Ok(self.number()?.to_u64()),
            _ => self.skip().map(|()| None),
        }
    }

    /// The string that comes next; anything else is skipped and `None`.
    pub fn text(&mut self) -> Result<Option<Cow<'a, str>>, ProtocolError> {
        match self.peek() {
            Some(b'"') => self.string()?.decode().map(Some),
            _ => self.skip().map(|()| None),
        }
    }

    /// Whether an object or array, by its opening bracket, comes next, and opens it; anything else is skipped.
    pub fn opens(&mut self, bracket: u8) -> Result<bool, ProtocolError> {
        if self.peek() == Some(bracket) { self.open().map(|()| true) } else { self.skip().map(|()| false) }
    }

    /// Passes over one value of any kind, checking that it is JSON.
    pub fn skip(&mut self) -> Result<(), ProtocolError> {
        // One bit a level, the innermost lowest: 1 for an object. `MAX_DEPTH` levels fit.
        let mut objects: u128 = 0;
        let outside = self.depth;
        loop {
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    self.open()?;
                    let object = open == b'{';
                    objects = (objects << 1) | u128::from(object);
                    if self.peek() != Some(if object { b'}' } else { b']' }) {
                        if object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                Some(b'"') => {
                    self.string()?;
                }
                Some(b't') if self.word("true") => {}
                Some(b'f') if self.word("false") => {}
                Some(b'n') if self.word("null") => {}
                Some(b'-' | b'0'..=b'9') => {
                    self.number()?;
                }
                _ => return self.error("expected a value"),
            }
            // After a value: either it was the one to pass over, or its container goes on or ends.
            loop {
                if self.depth == outside {
                    return Ok(());
                }
                let object = objects & 1 == 1;
                if self.take(b',') {
                    if object {
                        self.key()?;
                    }
                    break;
                }
                if self.peek() != Some(if object { b'}' } else { b']' }) {
                    return self.error(if object { "expected ',' or '}'" } else { "expected ',' or ']'" });
                }
                self.close();
                objects >>= 1;
            }
        }
    }

    /// Asks that nothing but white space is left.
    pub fn end(&mut self) -> Result<(), ProtocolError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(ProtocolError::Json {
                at: self.at,
                problem: "text after the request's object; where tensors follow in binary, send the JSON's length in \
                          Inference-Header-Content-Length",
            }),
        }
    }

    /// The next value in a few words, for an error's text.
    pub fn describe(&mut self) -> Result<String, ProtocolError> {
        Ok(match self.peek() {
            Some(b'"') => "a string".to_owned(),
            Some(b't' | b'f') => "a boolean".to_owned(),
            Some(b'n') => "null".to_owned(),
            Some(b'{') => "an object".to_owned(),
            Some(b'[') => "an array".to_owned(),
            Some(b'-' | b'0'..=b'9') => clip(self.number()?.text),
            _ => return self.error("expected a value"),
        })
    }
}
