//! The page at `/` and its files.
//!
//! The page is live by its script. What it shows without one, and before one has run, is made here: `state` gathers it from
//! the board, `render` puts it into the template.

mod assets;
mod render;
mod spark;
mod state;
#[cfg(test)]
mod tests;
mod words;

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};

use self::assets::ASSETS;
use self::render::render;
use self::state::state;
use super::error::ApiError;
use crate::actors::board::Board;

pub use self::assets::prepare;

/// What the page may do: nothing but its own files, and the daemon that it came from.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

/// `GET /`
pub async fn page(board: web::Data<Board>) -> HttpResponse {
    let mut response = secure(HttpResponse::Ok());
    response.content_type("text/html; charset=utf-8").insert_header((header::CACHE_CONTROL, "no-cache"));
    response.body(render(&state(&board)))
}

/// `GET /assets/{hash}/{file}`
pub async fn asset(request: HttpRequest, path: web::Path<(String, String)>) -> Result<HttpResponse, ApiError> {
    let (hash, name) = path.into_inner();
    let file = ASSETS.find(&hash, &name).ok_or(ApiError::NoSuchPath)?;
    let mut response = secure(HttpResponse::Ok());
    response
        .content_type(file.content_type)
        .insert_header((header::CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .insert_header((header::VARY, "accept-encoding"));
    match &file.gzip {
        Some(small) if takes_gzip(request.headers()) => {
            Ok(response.insert_header((header::CONTENT_ENCODING, "gzip")).body(small.clone()))
        }
        _ => Ok(response.body(file.plain.clone())),
    }
}

fn secure(mut response: HttpResponseBuilder) -> HttpResponseBuilder {
    response
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((
            HeaderName::from_static("cross-origin-opener-policy"),
            HeaderValue::from_static("same-origin"),
        ));
    response
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .any(|item| {
            let mut parts = item.split(';').map(str::trim);
            let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
            let refused = |part: &str| part.strip_prefix("q=").and_then(|q| q.parse().ok()) == Some(0.0_f32);
            named && !parts.any(refused)
        })
}
