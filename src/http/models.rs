//! The protocol's metadata, readiness, configuration and statistics of the one model.

use std::borrow::Cow;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use percent_encoding::percent_decode_str;
use serde::Serialize;

use super::ask::served;
use super::error::ApiError;
use super::protocol::metadata::{
    InferenceStatistics, ModelConfiguration, ModelMetadata, ModelStatistics, ServerMetadata, StatisticDuration,
    StatisticsAnswer,
};
use crate::actors::board::Board;

#[derive(Serialize)]
struct ModelReady<'a> {
    name: &'a str,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Whether the path names the model that is served here, and its version where it names one.
///
/// # Errors
/// Another name or version: 404.
pub fn check_name(board: &Board, request: &HttpRequest) -> Result<(), ApiError> {
    let part = |key: &str| {
        // The router leaves `%2F` and `%25` as they came, so this decodes each character once.
        request.match_info().get(key).map(|text| percent_decode_str(text).decode_utf8_lossy())
    };
    let name = part("name").unwrap_or(Cow::Borrowed(""));
    if name != board.model_name.as_str() {
        return Err(ApiError::UnknownModel(format!("'{}' is not found", clip(&name))));
    }
    match part("version") {
        Some(version) if version != board.config().model.version.as_str() => {
            Err(ApiError::UnknownModel(format!("'{}' version {} is not found", clip(&name), clip(&version))))
        }
        _ => Ok(()),
    }
}

fn clip(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(100).collect()
}

/// `GET /v2`, `GET /v2/`
pub async fn server(board: web::Data<Board>) -> HttpResponse {
    HttpResponse::Ok().json(ServerMetadata::new(&board.config().server.name, env!("CARGO_PKG_VERSION")))
}

/// `GET /v2/models/{name}`
pub async fn metadata(request: HttpRequest, board: web::Data<Board>) -> Result<HttpResponse, ApiError> {
    check_name(&board, &request)?;
    let model = served(&board)?;
    Ok(HttpResponse::Ok().json(ModelMetadata::new(&model.name, &model.version, &model.spec)))
}

/// `GET /v2/models/{name}/ready`
pub async fn ready(request: HttpRequest, board: web::Data<Board>) -> Result<HttpResponse, ApiError> {
    check_name(&board, &request)?;
    let readiness = board.published().status.readiness();
    let mut response = if readiness.is_ok() { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    Ok(response.json(ModelReady { name: &board.model_name, ready: readiness.is_ok(), reason: readiness.err() }))
}

/// `GET /v2/models/{name}/config`
pub async fn configuration(request: HttpRequest, board: web::Data<Board>) -> Result<HttpResponse, ApiError> {
    check_name(&board, &request)?;
    let model = served(&board)?;
    Ok(HttpResponse::Ok().json(ModelConfiguration::new(&model.name, &model.spec, board.config().model.sessions)))
}

/// `GET /v2/models/{name}/stats`, `GET /v2/models/stats`
pub async fn statistics(request: HttpRequest, board: web::Data<Board>) -> Result<HttpResponse, ApiError> {
    if request.match_info().get("name").is_some() {
        check_name(&board, &request)?;
    }
    let totals = &board.metrics.totals;
    let duration = |(count, ns): (u64, u64)| StatisticDuration { count, ns };
    let (answered, _) = totals.answered();
    let stages = totals.stages();
    let stage = |took: Duration| duration((answered, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)));
    let entry = ModelStatistics {
        name: board.model_name.clone(),
        version: board.config().model.version.clone(),
        last_inference: totals.last_answer_ms(),
        inference_count: stages.entries,
        // One run each: nothing puts several requests into one run.
        execution_count: answered,
        inference_stats: InferenceStatistics {
            success: duration(totals.answered()),
            fail: duration(totals.failed()),
            queue: stage(stages.queue),
            compute_input: stage(stages.input),
            compute_infer: stage(stages.run),
            compute_output: stage(stages.output),
            ..InferenceStatistics::default()
        },
        batch_stats: Vec::new(),
    };
    Ok(HttpResponse::Ok().json(StatisticsAnswer { model_stats: vec![entry] }))
}
