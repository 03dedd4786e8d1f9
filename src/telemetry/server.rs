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

use super::{history::History, metrics::Metrics, page, readiness::Readiness, status::View};

/// The server, bound but not serving yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    router: Router,
    view: View,
    history: History,
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
        let view = View::new(metrics.clone(), readiness.clone());
        let history = History::default();
        let router = page::router(view.clone(), history.clone())
            .route("/livez", get(livez).with_state(readiness.clone()))
            .route("/readyz", get(readyz).with_state(readiness))
            .route("/metrics", get(show_metrics).with_state(metrics));
        Ok(Self {
            listener,
            router,
            view,
            history,
        })
    }

    /// Serves until the process ends.
    pub async fn serve(self) {
        tokio::select! {
            ended = axum::serve(self.listener, self.router).into_future() => if let Err(error) = ended {
                tracing::error!(%error, "the HTTP server ended");
            },
            () = self.history.keep(self.view) => {}
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
