//! The server, its limits and its routes.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::KeepAlive;
use actix_web::middleware::{Compress, from_fn};
use actix_web::{App, HttpResponse, HttpServer, Resource, ResponseError, Route, web};

use super::body::Pool;
use super::connections::Connections;
use super::error::ApiError;
use super::{frames, health, infer, models, repository, wrap};
use crate::actors::board::Board;

/// How long a client may take to close its half of a connection that is done.
const DISCONNECT_PATIENCE: Duration = Duration::from_secs(1);

/// The HTTP server on `listener`, not yet polled.
///
/// # Errors
/// The listener cannot be used.
pub fn server(listener: TcpListener, board: Arc<Board>) -> std::io::Result<Server> {
    let server = board.config.server.clone();
    let pool = web::Data::new(Pool::default());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Shared by all workers: built once, outside the closure that each of them calls.
    let board = web::Data::from(board);
    #[cfg(feature = "test-hooks")]
    let hooks = web::Data::new(crate::hooks::Hooks);
    let http = HttpServer::new(move || {
        let app = App::new().app_data(board.clone()).app_data(pool.clone());
        #[cfg(feature = "test-hooks")]
        let app = app
            .app_data(hooks.clone())
            .service(web::resource("/test/panic/{room}").route(web::post().to(super::hooks::panic)));
        app.configure(routes).default_service(web::to(no_such_path)).wrap(Compress::default()).wrap(from_fn(wrap::wrap))
    });
    let connections = Arc::new(Connections::default());
    let patience = Duration::from_secs_f64(server.keep_alive_seconds + server.client_timeout_seconds);
    Connections::watch(&connections, patience);
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
        .client_request_timeout(Duration::from_secs_f64(server.client_timeout_seconds))
        .client_disconnect_timeout(DISCONNECT_PATIENCE)
        .h1_allow_half_closed(false)
        .shutdown_timeout(server.shutdown_timeout_seconds.ceil() as u64)
        .disable_signals()
        .listen(listener)?;
    Ok(http.run())
}

fn routes(app: &mut web::ServiceConfig) {
    app.service(on("/v2", web::get().to(models::server)))
        .service(on("/v2/", web::get().to(models::server)))
        .service(on("/v2/health/live", web::get().to(health::live)))
        .service(on("/v2/health/ready", web::get().to(health::ready)))
        .service(on("/healthz", web::get().to(health::live)))
        .service(on("/readyz", web::get().to(health::ready)))
        .service(on("/metrics", web::get().to(health::metrics)))
        .service(on("/api/v1/frames", web::post().to(frames::frames)))
        .service(on("/v2/models/stats", web::get().to(models::statistics)));
    for base in ["/v2/models/{name}", "/v2/models/{name}/versions/{version}"] {
        app.service(on(base, web::get().to(models::metadata)))
            .service(on(&format!("{base}/ready"), web::get().to(models::ready)))
            .service(on(&format!("{base}/config"), web::get().to(models::configuration)))
            .service(on(&format!("{base}/stats"), web::get().to(models::statistics)))
            .service(on(&format!("{base}/infer"), web::post().to(infer::infer)));
    }
    for base in ["/v2/repository", "/v2/repository/{repository}"] {
        let small = || web::PayloadConfig::new(repository::MAX_BODY);
        let (load, unload) = (web::post().to(repository::load), web::post().to(repository::unload));
        app.service(on(&format!("{base}/index"), web::post().to(repository::index)).app_data(small()))
            .service(on(&format!("{base}/models/{{name}}/load"), load).app_data(small()))
            .service(on(&format!("{base}/models/{{name}}/unload"), unload).app_data(small()));
    }
}

/// A path with its one method; any other is answered with 405.
fn on(path: &str, route: Route) -> Resource {
    web::resource(path).route(route).default_service(web::to(no_such_method))
}

async fn no_such_method() -> HttpResponse {
    ApiError::NoSuchMethod.error_response()
}

async fn no_such_path() -> HttpResponse {
    ApiError::NoSuchPath.error_response()
}
