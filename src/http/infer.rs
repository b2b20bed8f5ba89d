//! `POST /v2/models/{name}[/versions/{version}]/infer`: the protocol's inference.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use std::vec::IntoIter;

use actix_web::body::{BodySize, MessageBody};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;

use super::ask::{ask, note, served};
use super::body::{self, Body, HEADER_LENGTH, Pool};
use super::error::ApiError;
use super::models::check_name;
use super::protocol::{self, InferRequest, OutputForm, ProtocolLimits, Rendered};
use super::record::{Record, entries};
use crate::actors::board::Board;
use crate::actors::model::{ServedModel, deadline};
use crate::core::tensor::{Tensor, TensorData};
use crate::metrics::{Outcome, Stages};

/// JSON from this size on is read and written on a thread that no connection waits for.
const HEAVY_JSON: usize = 64 << 10;

/// Answers an inference request.
pub async fn infer(
    request: HttpRequest,
    payload: web::Payload,
    board: web::Data<Board>,
    pool: web::Data<Pool>,
) -> Result<HttpResponse, ApiError> {
    let board = board.into_inner();
    let mut record = Record::begin(&board, "infer");
    let answer = answer(&request, payload, &board, &pool.into_inner(), &mut record).await;
    record.end(match &answer {
        Ok(_) => Outcome::Ok,
        Err(error) => note(&board, error),
    });
    answer
}

async fn answer(
    request: &HttpRequest,
    payload: web::Payload,
    board: &Arc<Board>,
    pool: &Arc<Pool>,
    record: &mut Record,
) -> Result<HttpResponse, ApiError> {
    check_name(board, request)?;
    let model = served(board)?;
    let body = body::read(board, pool, request, payload).await?;
    record.entry.body_bytes = body.bytes.len() as u64;
    let limits = ProtocolLimits { max_tensor_bytes: board.config().server.max_body_bytes };
    let read = Instant::now();
    let InferRequest { id, timeout_us, inputs, outputs: plans } = parse(body, &model, limits).await?;
    let names = plans.iter().map(|plan| plan.name.clone()).collect();
    let deadline = deadline(record.begun, timeout_us, &board.config());
    let (entries, input) = (entries(&model.spec, &inputs), read.elapsed());
    record.entry.batch = entries;
    let (outputs, reply) = ask(board, inputs, names, record.begun, deadline).await?;
    record.reply(&reply);
    let answered = Instant::now();
    let heavy = plans.iter().any(|plan| plan.form != OutputForm::Binary)
        && outputs.iter().map(json_weight).sum::<usize>() > HEAVY_JSON;
    let render = move || {
        // Labels beside the model are the operator's word, and stand above the file's own.
        let beside = model.image.as_ref().and_then(|image| image.labels());
        let labels = |output: &str| beside.or_else(|| model.spec.classes(output));
        protocol::render(&model.name, &model.version, id.as_deref(), &outputs, &plans, labels)
    };
    let rendered = if heavy { web::block(render).await.map_err(|_| ApiError::Internal)?? } else { render()? };
    let output = answered.elapsed();
    let stages = Stages { entries, queue: reply.queue, input, run: reply.inference, output };
    board.metrics.totals.add_stages(stages);
    Ok(response(rendered))
}

async fn parse(body: Body, model: &Arc<ServedModel>, limits: ProtocolLimits) -> Result<InferRequest, ApiError> {
    let Body { bytes, header_length } = body;
    let heavy = header_length.unwrap_or(bytes.len()) > HEAVY_JSON;
    let model = Arc::clone(model);
    let parse = move || protocol::parse(bytes, header_length, &model.name, &model.spec, &limits);
    Ok(if heavy { web::block(parse).await.map_err(|_| ApiError::Internal)?? } else { parse()? })
}

fn json_weight(tensor: &Tensor) -> usize {
    match tensor.data() {
        TensorData::Raw(raw) => raw.len(),
        TensorData::Strings(strings) => strings.iter().map(Bytes::len).sum(),
    }
}

fn response(rendered: Rendered) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    match rendered.header_length {
        None => response.content_type("application/json"),
        Some(length) => response.content_type("application/octet-stream").insert_header((HEADER_LENGTH, length)),
    };
    let length = rendered.len() as u64;
    let pieces: Vec<Bytes> = rendered.binary.into_iter().filter(|piece| !piece.is_empty()).collect();
    response.body(Pieces { length, pieces: pieces.into_iter(), now: rendered.head })
}

/// What is handed to the connection at once: it copies that into a buffer of its own, which should stay small.
const AT_ONCE: usize = 64 << 10;

/// An answer in pieces: the outputs go out from the memory in which the runtime left them.
struct Pieces {
    length: u64,
    pieces: IntoIter<Bytes>,
    /// The piece that is going out.
    now: Bytes,
}

impl MessageBody for Pieces {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.length)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if self.now.is_empty() {
            self.now = self.pieces.next().unwrap_or_default();
        }
        let count = self.now.len().min(AT_ONCE);
        Poll::Ready(Some(self.now.split_to(count)).filter(|piece| !piece.is_empty()).map(Ok))
    }
}
