//! Fault hooks for the project's own tests: not in a shipped binary.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};

use super::error::ApiError;
use crate::actors::supervisor::PanicIn;
use crate::core::status::Room;
use crate::hooks::Hooks;

/// `POST /test/panic/{room}`; `handler` panics right here.
#[allow(clippy::panic)]
pub async fn panic(request: HttpRequest, hooks: web::Data<Hooks>) -> Result<HttpResponse, ApiError> {
    let room = match request.match_info().get("room") {
        Some("supervisor") => Room::Supervisor,
        Some("model") => Room::Model,
        Some("engine") => Room::Engine,
        Some("web") => Room::Web,
        Some("monitor") => Room::Monitor,
        Some("alert") => Room::Alert,
        Some("handler") => panic!("a test asked a handler to panic"),
        _ => return Err(ApiError::NoSuchPath),
    };
    hooks.panic(PanicIn(room));
    Ok(HttpResponse::Accepted().finish())
}

/// `POST /test/answer/{how}`: how sessions answer from now on.
pub async fn answer(request: HttpRequest, hooks: web::Data<Hooks>) -> Result<HttpResponse, ApiError> {
    match request.match_info().get("how").is_some_and(|how| hooks.answer_by_name(how)) {
        true => Ok(HttpResponse::Accepted().finish()),
        false => Err(ApiError::NoSuchPath),
    }
}

/// `GET /test/running`: the runs under way.
pub async fn running(hooks: web::Data<Hooks>) -> HttpResponse {
    HttpResponse::Ok().body(hooks.running().to_string())
}

/// `POST /test/block/{ms}`: the thread of the rooms stands still for that time.
pub async fn block(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let time = request.match_info().get("ms").and_then(|ms| ms.parse().ok()).ok_or(ApiError::NoSuchPath)?;
    actix_rt::System::current().arbiter().spawn_fn(move || std::thread::sleep(Duration::from_millis(time)));
    Ok(HttpResponse::Accepted().finish())
}
