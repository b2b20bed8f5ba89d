//! A body, read into one buffer: within its limits, aligned for the tensors in it, and given back to a pool.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::error::PayloadError;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpRequest, web};
use bytes::Bytes;
use futures_util::StreamExt;

use super::connections::Connection;
use super::error::ApiError;
use super::protocol;
use crate::actors::board::Board;
use crate::core::admission::Token;
use crate::metrics::Refusal;

/// The header that says where JSON ends and tensors begin.
pub const HEADER_LENGTH: &str = "Inference-Header-Content-Length";
/// What every element type is content with, and a cache line.
const ALIGNMENT: usize = 64;
/// Bytes kept for the next bodies.
const POOL_BYTES: usize = 24 << 20;
/// Bodies smaller than this come from the allocator.
const POOLED_FROM: usize = 32 << 10;
/// The most pieces of a body without a declared length (requirement 81 of the protocol's list), unless they are of
/// [`FAIR_PIECE`] bytes in the mean: a slow network cuts a large body into many.
const MAX_PIECES: usize = 65_536;
/// What a network sends at once at least.
const FAIR_PIECE: usize = 512;

/// Buffers between two bodies: without them every large one would be mapped and unmapped by the allocator.
#[derive(Default)]
pub struct Pool {
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl Pool {
    fn take(&self, room: usize) -> Vec<u8> {
        if room >= POOLED_FROM {
            let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
            // The one given back last is the one still in the cache.
            if let Some(at) = buffers.iter().rposition(|buffer| buffer.capacity() >= room) {
                return buffers.swap_remove(at);
            }
        }
        Vec::with_capacity(room)
    }

    fn give(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() < POOLED_FROM {
            return;
        }
        buffer.clear();
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let held: usize = buffers.iter().map(Vec::capacity).sum();
        if held + buffer.capacity() <= POOL_BYTES {
            buffers.push(buffer);
        }
    }
}

/// A filled buffer that goes back to its pool, and its share of the memory limit with it.
struct Filled {
    buffer: Vec<u8>,
    pool: Arc<Pool>,
    _token: Token,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.buffer));
    }
}

/// A body with the length of its JSON, where the header tells it.
pub struct Body {
    /// All of it, inflated.
    pub bytes: Bytes,
    /// `Inference-Header-Content-Length`.
    pub header_length: Option<usize>,
}

enum Coding {
    Identity,
    Gzip,
    Deflate,
}

/// Reads the body of a request, unless its head already says that it will not be served.
///
/// # Errors
/// [`ApiError`]; where it comes before the first byte of the body, that body stays unread.
pub async fn read(
    board: &Board,
    pool: &Arc<Pool>,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<Body, ApiError> {
    let headers = request.headers();
    if board.queue.is_full() {
        return Err(ApiError::refused(Refusal::QueueFull, "the queue is full (model.queue_limit)"));
    }
    let limit = Limit { bytes: board.config().server.max_body_bytes, configured: true };
    let header_length = match headers.get(HEADER_LENGTH) {
        None => None,
        Some(value) => {
            let plain = matches!(coding(headers)?, Coding::Identity);
            let known = declared_length(headers).filter(|length| plain && *length <= limit.bytes);
            Some(protocol::parse_header_length(value.to_str().unwrap_or_default(), known)?)
        }
    };
    let bytes = contents(board, pool, request, payload, limit, header_length.unwrap_or(0)).await?;
    Ok(Body { bytes, header_length })
}

/// Reads a body of at most `limit` bytes that is none of the model's business.
///
/// # Errors
/// [`ApiError`]
pub async fn read_small(
    board: &Board,
    pool: &Arc<Pool>,
    request: &HttpRequest,
    payload: web::Payload,
    limit: usize,
) -> Result<Bytes, ApiError> {
    contents(board, pool, request, payload, Limit { bytes: limit, configured: false }, 0).await
}

/// How long a body may be.
#[derive(Clone, Copy)]
struct Limit {
    bytes: usize,
    /// Whether an operator can change it.
    configured: bool,
}

impl Limit {
    fn passed(self) -> ApiError {
        ApiError::TooLarge { limit: self.bytes, configured: self.configured }
    }
}

/// The body, inflated; where it comes as it is, its byte at `align` lies as tensors want it.
async fn contents(
    board: &Board,
    pool: &Arc<Pool>,
    request: &HttpRequest,
    payload: web::Payload,
    limit: Limit,
    align: usize,
) -> Result<Bytes, ApiError> {
    let headers = request.headers();
    let declared = declared_length(headers);
    if declared.is_some_and(|length| length > limit.bytes) {
        return Err(limit.passed());
    }
    let coding = coding(headers)?;
    let token = board.body_memory.take(declared.unwrap_or(0)).ok_or_else(no_memory)?;
    let patience = Duration::from_secs_f64(board.config().server.client_timeout_seconds);
    let connection = request.conn_data::<Arc<Connection>>();
    let mut reader = Reader { limit, patience, pool, declared, token, connection };
    match coding {
        Coding::Identity => reader.plain(payload, align).await,
        packed => {
            let packed_bytes = reader.plain(payload, 0).await?;
            let (pool, gate) = (Arc::clone(pool), Arc::clone(&board.body_memory));
            let inflated = web::block(move || {
                let token = gate.take(0).ok_or_else(no_memory)?;
                inflate(&packed_bytes, &packed, limit, &pool, token)
            });
            inflated.await.map_err(|_| ApiError::Internal)?
        }
    }
}

fn no_memory() -> ApiError {
    ApiError::refused(Refusal::BodyMemory, "too many bytes of bodies are held (server.max_body_memory_bytes)")
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

fn coding(headers: &HeaderMap) -> Result<Coding, ApiError> {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(Coding::Identity) };
    let word = value.to_str().unwrap_or("?").trim().to_ascii_lowercase();
    match word.as_str() {
        "" | "identity" => Ok(Coding::Identity),
        "gzip" | "x-gzip" => Ok(Coding::Gzip),
        "deflate" => Ok(Coding::Deflate),
        _ => Err(ApiError::Encoding(word.chars().take(40).collect())),
    }
}

struct Reader<'a> {
    limit: Limit,
    patience: Duration,
    pool: &'a Arc<Pool>,
    declared: Option<usize>,
    token: Token,
    connection: Option<&'a Arc<Connection>>,
}

impl Reader<'_> {
    /// Whether the connection ended, or its sending half; yes, where nobody can tell.
    fn has_left(&self) -> bool {
        self.connection.is_none_or(|connection| connection.is_left())
    }

    /// The body as it comes, its byte at `align` on a multiple of the alignment.
    async fn plain(&mut self, mut payload: web::Payload, align: usize) -> Result<Bytes, ApiError> {
        let room = self.declared.unwrap_or(0);
        let mut buffer = self.pool.take(room + ALIGNMENT);
        let pad = (ALIGNMENT - (buffer.as_ptr().addr() + align) % ALIGNMENT) % ALIGNMENT;
        buffer.resize(pad, 0);
        let mut pieces = 0;
        loop {
            let next = actix_rt::time::timeout(self.patience, payload.next()).await;
            let Some(piece) = next.map_err(|_| ApiError::SlowClient(self.patience.as_secs_f64()))? else { break };
            let piece = piece.map_err(|error| match error {
                PayloadError::Incomplete(_) | PayloadError::Io(_) if self.has_left() => ApiError::Gone,
                PayloadError::Incomplete(_) => ApiError::Invalid("the body's chunks are malformed".to_owned()),
                error => ApiError::Invalid(format!("the body could not be read: {error}")),
            })?;
            pieces += 1;
            if self.declared.is_none() {
                if pieces > MAX_PIECES && buffer.len() / FAIR_PIECE < pieces {
                    return Err(ApiError::Invalid(format!(
                        "the body comes in more than {MAX_PIECES} chunks; send larger ones"
                    )));
                }
                if !self.token.grow(piece.len()) {
                    return Err(no_memory());
                }
            }
            if buffer.len() - pad + piece.len() > self.limit.bytes {
                return Err(self.limit.passed());
            }
            buffer.extend_from_slice(&piece);
        }
        let empty = Token::clone_empty(&self.token);
        let token = std::mem::replace(&mut self.token, empty);
        let filled = Filled { buffer, pool: Arc::clone(self.pool), _token: token };
        Ok(Bytes::from_owner(filled).slice(pad..))
    }
}

/// The inflated body, which may not pass the limit however small it was packed.
fn inflate(
    packed: &Bytes,
    coding: &Coding,
    limit: Limit,
    pool: &Arc<Pool>,
    mut token: Token,
) -> Result<Bytes, ApiError> {
    let mut source: Box<dyn Read + '_> = match coding {
        Coding::Deflate => Box::new(flate2::read::ZlibDecoder::new(packed.as_ref())),
        _ => Box::new(flate2::read::MultiGzDecoder::new(packed.as_ref())),
    };
    let mut buffer = pool.take(packed.len().saturating_mul(4).min(limit.bytes));
    let mut piece = vec![0u8; 64 << 10];
    loop {
        let count = source
            .read(&mut piece)
            .map_err(|error| ApiError::Invalid(format!("the body could not be inflated: {error}")))?;
        if count == 0 {
            break;
        }
        if buffer.len() + count > limit.bytes {
            return Err(limit.passed());
        }
        if !token.grow(count) {
            return Err(no_memory());
        }
        buffer.extend_from_slice(piece.get(..count).unwrap_or_default());
    }
    Ok(Bytes::from_owner(Filled { buffer, pool: Arc::clone(pool), _token: token }))
}
