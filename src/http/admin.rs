//! Who may change the daemon: this machine, or whoever has the token, and never a page of another site.

use actix_web::http::header::{AUTHORIZATION, HOST, ORIGIN};
use actix_web::{HttpRequest, HttpResponse, web};

use super::error::ApiError;
use crate::actors::alert::host_name;
use crate::actors::board::Board;
use crate::actors::supervisor::Reload;

/// Refuses a call that may change the daemon unless it comes from where such calls may come from.
///
/// A `Host` that is neither an address, nor `localhost`, nor the box's own name may be a name that another site has turned
/// towards this machine; an `Origin` other than that host is a page of another site in somebody's browser.
///
/// # Errors
/// [`ApiError::Forbidden`], or [`ApiError::Unauthorized`] where a token is wanted.
pub fn check(board: &Board, request: &HttpRequest) -> Result<(), ApiError> {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let host = text(HOST).unwrap_or_default();
    if !is_own(host) {
        return Err(ApiError::Forbidden("the Host header names another machine"));
    }
    if request.headers().contains_key(ORIGIN) {
        let own = text(ORIGIN).and_then(|origin| origin.split_once("://")).is_some_and(|(_, of)| of == host);
        if !own {
            return Err(ApiError::Forbidden("the Origin header names another site"));
        }
    }
    let loopback = request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    let access = board.access();
    match access.allows(loopback, text(AUTHORIZATION)) {
        true => Ok(()),
        false if access.wants_token() => Err(ApiError::Unauthorized),
        false => Err(ApiError::Forbidden("call over loopback, or set server.admin_token_file")),
    }
}

/// Whether this `Host` is an address, `localhost` or the box's own name.
fn is_own(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(name, _)| name),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.trim_end_matches('.');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok()
        || name.eq_ignore_ascii_case(&host_name())
}

/// `POST /api/v1/reload`: the configuration, read again.
///
/// # Errors
/// All that is wrong with it: nothing was changed.
pub async fn reload(request: HttpRequest, board: web::Data<Board>) -> Result<HttpResponse, ApiError> {
    check(&board, &request)?;
    let door = board.reload_door().ok_or(ApiError::Lost("the daemon is starting"))?;
    match door.send(Reload { why: "POST /api/v1/reload" }).await {
        Ok(Ok(reloaded)) => Ok(HttpResponse::Ok().json(reloaded)),
        Ok(Err(problems)) => Err(ApiError::BadConfiguration(problems)),
        Err(_) => Err(ApiError::Lost("the daemon is stopping")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_own_where_it_is_an_address_or_a_name_of_this_box() {
        let own = host_name();
        for host in ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080", "10.0.0.7", "localhost.:80", &own] {
            assert!(is_own(host), "{host}");
        }
        for host in ["", "evil.example", "evil.example:8080", "localhost.evil.example", "[evil]"] {
            assert!(!is_own(host), "{host}");
        }
    }
}
