//! The HTTP server.

use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::{Compress, from_fn};
use actix_web::{App, HttpServer};
use anyhow::Context;
use trireme_api::ApiState;
use trireme_settings::Settings;

use crate::addresses::{self, Addresses};
use crate::{memory, open_files};

/// Binds the listener; done first, so that a port in use is told before anything else is touched.
pub(crate) fn bind(settings: &Settings) -> anyhow::Result<TcpListener> {
    let listen = &settings.http.listen;
    TcpListener::bind(listen).with_context(|| {
        format!("cannot listen on http.listen={listen}; if another process has the port, choose another one")
    })
}

/// Starts serving. The server stops only when the node's stop list says so: signals are the node's.
pub(crate) fn serve(
    listener: TcpListener,
    settings: &Settings,
    state: ApiState,
    addresses: Arc<Addresses>,
) -> anyhow::Result<(Server, ServerHandle)> {
    let http = &settings.http;
    let workers = match http.workers {
        0 => std::thread::available_parallelism().map_or(2, usize::from),
        n => n,
    };
    let server = HttpServer::new(move || {
        let state = state.clone();
        // Runs once on each worker.
        actix_rt::spawn(memory::give_back_now_and_then());

        App::new()
            .wrap(from_fn(trireme_api::layers::measure))
            .wrap(from_fn(trireme_api::layers::say_what_is_missing))
            .wrap(from_fn(trireme_api::layers::cors))
            .wrap(from_fn(trireme_api::layers::see_off))
            .wrap(Compress::default())
            .wrap(from_fn(trireme_api::layers::before_chunks))
            .wrap(from_fn(addresses::refuse))
            // Outermost: all others see the path that is meant, without the prefix.
            .wrap(from_fn(trireme_api::prefix::strip_prefix))
            .configure(move |cfg| trireme_api::configure(cfg, state))
    })
    .on_connect(move |connection, beside| addresses.connected(connection, beside))
    .workers(workers)
    .max_connections(open_files::connections(http.connections_max, workers))
    // An answer in pieces would wait for the acknowledgement of the piece before, which clients put off for 40 ms.
    .tcp_nodelay(true)
    .keep_alive(http.keep_alive.as_duration())
    .client_request_timeout(http.request_timeout.as_duration())
    .shutdown_timeout(http.stop_timeout.as_duration().as_secs())
    // A client that closes its side has gone: its query ends. By default it would be waited for like one that only has
    // nothing more to send.
    .h1_allow_half_closed(false)
    .disable_signals()
    .listen(listener)
    .context("cannot serve on http.listen")?
    .run();

    let handle = server.handle();
    Ok((server, handle))
}
