//! What a request's client still sends when the answer is already there.
//!
//! A body of declared length that stays unread has its connection closed: the server reads on for a while, so that the
//! client gets to the answer, and then hangs up. A chunked one would be read to its end instead, however long that is
//! and however long its client is silent, once nobody holds it. So the answer holds it, and both end alike.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::HttpMessage;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::error::PayloadError;
use bytes::Bytes;
use futures_util::Stream;

/// Where a body comes back to that was not read to its end.
pub struct Rest(Rc<Cell<Option<Payload>>>);

impl Rest {
    /// Lends the request's body out.
    pub fn lend(request: &mut ServiceRequest) -> Rest {
        let back = Rc::new(Cell::new(None));
        match request.take_payload() {
            Payload::None => {}
            payload => {
                let lent = Lent { payload, ended: false, back: Rc::clone(&back) };
                request.set_payload(Payload::Stream { payload: Box::pin(lent) });
            }
        }
        Rest(back)
    }

    /// What was not read, if anything.
    pub fn take(&self) -> Option<Payload> {
        self.0.take()
    }
}

/// A body on loan.
struct Lent {
    payload: Payload,
    ended: bool,
    back: Rc<Cell<Option<Payload>>>,
}

impl Stream for Lent {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.payload).poll_next(context);
        self.ended |= matches!(next, Poll::Ready(None));
        next
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.ended {
            self.back.set(Some(std::mem::replace(&mut self.payload, Payload::None)));
        }
    }
}

/// An answer that holds what is unread until it is sent.
pub struct Held {
    /// The answer.
    pub answer: BoxBody,
    /// The rest of the request.
    pub _rest: Payload,
}

impl MessageBody for Held {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.answer).poll_next(context)
    }
}
