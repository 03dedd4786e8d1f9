//! `health`: asks the worker on this machine whether it is ready, for images that have no other program to do so.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};

use super::{Failed, print_line};
use crate::{
    http::{Client, Options},
    settings::Settings,
};

/// Shorter than the time that probes are usually given.
const LIMIT: Duration = Duration::from_secs(3);

/// More than the worker has to say of all its providers.
const MOST_BYTES: usize = 1024 * 1024;

/// What to ask.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Whether it serves at all (/livez), not whether it takes jobs (/readyz).
    #[arg(long)]
    live: bool,
}

pub(super) async fn run(settings: Settings, arguments: Arguments) -> Result<ExitCode, Failed> {
    let page = if arguments.live { "livez" } else { "readyz" };
    let answer = ask(settings.http.listen, page).await?;
    print_line(answer.body().trim_ascii_end())?;
    Ok(if answer.status().is_success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What the worker that listens here says on one of its pages.
///
/// # Errors
/// Where none answers.
pub(super) async fn ask(listen: SocketAddr, page: &str) -> Result<Response<Bytes>, Failed> {
    let address = reachable(listen);
    let options = Options {
        max_response_bytes: MOST_BYTES,
        ..Options::default()
    };
    let client = Client::new(options).map_err(Failed::new)?;
    let request = Request::get(format!("http://{address}/{page}"))
        .body(Bytes::new())
        .map_err(Failed::new)?;
    client.send(request, LIMIT).await.map_err(|_| {
        Failed::new(format_args!(
            "no worker answers on {address} within {} s",
            LIMIT.as_secs()
        ))
    })
}

/// Where a server that listens on every address is asked.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
