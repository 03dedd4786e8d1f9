//! The page at `/`: what this worker does, for people. It is three files without a build step, which ask
//! `/history.json` at first, `/status.json` every other second and nobody else, ever: the policy in their headers sees
//! to that.

use axum::{
    Router,
    extract::State,
    http::header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS,
    },
    response::IntoResponse,
    routing::get,
};

use super::{history::History, status::View};

/// Nothing but what this server gives; no script and no style within the page; in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page and what it asks for.
pub fn router(view: View, history: History) -> Router {
    let status = async |State(view): State<View>| {
        // Strings and numbers become JSON without fail.
        served(
            "application/json",
            serde_json::to_string(&view.status()).unwrap_or_default(),
        )
    };
    let past = async |State(history): State<History>| served("application/json", history.json());
    Router::new()
        .route(
            "/",
            get(async || served("text/html; charset=utf-8", include_str!("page/page.html"))),
        )
        .route(
            "/page.css",
            get(async || served("text/css; charset=utf-8", include_str!("page/page.css"))),
        )
        .route(
            "/page.js",
            get(async || {
                served(
                    "text/javascript; charset=utf-8",
                    include_str!("page/page.js"),
                )
            }),
        )
        .route("/status.json", get(status).with_state(view))
        .route("/history.json", get(past).with_state(history))
}

fn served(content_type: &'static str, body: impl IntoResponse) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, content_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // The next version of the worker brings its own.
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, body)
}
