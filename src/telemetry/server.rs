//! The worker's own small HTTP server: `/livez`, `/readyz`, `/metrics`, and the page at `/`.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;

use super::{metrics::Metrics, page, readiness::Readiness};

/// The server, bound but not serving yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    router: Router,
}

impl Server {
    /// Takes the address.
    ///
    /// # Errors
    /// A sentence that names the key and the address, where it cannot be had.
    pub async fn bind(
        address: SocketAddr,
        metrics: Metrics,
        readiness: Readiness,
    ) -> Result<Self, String> {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            format!("http.listen: {address} cannot be had: {error}; choose another")
        })?;
        let router = page::router(metrics.clone(), readiness.clone())
            .route("/livez", get(livez).with_state(readiness.clone()))
            .route("/readyz", get(readyz).with_state(readiness))
            .route("/metrics", get(show_metrics).with_state(metrics));
        Ok(Self { listener, router })
    }

    /// Serves until the process ends.
    pub async fn serve(self) {
        if let Err(error) = axum::serve(self.listener, self.router).await {
            tracing::error!(%error, "the HTTP server ended");
        }
    }
}

async fn livez(State(readiness): State<Readiness>) -> impl IntoResponse {
    answer(readiness.live())
}

async fn readyz(State(readiness): State<Readiness>) -> impl IntoResponse {
    answer(readiness.text())
}

fn answer((well, text): (bool, String)) -> impl IntoResponse {
    (
        if well {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        },
        text,
    )
}

async fn show_metrics(State(metrics): State<Metrics>) -> impl IntoResponse {
    ([(CONTENT_TYPE, Metrics::content_type())], metrics.text())
}
