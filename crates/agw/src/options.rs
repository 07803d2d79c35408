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
        lines.push_str(&password("--redis-password-file", file)?);
    }
    Ok(lines)
}

/// A SQL database that `--sql` names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Database {
    /// The resource's `type`.
    pub(crate) kind: &'static str,
    /// The lines of the resource that say where it is and how to get in, each with its newline.
    pub(crate) lines: String,
}

impl Database {
    /// The placeholder of a statement's only parameter.
    pub(crate) fn placeholder(&self) -> &'static str {
        if self.kind == "postgres" { "$1" } else { "?" }
    }
}

/// A URL's scheme says the type; a server's URL may name the user. What is behind that is the loader's to check.
pub(crate) fn sql(url: &str, password_file: Option<&Path>) -> Result<Database, BadOption> {
    let bad = |message| BadOption { option: "--sql", message };
    if let Some(place) = url.strip_prefix("sqlite:") {
        if password_file.is_some() {
            return Err(bad("a SQLite database has no password; remove --sql-password-file"));
        }
        let url = match place.strip_prefix("//") {
            Some(path) if !path.is_empty() => format!("sqlite://{}", absolute("--sql", Path::new(path))?),
            _ => url.to_owned(),
        };
        return Ok(Database { kind: "sqlite", lines: format!("    url: {}\n", quoted(&url)) });
    }
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let kind = match scheme {
        "postgres" | "postgresql" => "postgres",
        "mysql" | "mariadb" => "mysql",
        _ => return Err(bad("write postgres://user@host:port/database, mysql://..., or sqlite://PATH")),
    };
    let (user, place) = rest.rsplit_once('@').map_or((None, rest), |(user, place)| (Some(user), place));
    let mut lines = format!("    url: {}\n", quoted(&format!("{scheme}://{place}")));
    if let Some(user) = user {
        if user.is_empty() || user.contains([':', '@', '/', '%']) {
            return Err(bad(
                "before the @ stands more than a user's name; remove the password, and name a file with \
                            --sql-password-file",
            ));
        }
        lines.push_str(&format!("    username: {}\n", quoted(user)));
    }
    if let Some(file) = password_file {
        lines.push_str(&password("--sql-password-file", file)?);
    }
    Ok(Database { kind, lines })
}

/// The line of a resource that says where its password is.
fn password(option: &'static str, file: &Path) -> Result<String, BadOption> {
    Ok(format!("    password: {{ file: {} }}\n", quoted(&absolute(option, file)?)))
}

/// Absolute: the printed document may be stored anywhere.
fn absolute(option: &'static str, file: &Path) -> Result<String, BadOption> {
    let bad = |message| BadOption { option, message };
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
