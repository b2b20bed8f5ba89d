//! What goes around every request: its id in and out, and an answer even after a panic in a handler.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use futures_util::FutureExt;

use super::connections::Connection;
use super::error::ApiError;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that is taken from a client.
const MAX_ID: usize = 128;

/// The request's id: the client's, or one of ours.
#[derive(Clone)]
pub struct RequestId(pub Arc<str>);

impl FromRequest for RequestId {
    type Error = Infallible;
    type Future = Ready<Result<RequestId, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(request.extensions().get::<RequestId>().cloned().unwrap_or_else(|| RequestId("".into()))))
    }
}

/// Takes a client's id where it is short and printable.
fn request_id(request: &ServiceRequest) -> RequestId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let given = request.headers().get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    match given.filter(|id| !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(|byte| byte.is_ascii_graphic())) {
        Some(id) => RequestId(id.into()),
        None => {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            RequestId(format!("{:08x}-{number:x}", std::process::id()).into())
        }
    }
}

/// Notes the end of a request on its connection, however it ends.
struct Ended(Option<Arc<Connection>>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.iter().for_each(|connection| connection.end());
    }
}

/// The layer.
pub async fn wrap(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let id = request_id(&request);
    request.extensions_mut().insert(id.clone());
    let id = HeaderValue::from_str(&id.0);
    let connection = request.conn_data::<Arc<Connection>>().cloned();
    connection.iter().for_each(|connection| connection.begin());
    let _ended = Ended(connection);
    let error = match AssertUnwindSafe(next.call(request)).catch_unwind().await {
        Ok(Ok(mut response)) => {
            if let Ok(id) = id {
                response.headers_mut().insert(REQUEST_ID, id);
            }
            return Ok(response);
        }
        Ok(Err(error)) => error,
        // The panic hook has logged it with its place.
        Err(_) => ApiError::Internal.into(),
    };
    let mut response = error.error_response();
    if let Ok(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    Err(InternalError::from_response(error, response).into())
}
