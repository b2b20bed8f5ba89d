//! The protocol's model repository, for the one model: what there is, load it again, take it out.

use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::admin;
use super::body::{self, Pool};
use super::error::ApiError;
use super::models::check_name;
use super::protocol::metadata::{IndexEntry, ModelState};
use crate::actors::board::{Board, Published};
use crate::actors::model::{Load, ServedModel, Unload};
use crate::core::status;

/// The largest body that these calls read.
const MAX_BODY: usize = 64 << 10;
/// The longest that a change may take from the model room to the board.
const SEEN_WITHIN_MS: u32 = 1000;

/// `POST /v2/repository/index`
pub async fn index(
    request: HttpRequest,
    payload: web::Payload,
    board: web::Data<Board>,
    pool: web::Data<Pool>,
) -> Result<HttpResponse, ApiError> {
    let only_ready = match object(&request, payload, &board, &pool).await?.get("ready") {
        None => false,
        Some(Value::Bool(ready)) => *ready,
        Some(_) => return Err(ApiError::Invalid("'ready' must be true or false".to_owned())),
    };
    let published = board.published();
    let state = match published.status.model {
        status::ModelState::Loading => ModelState::Loading,
        _ if published.status.readiness().is_ok() => ModelState::Ready,
        _ => ModelState::Unavailable,
    };
    let entry = IndexEntry {
        name: board.model_name.clone(),
        version: board.config().model.version.clone(),
        state,
        reason: published.status.readiness().err().unwrap_or_default(),
    };
    let entries: Vec<IndexEntry> = if only_ready && state != ModelState::Ready { vec![] } else { vec![entry] };
    Ok(HttpResponse::Ok().json(entries))
}

/// `POST /v2/repository/models/{name}/load`: the configured file, read again.
pub async fn load(
    request: HttpRequest,
    payload: web::Payload,
    board: web::Data<Board>,
    pool: web::Data<Pool>,
) -> Result<HttpResponse, ApiError> {
    admin::check(&board, &request)?;
    check_name(&board, &request)?;
    if let Some(key) = parameters(object(&request, payload, &board, &pool).await?)?.keys().next() {
        let key: String = key.chars().take(40).collect();
        return Err(ApiError::Invalid(format!(
            "failed to load: parameter '{key}' is not taken: the file is configured"
        )));
    }
    let before = board.published().model.clone();
    let door = board.door().ok_or(ApiError::Lost("the model room is being restarted"))?;
    let (reply, told) = oneshot::channel();
    door.load.do_send(Load { reply });
    match told.await {
        Ok(Ok(())) => {
            let is_new = |model: &Arc<ServedModel>| before.as_ref().is_none_or(|before| !Arc::ptr_eq(before, model));
            seen(&board, |published| published.model.as_ref().is_some_and(is_new)).await;
            Ok(HttpResponse::Ok().finish())
        }
        Ok(Err(_)) => {
            seen(&board, |published| published.status.model != status::ModelState::Loading).await;
            // The reason may hold the file's path, which is the operator's business; the model room has logged it.
            Err(ApiError::Invalid(format!("failed to load '{}': see the log", board.model_name)))
        }
        Err(_) => Err(ApiError::Lost("failed to load: the engine takes no load now")),
    }
}

/// `POST /v2/repository/models/{name}/unload`
pub async fn unload(
    request: HttpRequest,
    payload: web::Payload,
    board: web::Data<Board>,
    pool: web::Data<Pool>,
) -> Result<HttpResponse, ApiError> {
    admin::check(&board, &request)?;
    check_name(&board, &request)?;
    parameters(object(&request, payload, &board, &pool).await?)?;
    let door = board.door().ok_or(ApiError::Lost("the model room is being restarted"))?;
    door.unload.send(Unload).await.map_err(|_| ApiError::Lost("the model room is being restarted"))?;
    seen(&board, |published| published.model.is_none()).await;
    Ok(HttpResponse::Ok().finish())
}

/// Waits until the board shows the change, which comes to it by way of the supervisor: whoever is told of a change finds
/// it. The wait has an end, for another change may have followed.
async fn seen(board: &Board, shows: impl Fn(&Published) -> bool) {
    for _ in 0..SEEN_WITHIN_MS {
        if shows(&board.published()) {
            return;
        }
        actix_rt::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The body of these calls: an object, or nothing.
async fn object(
    request: &HttpRequest,
    payload: web::Payload,
    board: &Board,
    pool: &Arc<Pool>,
) -> Result<Map<String, Value>, ApiError> {
    let body = body::read_small(board, pool, request, payload, MAX_BODY).await?;
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    match serde_json::from_slice(&body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(ApiError::Invalid("the body must be a JSON object, or empty".to_owned())),
        Err(error) => Err(ApiError::Invalid(format!("invalid JSON: {error}"))),
    }
}

fn parameters(mut object: Map<String, Value>) -> Result<Map<String, Value>, ApiError> {
    match object.remove("parameters") {
        None => Ok(Map::new()),
        Some(Value::Object(parameters)) => Ok(parameters),
        Some(_) => Err(ApiError::Invalid("'parameters' must be an object".to_owned())),
    }
}
