//! The status over HTTP: `/` names the others, `/healthz`, `/status`, `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Agent;
use super::metrics::render;

/// How long to wait until an address that is taken is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Serves the status until it is asked to stop. An address that cannot be had is tried again: WAL is received all the same.
pub(super) async fn serve(agent: Arc<Agent>, address: SocketAddr, stop: CancellationToken) {
    let mut complained = false;
    while !stop.is_cancelled() {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                tracing::info!(%address, "the status is served");
                let server = axum::serve(listener, routes(Arc::clone(&agent)));
                if let Err(error) = server.with_graceful_shutdown(stop.clone().cancelled_owned()).await {
                    tracing::error!(%address, "the status is no longer served: {error}");
                }
            }
            Err(error) if !complained => {
                complained = true;
                tracing::error!(%address, hint = "change [agent] listen", "the status cannot be served: {error}");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

fn routes(agent: Arc<Agent>) -> Router {
    let pages = Router::new().route("/", get(index)).route("/healthz", get(health)).route("/status", get(status));
    pages.route("/metrics", get(metrics)).with_state(agent)
}

/// What there is to see, for whoever looks with a browser.
async fn index() -> &'static str {
    "Holdfast agent\n\n/healthz   ok, or what is wrong\n/status    everything, as JSON ('holdfast status' shows it for people)\n/metrics   for Prometheus\n"
}

/// 200 if everything does its work; 503 and the reasons if not.
async fn health(State(agent): State<Arc<Agent>>) -> impl IntoResponse {
    let status = agent.status();
    if status.is_healthy() { (StatusCode::OK, "ok\n".to_owned()) } else { unwell(&status.ailments) }
}

fn unwell(ailments: &[String]) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, ailments.iter().map(|ailment| format!("{ailment}\n")).collect())
}

async fn status(State(agent): State<Arc<Agent>>) -> impl IntoResponse {
    Json(agent.status())
}

async fn metrics(State(agent): State<Arc<Agent>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], render(&agent.status()))
}
