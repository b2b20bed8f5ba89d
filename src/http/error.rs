//! The one map from what went wrong to what the client reads: a status and `{"error": "…"}`.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

use super::protocol::{ErrorKind, ProtocolError};
use crate::engine::RunError;
use crate::image::ImageError;
use crate::metrics::{Outcome, Refusal};

/// Seconds after which a refused client may try again.
const RETRY_AFTER: &str = "1";

/// Why a request was not answered with a result.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// No such path.
    #[error("Not Found")]
    NoSuchPath,
    /// The path is there, but not for this method.
    #[error("Method Not Allowed")]
    NoSuchMethod {
        /// The one that there is.
        allowed: &'static str,
    },
    /// What the framework refuses by itself, such as an `Accept-Encoding` that nothing satisfies.
    #[error("{}", .0.canonical_reason().unwrap_or("refused"))]
    Framework(StatusCode),
    /// A change asked for from where it may not be asked for.
    #[error("changes are not taken from here: {0}")]
    Forbidden(&'static str),
    /// A change asked for without the token.
    #[error("changes need the token of server.admin_token_file: send Authorization: Bearer TOKEN")]
    Unauthorized,
    /// A configuration that does not hold; nothing was changed.
    #[error("{}", .0.join("\n"))]
    BadConfiguration(Vec<String>),
    /// No such model or version.
    #[error("Request for unknown model: {0}")]
    UnknownModel(String),
    /// The body, as sent or inflated, is over its limit.
    #[error("the body is over the limit of {limit} bytes{}", if *.configured { " (server.max_body_bytes)" } else { "" })]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
        /// Whether it is the configuration's.
        configured: bool,
    },
    /// The client left before its body had come.
    #[error("the client left before its whole body had come")]
    Gone,
    /// A picture's declared size is over its limit.
    #[error("{0}")]
    TooManyPixels(String),
    /// A `Content-Encoding` that is not read.
    #[error("content encoding '{0}' is not read: send gzip, deflate or identity")]
    Encoding(String),
    /// The body did not come in time.
    #[error("the body did not come within {0} s (server.client_timeout_seconds)")]
    SlowClient(f64),
    /// Not admitted.
    #[error("{text}: try again")]
    Refused {
        /// Why, for the metrics.
        reason: Refusal,
        /// Why, for the client.
        text: String,
    },
    /// The deadline passed.
    #[error("the request was not answered within its deadline of {0} ms")]
    Expired(u128),
    /// Ended by a stop, or lost with a room that died.
    #[error("{0}: try again")]
    Lost(&'static str),
    /// The graph failed on these values.
    #[error("{0}")]
    Graph(String),
    /// Our own fault: the log tells more.
    #[error("internal error: see the log")]
    Internal,
}

impl ApiError {
    /// A refusal with its reason in words.
    pub fn refused(reason: Refusal, text: impl Into<String>) -> ApiError {
        ApiError::Refused { reason, text: text.into() }
    }

    /// How the request counts.
    pub fn outcome(&self) -> Outcome {
        match self {
            ApiError::Refused { reason: Refusal::Shed, .. } => Outcome::Shed,
            ApiError::Refused { .. } => Outcome::Refused,
            ApiError::Expired(_) => Outcome::Expired,
            ApiError::Gone => Outcome::Gone,
            ApiError::Lost(_) | ApiError::Graph(_) | ApiError::Internal => Outcome::Failed,
            _ => Outcome::Invalid,
        }
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            ApiError::Invalid(_) | ApiError::BadConfiguration(_) | ApiError::Gone => StatusCode::BAD_REQUEST,
            ApiError::Framework(status) => *status,
            ApiError::NoSuchPath | ApiError::UnknownModel(_) => StatusCode::NOT_FOUND,
            ApiError::Unauthorized => StatusCode::UNAUTHORIZED,
            ApiError::Forbidden(_) => StatusCode::FORBIDDEN,
            ApiError::NoSuchMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            ApiError::TooLarge { .. } | ApiError::TooManyPixels(_) => StatusCode::PAYLOAD_TOO_LARGE,
            ApiError::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ApiError::SlowClient(_) => StatusCode::REQUEST_TIMEOUT,
            ApiError::Refused { .. } | ApiError::Lost(_) => StatusCode::SERVICE_UNAVAILABLE,
            ApiError::Expired(_) => StatusCode::GATEWAY_TIMEOUT,
            ApiError::Graph(_) | ApiError::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        match self {
            ApiError::Refused { .. } | ApiError::Lost(_) => {
                response.insert_header((header::RETRY_AFTER, RETRY_AFTER));
            }
            ApiError::Unauthorized => {
                response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
            }
            ApiError::Encoding(_) => {
                response.insert_header((header::ACCEPT_ENCODING, "gzip, deflate"));
            }
            ApiError::NoSuchMethod { allowed } => {
                response.insert_header((header::ALLOW, *allowed));
            }
            // What is left of the body is not worth reading.
            ApiError::SlowClient(_) => {
                response.force_close();
            }
            _ => {}
        }
        response.json(ErrorBody { error: self.to_string() })
    }
}

/// What the client reads.
#[derive(Serialize)]
struct ErrorBody {
    error: String,
}

impl From<ProtocolError> for ApiError {
    fn from(error: ProtocolError) -> ApiError {
        match error.kind() {
            ErrorKind::BadRequest => ApiError::Invalid(error.to_string()),
            ErrorKind::Internal => {
                tracing::error!(event = "answer_failed", "an answer could not be written: {error}");
                ApiError::Internal
            }
        }
    }
}

impl From<ImageError> for ApiError {
    fn from(error: ImageError) -> ApiError {
        match error {
            ImageError::NoMemory => ApiError::refused(Refusal::ImageMemory, error.to_string()),
            ImageError::TooManyPixels { .. } => ApiError::TooManyPixels(error.to_string()),
            ImageError::Preprocess { .. } | ImageError::Scores { .. } => {
                tracing::error!(event = "answer_failed", "a picture could not be served: {error}");
                ApiError::Internal
            }
            other => ApiError::Invalid(other.to_string()),
        }
    }
}

impl From<RunError> for ApiError {
    fn from(error: RunError) -> ApiError {
        match error {
            RunError::Input(text) => ApiError::Invalid(text),
            RunError::Graph(_) => ApiError::Graph(error.to_string()),
            RunError::NoModel => ApiError::refused(Refusal::NotReady, "no model is loaded"),
            RunError::Cancelled => ApiError::Lost("the daemon is stopping"),
        }
    }
}
