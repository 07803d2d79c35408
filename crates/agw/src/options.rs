//! Options of the command line as lines of a document: what `quickstart` and `try` have in common.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use serde_json::Value;

/// Why the options make no configuration, and what to write instead. Never shows a URL, which may hold a password.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadOption {
    pub(crate) option: &'static str,
    pub(crate) message: &'static str,
}

impl std::fmt::Display for BadOption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.option, self.message)
    }
}

impl std::error::Error for BadOption {}

/// The lines of a Redis resource that say where it is, each with its newline.
pub(crate) fn redis(url: &str, password_file: Option<&Path>) -> Result<String, BadOption> {
    let bad = |message| BadOption { option: "--redis", message };
    if url.contains('@') {
        return Err(bad(
            "the URL carries credentials; remove them, and name a file with --redis-password-file",
        ));
    }
    if url.starts_with("rediss://") {
        return Err(bad(
            "TLS needs an authority to trust, which has no option here; write --print-config with \
                        redis://, change the url to rediss:// and add tls: { ca: { file: PATH } }",
        ));
    }
    if !url.starts_with("redis://") {
        return Err(bad("write redis://host:port/database"));
    }
    let mut lines = format!("    url: {}\n", quoted(url));
    if let Some(file) = password_file {
        lines.push_str(&format!("    password: {{ file: {} }}\n", quoted(&absolute(file)?)));
    }
    Ok(lines)
}

/// Absolute: the printed document may be stored anywhere.
fn absolute(file: &Path) -> Result<String, BadOption> {
    let bad = |message| BadOption { option: "--redis-password-file", message };
    let path =
        std::path::absolute(file).map_err(|_| bad("the path cannot be made absolute; write it in full"))?;
    path.into_os_string().into_string().map_err(|_| bad("the path is not UTF-8; rename the file"))
}

/// The field of the cluster that says where requests go; the built-in echo without a URL.
pub(crate) fn upstream(url: Option<&str>) -> Result<String, BadOption> {
    let bad = |message| BadOption { option: "--upstream", message };
    let Some(url) = url else { return Ok("builtin: echo".to_owned()) };
    if url.contains('@') {
        return Err(bad("the URL carries credentials; remove them"));
    }
    if url.starts_with("https://") {
        return Err(bad("TLS to the upstream is not known yet; write http://host:port"));
    }
    let authority = url.strip_prefix("http://").unwrap_or(url);
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.is_empty() || authority.contains(['/', '?', '#']) {
        return Err(bad("write http://host:port, without a path"));
    }
    let has_port =
        authority.rsplit_once(':').is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']'));
    let endpoint = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    Ok(format!("endpoints: [{}]", quoted(&endpoint)))
}

/// A JSON string, which is a YAML string whatever is in it.
pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Where a client on this machine reaches a listener.
pub(crate) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
