//! Answers in gzip or deflate, where a client asks for them.
//!
//! Only answers that were computed or measured are compressed, and no error is: clients of the protocol inflate the answer
//! to an inference and nothing else, whatever they say to accept.

use actix_http::encoding::Encoder;
use actix_web::Error;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT_ENCODING, AcceptEncoding, ContentEncoding, Encoding, Header};
use actix_web::middleware::Next;

/// What the client would have, if it is something that is made here.
fn wanted(request: &ServiceRequest) -> Option<ContentEncoding> {
    request.headers().get(ACCEPT_ENCODING)?;
    let made = [Encoding::identity(), Encoding::gzip(), Encoding::deflate()];
    match AcceptEncoding::parse(request).ok()?.negotiate(made.iter())? {
        Encoding::Known(coding) if coding != ContentEncoding::Identity => Some(coding),
        _ => None,
    }
}

/// The layer around routes whose answers may be large.
pub async fn compress<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, Encoder<B>>>, Error> {
    let coding = wanted(&request);
    let response = next.call(request).await?;
    Ok(match coding.filter(|_| response.status() == StatusCode::OK) {
        None => response.map_into_left_body(),
        Some(coding) => {
            response.map_body(|head, body| EitherBody::Right { body: Encoder::response(coding, head, body) })
        }
    })
}
