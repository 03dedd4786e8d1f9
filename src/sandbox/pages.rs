//! The HTML pages of what stands in front of an API: the proxy's, the container's, the firewall's.

use http::StatusCode;

/// The reason that nginx prints; for 503 it has words of its own.
fn reason(status: u16) -> &'static str {
    match status {
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        _ => StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Error"),
    }
}

/// nginx's own page, to the byte as Antsomi's document shows it.
pub(super) fn nginx(status: u16) -> String {
    let title = format!("{status} {}", reason(status));
    format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body bgcolor=\"white\">\r\n\
         <center><h1>{title}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
}

/// A Java container's page for a path that nothing serves.
pub(super) fn container(status: u16) -> String {
    let title = format!("HTTP Status {status} - {}", reason(status));
    format!(
        "<!doctype html><html lang=\"en\"><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    )
}

/// A web firewall's refusal.
pub(super) fn firewall() -> &'static str {
    "<html>\r\n<head><title>403 Forbidden</title></head>\r\n<body>\r\n<center><h1>403 Forbidden</h1></center>\r\n\
     </body>\r\n</html>\r\n"
}
