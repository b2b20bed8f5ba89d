//! The server, its limits and its routes.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::KeepAlive;
use actix_web::middleware::from_fn;
use actix_web::{App, FromRequest, Handler, HttpResponse, HttpServer, Resource, Responder, ResponseError, Route, web};

use super::body::Pool;
use super::connections::{Connections, Patience};
use super::error::ApiError;
use super::{admin, compress, frames, health, infer, models, page, qualification, repository, status, wrap};
use crate::actors::board::Board;

/// The longest that a client may go on sending a body that was refused: it reads the answer only afterwards.
const DISCONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// What a worker leaves for the answers of requests that a stop has ended.
const LAST_ANSWERS_SECONDS: u64 = 4;

/// The HTTP server on `listener`, not yet polled.
///
/// # Errors
/// The listener cannot be used.
pub fn server(listener: TcpListener, board: Arc<Board>) -> std::io::Result<Server> {
    let server = board.config().server.clone();
    let pool = web::Data::new(Pool::default());
    let client_timeout = Duration::from_secs_f64(server.client_timeout_seconds);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    page::prepare();
    // Shared by all workers: built once, outside the closure that each of them calls.
    let board = web::Data::from(board);
    #[cfg(feature = "test-hooks")]
    let hooks = web::Data::new(crate::hooks::Hooks);
    let http = HttpServer::new(move || {
        let app = App::new().app_data(board.clone()).app_data(pool.clone());
        #[cfg(feature = "test-hooks")]
        let app = app
            .app_data(hooks.clone())
            .service(web::resource("/test/running").route(web::get().to(super::hooks::running)))
            .service(web::resource("/test/answer/{how}").route(web::post().to(super::hooks::answer)))
            .service(web::resource("/test/block/{ms}").route(web::post().to(super::hooks::block)))
            .service(web::resource("/test/panic/{room}").route(web::post().to(super::hooks::panic)));
        app.configure(routes).default_service(web::to(no_such_path)).wrap(from_fn(wrap::wrap))
    });
    let connections = Arc::new(Connections::default());
    let keep_alive = Duration::from_secs_f64(server.keep_alive_seconds);
    Connections::watch(&connections, Patience { idle: keep_alive + client_timeout, head: client_timeout });
    let http = http
        .on_connect(move |socket, extensions| {
            if let Some(socket) = socket.downcast_ref::<tokio::net::TcpStream>()
                && let Some(connection) = connections.note(socket)
            {
                extensions.insert(connection);
            }
        })
        .workers(server.workers)
        .worker_max_blocking_threads(cores.max(2))
        .max_connections((server.max_connections / server.workers).max(1))
        .keep_alive(KeepAlive::Timeout(Duration::from_secs_f64(server.keep_alive_seconds)))
        .client_request_timeout(client_timeout)
        .client_disconnect_timeout(client_timeout.min(DISCONNECT_PATIENCE))
        .h1_allow_half_closed(false)
        // An answer goes out in several writes: none waits for the client's delayed acknowledgement of the one before.
        .tcp_nodelay(true)
        // The supervisor ends what takes too long; the workers let the last answers out.
        .shutdown_timeout(server.shutdown_timeout_seconds.ceil() as u64 + LAST_ANSWERS_SECONDS)
        .disable_signals()
        .listen(listener)?;
    Ok(http.run())
}

fn routes(app: &mut web::ServiceConfig) {
    app.service(get("/", page::page))
        .service(get("/assets/{hash}/{file}", page::asset))
        .service(get("/v2", models::server))
        .service(get("/v2/", models::server))
        .service(get("/v2/health/live", health::live))
        .service(get("/v2/health/ready", health::ready))
        .service(get("/healthz", health::live))
        .service(get("/readyz", health::ready))
        .service(get("/metrics", health::metrics).wrap(from_fn(compress::compress)))
        .service(post("/api/v1/frames", frames::frames).wrap(from_fn(compress::compress)))
        .service(get("/api/v1/monitoring/status", status::status))
        .service(get("/api/v1/alerts", status::alerts))
        .service(get("/api/v1/history", status::history).wrap(from_fn(compress::compress)))
        .service(get("/api/v1/recorder", status::recorder).wrap(from_fn(compress::compress)))
        .service(post("/api/v1/reload", admin::reload))
        .service(post("/api/v1/qualify", qualification::qualify))
        .service(get("/v2/models/stats", models::statistics));
    for base in ["/v2/models/{name}", "/v2/models/{name}/versions/{version}"] {
        app.service(get(base, models::metadata))
            .service(get(&format!("{base}/ready"), models::ready))
            .service(get(&format!("{base}/config"), models::configuration))
            .service(get(&format!("{base}/stats"), models::statistics))
            .service(post(&format!("{base}/infer"), infer::infer).wrap(from_fn(compress::compress)));
    }
    for base in ["/v2/repository", "/v2/repository/{repository}"] {
        app.service(post(&format!("{base}/index"), repository::index))
            .service(post(&format!("{base}/models/{{name}}/load"), repository::load))
            .service(post(&format!("{base}/models/{{name}}/unload"), repository::unload));
    }
}

/// A path that is there for GET only.
fn get<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    on(path, web::get().to(handler), "GET")
}

/// A path that is there for POST only.
fn post<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    on(path, web::post().to(handler), "POST")
}

/// A path with its one method; any other is answered with 405.
fn on(path: &str, route: Route, allowed: &'static str) -> Resource {
    let no_such_method = move || async move { ApiError::NoSuchMethod { allowed }.error_response() };
    web::resource(path).route(route).default_service(web::to(no_such_method))
}

async fn no_such_path() -> HttpResponse {
    ApiError::NoSuchPath.error_response()
}
