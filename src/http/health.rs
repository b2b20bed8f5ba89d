//! Live, ready and metrics: answered from the board, whatever the engine does.

use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::error::ApiError;
use crate::actors::board::Board;
use crate::metrics::Metrics;

#[derive(Serialize)]
struct Live {
    live: bool,
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// `GET /v2/health/live`, `GET /healthz`
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().json(Live { live: true })
}

/// `GET /v2/health/ready`, `GET /readyz`
pub async fn ready(board: web::Data<Board>) -> HttpResponse {
    match board.published().status.readiness() {
        Ok(()) => HttpResponse::Ok().json(Ready { ready: true, reason: None }),
        Err(reason) => HttpResponse::ServiceUnavailable().json(Ready { ready: false, reason: Some(reason) }),
    }
}

/// `GET /metrics`
pub async fn metrics(board: web::Data<Board>) -> Result<HttpResponse, ApiError> {
    let metrics = &board.metrics;
    metrics.queue_depth.set(i64::try_from(board.queue.held()).unwrap_or(i64::MAX));
    metrics.body_memory.set(i64::try_from(board.body_memory.held()).unwrap_or(i64::MAX));
    let text = metrics.encode().map_err(|error| {
        tracing::error!(event = "metrics_failed", "the metrics could not be written: {error}");
        ApiError::Internal
    })?;
    Ok(HttpResponse::Ok().content_type(Metrics::CONTENT_TYPE).body(text))
}
