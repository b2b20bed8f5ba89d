//! The protocol's model repository, for the one model: what there is, load it again, take it out.

use actix_web::http::header::{HOST, ORIGIN};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::Value;
use tokio::sync::oneshot;

use super::error::ApiError;
use super::models::check_name;
use super::protocol::metadata::{IndexEntry, ModelState};
use crate::actors::board::Board;
use crate::actors::model::{Load, Unload};
use crate::core::status;

/// The largest body that these calls read.
pub const MAX_BODY: usize = 64 << 10;

/// `POST /v2/repository/index`
pub async fn index(body: web::Bytes, board: web::Data<Board>) -> Result<HttpResponse, ApiError> {
    let only_ready = match object(&body)?.get("ready") {
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
        version: board.config.model.version.clone(),
        state,
        reason: published.status.readiness().err().unwrap_or_default(),
    };
    let entries: Vec<IndexEntry> = if only_ready && state != ModelState::Ready { vec![] } else { vec![entry] };
    Ok(HttpResponse::Ok().json(entries))
}

/// `POST /v2/repository/models/{name}/load`: the configured file, read again.
pub async fn load(request: HttpRequest, body: web::Bytes, board: web::Data<Board>) -> Result<HttpResponse, ApiError> {
    check_local(&request)?;
    check_name(&board, &request)?;
    if let Some(parameters) = object(&body)?.get("parameters").and_then(Value::as_object)
        && let Some(key) = parameters.keys().next()
    {
        let key: String = key.chars().take(40).collect();
        return Err(ApiError::Invalid(format!(
            "failed to load: parameter '{key}' is not taken: the file is configured"
        )));
    }
    let door = board.door().ok_or(ApiError::Lost("the model room is being restarted"))?;
    let (reply, told) = oneshot::channel();
    door.load.do_send(Load { reply });
    match told.await {
        Ok(Ok(())) => Ok(HttpResponse::Ok().finish()),
        // The reason may hold the file's path, which is the operator's business; the model room has logged it.
        Ok(Err(_)) => Err(ApiError::Invalid(format!("failed to load '{}': see the log", board.model_name))),
        Err(_) => Err(ApiError::Lost("failed to load: the engine takes no load now")),
    }
}

/// `POST /v2/repository/models/{name}/unload`
pub async fn unload(request: HttpRequest, body: web::Bytes, board: web::Data<Board>) -> Result<HttpResponse, ApiError> {
    check_local(&request)?;
    check_name(&board, &request)?;
    object(&body)?;
    let door = board.door().ok_or(ApiError::Lost("the model room is being restarted"))?;
    door.unload.send(Unload).await.map_err(|_| ApiError::Lost("the model room is being restarted"))?;
    Ok(HttpResponse::Ok().finish())
}

/// Changes are for this machine: a peer on loopback, and no page of another site that a browser here has open.
fn check_local(request: &HttpRequest) -> Result<(), ApiError> {
    let loopback = request.peer_addr().is_some_and(|peer| peer.ip().is_loopback());
    let host = request.headers().get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    let own_host = name == "localhost" || name.parse::<std::net::IpAddr>().is_ok();
    let foreign_origin = request
        .headers()
        .get(ORIGIN)
        .is_some_and(|origin| origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://")) != Some(host));
    if loopback && own_host && !foreign_origin {
        return Ok(());
    }
    Err(ApiError::Forbidden)
}

fn object(body: &[u8]) -> Result<serde_json::Map<String, Value>, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(serde_json::Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(ApiError::Invalid("the body must be a JSON object, or empty".to_owned())),
        Err(error) => Err(ApiError::Invalid(format!("invalid JSON: {error}"))),
    }
}
