//! What this box has measured of the model's quantised form, for status and page, and the call that has it done anew.

use std::time::{Duration, SystemTime};

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::admin;
use super::error::ApiError;
use crate::actors::alert::rfc3339;
use crate::actors::board::Board;
use crate::actors::model::Requalify;
use crate::actors::supervisor::Qualification;
use crate::core::qualify::Speedup;
use crate::core::standing::Standing;

/// The qualification as the status tells it.
#[derive(Serialize)]
pub struct QualificationStatus {
    prefer: &'static str,
    state: &'static str,
    reason: String,
    watched: bool,
    agreement: Option<f64>,
    agreement_counts: Option<String>,
    speedup: Option<Speedup>,
    frames: Option<usize>,
    frames_used_by_quantising: Option<usize>,
    original_ms: Option<f64>,
    quantized_ms: Option<f64>,
    quantized_sha256: Option<String>,
    threads: Option<usize>,
    at: Option<String>,
    seconds: Option<f64>,
}

pub(super) fn status(known: &Qualification) -> QualificationStatus {
    let receipt = known.standing.receipt();
    let measured = receipt.map(|receipt| &receipt.measured);
    let relapse = match &known.standing {
        Standing::RolledBack(relapse) => Some(relapse),
        _ => None,
    };
    let at = receipt.map(|receipt| receipt.at_ms).or(relapse.map(|relapse| relapse.at_ms));
    let of = |receipt: Option<String>| receipt.or_else(|| relapse.map(|relapse| relapse.candidate.clone()));
    QualificationStatus {
        prefer: known.prefer.name(),
        state: known.standing.name(),
        reason: known.standing.why(known.prefer, false),
        watched: known.is_watched,
        agreement: measured.and_then(|measured| measured.agreement),
        agreement_counts: measured.map(|measured| measured.agreement_text.clone()),
        speedup: measured.and_then(|measured| measured.speedup),
        frames: measured.map(|measured| measured.frames),
        frames_used_by_quantising: measured.map(|measured| measured.frames_used),
        original_ms: measured.map(|measured| measured.original_ms),
        quantized_ms: measured.map(|measured| measured.candidate_ms),
        quantized_sha256: of(receipt.map(|receipt| receipt.key.candidate.clone())),
        threads: receipt.map(|receipt| receipt.key.threads),
        at: at.map(|at_ms| rfc3339(SystemTime::UNIX_EPOCH + Duration::from_millis(at_ms))),
        seconds: measured.map(|measured| measured.seconds),
    }
}

/// `POST /api/v1/qualify`: the quantised form is measured anew, and refused no longer.
///
/// # Errors
/// The call comes from where it may not come from, or there is nothing to measure.
pub async fn qualify(request: HttpRequest, board: web::Data<Board>) -> Result<HttpResponse, ApiError> {
    admin::check(&board, &request)?;
    let door = board.door().ok_or(ApiError::Lost("the model room is being restarted"))?;
    match door.qualify.send(Requalify).await {
        Ok(Ok(())) => Ok(HttpResponse::Accepted().json(serde_json::json!({"state": "measuring"}))),
        Ok(Err(reason)) => Err(ApiError::Invalid(reason)),
        Err(_) => Err(ApiError::Lost("the model room is being restarted")),
    }
}
