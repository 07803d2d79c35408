//! The plugin's configuration: JSON in, a checked [`Config`] out.

use std::fmt;

use agw_sdk::json::{self, Json};

/// What the operator wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// The policy's name, as it stands in headers and in keys.
    pub(crate) name: String,
    /// Requests per window and key.
    pub(crate) limit: u64,
    /// Seconds.
    pub(crate) window: u32,
    /// Where the key comes from; the first that a request has counts.
    pub(crate) key: Vec<Source>,
    /// The Redis resource.
    pub(crate) resource: String,
    /// What happens when Redis gives no answer.
    pub(crate) on_error: OnError,
    /// Count and say so, but let everything pass.
    pub(crate) shadow: bool,
}

/// Where a request's key comes from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// This request header, in lower case.
    Header(String),
    /// This cookie.
    Cookie(String),
    /// The client's IP address.
    Address,
    /// The path without its query.
    Path,
}

/// What happens to a request that could not be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnError {
    /// It passes.
    Open,
    /// It is answered with 503.
    Closed,
}

/// What is wrong with the configuration, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Such as `key[1].header`.
    field: String,
    what: String,
}

/// Structured fields hold integers of 15 digits.
const LIMIT_MAX: u64 = 999_999_999_999_999;
/// A year.
const WINDOW_MAX: u64 = 366 * 86_400;
const NAME_MAX: usize = 64;

impl Config {
    /// Reads the configuration.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Config, Problem> {
        let json = json::parse(bytes).map_err(|problem| Problem::new("", format!("not JSON: {problem}")))?;
        let mut fields = Fields::new("", json)?;
        let config = Config {
            name: fields.optional("name", name)?.unwrap_or_else(|| "default".into()),
            limit: fields.required("limit", |field, value| whole(field, &value, 1, LIMIT_MAX))?,
            window: fields
                .required("window", |field, value| whole(field, &value, 1, WINDOW_MAX))
                // The bound above fits.
                .map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX))?,
            key: fields.optional("key", sources)?.unwrap_or_else(|| vec![Source::Address]),
            resource: fields.optional("resource", resource)?.unwrap_or_else(|| "limits".into()),
            on_error: fields.optional("on_error", on_error)?.unwrap_or(OnError::Open),
            shadow: fields.optional("shadow", flag)?.unwrap_or(false),
        };
        fields.finish()?;
        Ok(config)
    }
}

impl Problem {
    fn new(field: impl Into<String>, what: impl Into<String>) -> Problem {
        Problem { field: field.into(), what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("configuration")?;
        if !self.field.is_empty() {
            f.write_str(": ")?;
            f.write_str(&self.field)?;
        }
        f.write_str(": ")?;
        f.write_str(&self.what)
    }
}

/// An object whose fields are taken out one by one; those left over are errors.
struct Fields<'a> {
    path: &'a str,
    left: Vec<(String, Json)>,
}

impl<'a> Fields<'a> {
    fn new(path: &'a str, value: Json) -> Result<Self, Problem> {
        match value {
            Json::Object(left) => Ok(Fields { path, left }),
            _ => Err(Problem::new(path, "write an object, such as {\"limit\": 5, \"window\": 10}")),
        }
    }

    fn optional<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str, Json) -> Result<T, Problem>,
    ) -> Result<Option<T>, Problem> {
        let path = join(self.path, name);
        let at = self.left.iter().position(|(found, _)| found == name);
        at.map(|at| read(&path, self.left.remove(at).1)).transpose()
    }

    fn required<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str, Json) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        self.optional(name, read)?.ok_or_else(|| Problem::new(join(self.path, name), "it is missing"))
    }

    fn finish(self) -> Result<(), Problem> {
        match self.left.first() {
            None => Ok(()),
            Some((unknown, _)) => Err(Problem::new(join(self.path, unknown), "there is no such field")),
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.into() } else { [path, ".", name].concat() }
}

fn text(field: &str, value: Json) -> Result<String, Problem> {
    match value {
        Json::String(text) if !text.is_empty() => Ok(text),
        _ => Err(Problem::new(field, "write a text that is not empty")),
    }
}

fn whole(field: &str, value: &Json, min: u64, max: u64) -> Result<u64, Problem> {
    let number = value.whole().and_then(|number| u64::try_from(number).ok());
    number
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| Problem::new(field, format!("write a whole number from {min} to {max}")))
}

fn flag(field: &str, value: Json) -> Result<bool, Problem> {
    match value {
        Json::Bool(flag) => Ok(flag),
        _ => Err(Problem::new(field, "write true or false")),
    }
}

fn name(field: &str, value: Json) -> Result<String, Problem> {
    let name = text(field, value)?;
    let belongs = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.len() > NAME_MAX || !name.bytes().all(belongs) {
        return Err(Problem::new(field, "write at most 64 letters, digits, dashes, dots and underscores"));
    }
    Ok(name)
}

fn resource(field: &str, value: Json) -> Result<String, Problem> {
    text(field, value)
}

fn on_error(field: &str, value: Json) -> Result<OnError, Problem> {
    match text(field, value).as_deref() {
        Ok("open") => Ok(OnError::Open),
        Ok("closed") => Ok(OnError::Closed),
        _ => Err(Problem::new(field, "write open or closed")),
    }
}

fn sources(field: &str, value: Json) -> Result<Vec<Source>, Problem> {
    const EXAMPLE: &str = "write a list, such as [{\"header\": \"x-api-key\"}, {\"address\": true}]";
    let Json::Array(list) = value else { return Err(Problem::new(field, EXAMPLE)) };
    if list.is_empty() {
        return Err(Problem::new(field, EXAMPLE));
    }
    list.into_iter().enumerate().map(|(index, value)| source(&format!("{field}[{index}]"), value)).collect()
}

fn source(field: &str, value: Json) -> Result<Source, Problem> {
    const EXAMPLE: &str =
        "write one of header, cookie, address and path, such as {\"header\": \"x-api-key\"}";
    let Json::Object(fields) = value else { return Err(Problem::new(field, EXAMPLE)) };
    let mut fields = fields.into_iter();
    let (Some((kind, value)), None) = (fields.next(), fields.next()) else {
        return Err(Problem::new(field, EXAMPLE));
    };
    let path = join(field, &kind);
    match kind.as_str() {
        "header" => token(&path, value).map(|name| Source::Header(name.to_ascii_lowercase())),
        "cookie" => token(&path, value).map(Source::Cookie),
        "address" => chosen(&path, value).map(|()| Source::Address),
        "path" => chosen(&path, value).map(|()| Source::Path),
        _ => Err(Problem::new(path, "there is no such source; write header, cookie, address or path")),
    }
}

fn chosen(field: &str, value: Json) -> Result<(), Problem> {
    match flag(field, value)? {
        true => Ok(()),
        false => Err(Problem::new(field, "write true, or leave the source out")),
    }
}

/// The characters of a header's or cookie's name (RFC 9110, 5.6.2).
fn token(field: &str, value: Json) -> Result<String, Problem> {
    let name = text(field, value)?;
    let belongs = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !name.bytes().all(belongs) {
        return Err(Problem::new(field, "this is not a name that a header or cookie can have"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests;
