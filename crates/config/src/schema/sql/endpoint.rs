//! Where a database is, how to get in, and how to verify it.

use std::path::PathBuf;

use super::SqlType;
use crate::field::Field;
use crate::problem::{quoted, quoted_path};
use crate::reader::{Fields, Item};
use crate::schema::{address, secret, tls};
use crate::secret::Secret;
use crate::snapshot::{SqlEndpoint, SqlHost, SqlServer, SqlServerEngine, SqlTarget, Sqlite};

pub(super) const SCHEMA: &[Field] = &[
    Field::text("file", "Path of the SQL").one_of().within("1 MiB"),
    Field::text("source", "The SQL itself").one_of().within("1 MiB"),
];
const SCHEMA_BYTES_MAX: usize = 1024 * 1024;
const DATABASE_BYTES_MAX: usize = 63;
pub(super) const ENDPOINTS_MAX: usize = 16;
const TARGETS: [(&str, SqlTarget); 4] = [
    ("any", SqlTarget::Any),
    ("primary", SqlTarget::Primary),
    ("replica", SqlTarget::Replica),
    ("prefer_replica", SqlTarget::PreferReplica),
];

pub(super) fn lower(fields: &Fields<'_>, sql_type: SqlType) -> Option<SqlEndpoint> {
    match sql_type {
        SqlType::Postgres => server(fields, SqlServerEngine::Postgres).map(SqlEndpoint::Server),
        SqlType::Mysql => server(fields, SqlServerEngine::Mysql).map(SqlEndpoint::Server),
        SqlType::Sqlite => sqlite(fields).map(SqlEndpoint::Sqlite),
    }
}

// === SQLite ===

fn sqlite(fields: &Fields<'_>) -> Option<Sqlite> {
    for name in ["endpoint", "endpoints", "target", "database", "username", "password", "tls", "plaintext"] {
        if let Some(item) = fields.optional(name) {
            item.problem("a SQLite database has no such thing", "Remove the field; the URL names the file");
        }
    }
    let schema = fields.optional("schema").and_then(|item| schema(&item));
    let path = fields.required("url", "sqlite://data/users.db").and_then(|item| sqlite_path(&item));
    let path = path?;
    if let (Some(path), None) = (&path, &schema)
        && !fields.item.context.files.exists(path)
        && let (None, Some(item)) = (fields.optional("schema"), fields.optional("url"))
    {
        item.problem(
            format!("there is no database {}", quoted_path(path)),
            "Create it, correct the path (it is relative to the document's folder), or write a schema: { file: PATH }",
        );
    }
    Some(Sqlite { path, schema })
}

/// `Some(None)` is a database in memory.
fn sqlite_path(item: &Item<'_>) -> Option<Option<PathBuf>> {
    let text = item.text()?;
    match text.strip_prefix("sqlite:") {
        Some(":memory:") => Some(None),
        Some(rest) if rest.len() > 2 && rest.starts_with("//") && !rest.contains(['?', '#', '\0']) => {
            Some(Some(item.context.resolve(rest.get(2..).unwrap_or_default())))
        }
        _ => {
            item.problem(
                format!("{} is not the URL of a SQLite database", quoted(text)),
                "Write sqlite://PATH, such as sqlite:///var/lib/agw/users.db, or sqlite::memory:",
            );
            None
        }
    }
}

fn schema(item: &Item<'_>) -> Option<String> {
    let (field, item) = item.fields(SCHEMA)?.one_of(&["file", "source"], "{ file: schema.sql }")?;
    let text = item.text()?;
    let source = if field == "source" { text.to_owned() } else { item.text_file(text, "statements of SQL")? };
    if source.len() > SCHEMA_BYTES_MAX || source.contains('\0') {
        item.problem("this is not a schema", format!("Write at most {SCHEMA_BYTES_MAX} bytes of SQL"));
    }
    Some(source)
}

// === servers ===

/// What `url`, or `endpoint` or `endpoints` with `database`, says.
struct Place {
    hosts: Vec<SqlHost>,
    database: Option<String>,
}

fn server(fields: &Fields<'_>, engine: SqlServerEngine) -> Option<SqlServer> {
    if let Some(item) = fields.optional("schema") {
        item.problem("the tables of a server are not the gateway's to make", "Remove the field");
    }
    let example = format!("url: {}://127.0.0.1:{}/users", schemes(engine)[0], port(engine));
    let place = fields.one_of(&["url", "endpoint", "endpoints"], &example);
    let place = place.and_then(|(field, item)| match field {
        "url" => from_url(&item, engine),
        "endpoint" => from_endpoints(std::slice::from_ref(&item), engine),
        _ => from_endpoints(&item.list_of("endpoints", ENDPOINTS_MAX, ""), engine),
    });
    let target = fields.optional("target").map_or(Some(SqlTarget::Any), |item| item.choice(&TARGETS));
    let database = fields.optional("database").and_then(|item| Some((database(&item)?, item)));
    let username = fields.optional("username").and_then(|item| Some(item.text()?.to_owned()));
    let password = fields.optional("password").and_then(|item| secret::secret(&item)).map(Secret::new);
    let verification = fields.optional("tls");
    let lowered = verification.as_ref().and_then(tls::lower);
    let plaintext = fields.boolean("plaintext", false);
    let place = place?;
    check_plaintext(fields, &place.hosts, verification.as_ref(), plaintext);
    let database = match (database, place.database) {
        (Some((_, item)), Some(_)) => {
            item.problem("the database is in the URL as well", "Keep one of the two");
            None
        }
        (Some((name, _)), None) => Some(name),
        (None, name) => name,
    };
    if database.is_none() && fields.optional("database").is_none() {
        fields
            .item
            .problem("the database's name is missing", format!("Write it into the URL, as in {example}"));
    }
    let (hosts, target) = (place.hosts, target?);
    Some(SqlServer { engine, hosts, target, database: database?, username, password, tls: lowered })
}

/// TLS is the default. What is to go in plaintext has to be said, unless it stays on this machine.
fn check_plaintext(fields: &Fields<'_>, hosts: &[SqlHost], tls: Option<&Item<'_>>, plaintext: bool) {
    let stays = hosts.iter().all(|at| address::is_loopback(&at.host));
    match (tls, plaintext) {
        (Some(item), true) => item.problem("plaintext is asked for as well", "Remove tls or plaintext"),
        (None, false) if !stays => fields.item.problem(
            "the connection leaves this machine, and nothing says whom to trust",
            format!("Write tls: {}, or plaintext: true", tls::EXAMPLE),
        ),
        (None, true) if !stays => {
            let message = "the connection leaves this machine in plaintext, password included";
            fields.item.warning(message, format!("Use tls: {}", tls::EXAMPLE));
        }
        _ => {}
    }
}

fn schemes(engine: SqlServerEngine) -> [&'static str; 2] {
    match engine {
        SqlServerEngine::Postgres => ["postgres", "postgresql"],
        SqlServerEngine::Mysql => ["mysql", "mariadb"],
    }
}

fn port(engine: SqlServerEngine) -> u16 {
    match engine {
        SqlServerEngine::Postgres => 5432,
        SqlServerEngine::Mysql => 3306,
    }
}

/// No message shows the URL: even a malformed one may hold a password.
fn from_url(item: &Item<'_>, engine: SqlServerEngine) -> Option<Place> {
    let text = item.text()?;
    if text.contains('@') {
        item.problem(
            "the URL carries credentials",
            "Remove them; write username: NAME and password: { file: PATH } or { env: NAME } beside the url",
        );
        return None;
    }
    if text.contains(['?', '#']) {
        item.problem("the URL has a query or a fragment", "Remove it; options have fields of their own");
        return None;
    }
    if text.contains(',') {
        item.problem(
            "the URL names several hosts",
            format!(
                "Write endpoints: [\"db1:{0}\", \"db2:{0}\"] and database: NAME in place of the url",
                port(engine)
            ),
        );
        return None;
    }
    let place = match text.split_once("://") {
        Some((scheme, rest)) if schemes(engine).contains(&scheme) => parse(rest, engine),
        _ => Err("the URL's scheme is not the type's"),
    };
    let hint = || format!("Write {}://host:port/database", schemes(engine)[0]);
    place.map_err(|reason| item.problem(reason, hint())).ok()
}

fn parse(rest: &str, engine: SqlServerEngine) -> Result<Place, &'static str> {
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    // The reasons of the parser are fixed texts: they quote nothing.
    let (host, port) = address::parse(authority, Some(port(engine)))?;
    let database = match database {
        "" => None,
        name if is_database(name) => Some(name.to_owned()),
        _ => return Err("the path of the URL is not a database's name"),
    };
    Ok(Place { hosts: vec![SqlHost { host, port }], database })
}

fn from_endpoints(items: &[Item<'_>], engine: SqlServerEngine) -> Option<Place> {
    let mut hosts = Vec::new();
    let mut is_complete = !items.is_empty();
    for item in items {
        let Some(at) = host(item, engine) else {
            is_complete = false;
            continue;
        };
        if hosts.contains(&at) {
            item.problem("the endpoint is written twice", "Remove one of the two");
        }
        hosts.push(at);
    }
    is_complete.then_some(Place { hosts, database: None })
}

fn host(item: &Item<'_>, engine: SqlServerEngine) -> Option<SqlHost> {
    let text = item.text()?;
    match address::parse(text, None) {
        Ok((host, port)) => Some(SqlHost { host, port }),
        Err(reason) => {
            let message = format!("{} is not an endpoint: {reason}", quoted(text));
            item.problem(message, format!("Write host:port, such as 127.0.0.1:{}", port(engine)));
            None
        }
    }
}

fn database(item: &Item<'_>) -> Option<String> {
    let name = item.text()?;
    if !is_database(name) {
        item.problem(
            format!("{} is not a database's name", quoted(name)),
            format!("Use at most {DATABASE_BYTES_MAX} printable characters without a slash"),
        );
        return None;
    }
    Some(name.to_owned())
}

fn is_database(name: &str) -> bool {
    name.len() <= DATABASE_BYTES_MAX && !name.chars().any(|letter| letter.is_control() || letter == '/')
}
