//! `POST /api/v1/frames`: one picture in, its labels out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::ask::{ask, note, served};
use super::body::{self, Pool};
use super::error::ApiError;
use super::record::{Record, microseconds, milliseconds};
use super::wrap::RequestId;
use crate::actors::board::Board;
use crate::actors::model::{ServedModel, deadline};
use crate::core::admission::Gate;
use crate::core::tensor::Tensor;
use crate::image::{self, ImageError, Limits, Prediction};
use crate::metrics::{Outcome, Stages, seconds};

#[derive(Serialize)]
struct Answer<'a> {
    id: &'a str,
    model_name: &'a str,
    predictions: Vec<Prediction>,
    timing_ms: Timing,
}

#[derive(Serialize)]
struct Timing {
    decode: f64,
    preprocess: f64,
    queue: f64,
    inference: f64,
}

/// Answers a picture.
pub async fn frames(
    request: HttpRequest,
    payload: web::Payload,
    board: web::Data<Board>,
    pool: web::Data<Pool>,
    id: RequestId,
) -> Result<HttpResponse, ApiError> {
    let board = board.into_inner();
    let mut record = Record::begin(&board, "frame");
    let answer = answer(&request, payload, &board, &pool.into_inner(), &mut record, &id).await;
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
    id: &RequestId,
) -> Result<HttpResponse, ApiError> {
    let model = served(board)?;
    if model.image.is_none() {
        return Err(no_pictures());
    }
    let bytes = body::read(board, pool, request, payload).await?.bytes;
    record.entry.body_bytes = bytes.len() as u64;
    let limits = Limits { max_pixels: board.config().model.max_image_pixels };
    let deadline = deadline(record.begun, None, &board.config());
    let prepared = web::block({
        let model = Arc::clone(&model);
        let memory = Arc::clone(&board.image_memory);
        move || prepare(&model, &bytes, &limits, &memory, deadline)
    });
    let Prepared { input, decode, preprocess } = prepared.await.map_err(|_| ApiError::Internal)??;
    board.metrics.decode_duration.observe(seconds(decode));
    board.metrics.preprocess_duration.observe(seconds(preprocess));
    (record.entry.decode_us, record.entry.preprocess_us) = (microseconds(decode), microseconds(preprocess));
    let image = model.image.as_ref().ok_or_else(no_pictures)?;
    let (outputs, reply) =
        ask(board, vec![input], vec![image.output_name().to_owned()], record.begun, deadline).await?;
    record.reply(&reply);
    let answered = Instant::now();
    let predictions = image.postprocess(&outputs, None, board.config().model.top_k)?;
    board.metrics.totals.add_stages(Stages {
        entries: 1,
        queue: reply.queue,
        input: decode + preprocess,
        run: reply.inference,
        output: answered.elapsed(),
    });
    let timing_ms = Timing {
        decode: milliseconds(decode),
        preprocess: milliseconds(preprocess),
        queue: milliseconds(reply.queue),
        inference: milliseconds(reply.inference),
    };
    Ok(HttpResponse::Ok().json(Answer { id: &id.0, model_name: &model.name, predictions, timing_ms }))
}

struct Prepared {
    input: Tensor,
    decode: Duration,
    preprocess: Duration,
}

/// The wait before memory for a picture is asked for again: others are being decoded meanwhile.
const MEMORY_AGAIN: Duration = Duration::from_millis(5);

fn prepare(
    model: &ServedModel,
    bytes: &[u8],
    limits: &Limits,
    memory: &Arc<Gate>,
    deadline: Instant,
) -> Result<Prepared, ApiError> {
    let image = model.image.as_ref().ok_or_else(no_pictures)?;
    let (begun, (picture, _held)) = loop {
        let begun = Instant::now();
        match image::decode_among(bytes, limits, memory) {
            Err(ImageError::NoMemory) if begun < deadline => std::thread::sleep(MEMORY_AGAIN),
            decoded => break (begun, decoded?),
        }
    };
    let decoded = Instant::now();
    let input = image.preprocess(&picture)?;
    Ok(Prepared { input, decode: decoded - begun, preprocess: decoded.elapsed() })
}

fn no_pictures() -> ApiError {
    ApiError::Invalid("the model takes no pictures: put a model.toml beside the model file".to_owned())
}
