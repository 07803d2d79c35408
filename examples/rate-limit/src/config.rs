//! The plugin's configuration: JSON in, a checked [`Config`] out.

use agw_sdk::json::{Field, Fields, Mistake};

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

/// Structured fields hold integers of 15 digits.
const LIMIT_MAX: u64 = 999_999_999_999_999;
/// A year.
const WINDOW_MAX: u64 = 366 * 86_400;
const NAME_MAX: usize = 64;

impl Config {
    /// Reads the configuration.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Config, Mistake> {
        let mut fields = Fields::parse(bytes, "{\"limit\": 5, \"window\": 10}")?;
        let config = Config {
            name: fields.optional("name").map_or_else(|| Ok("default".into()), name)?,
            limit: fields.required("limit")?.whole(1..=LIMIT_MAX)?,
            // The bound fits.
            window: fields.required("window")?.whole(1..=WINDOW_MAX)? as u32,
            key: fields.optional("key").map_or_else(|| Ok(vec![Source::Address]), sources)?,
            resource: fields.text_or("resource", "limits")?,
            on_error: fields.choice_or("on_error", &OnError::WORDS, OnError::Open)?,
            shadow: fields.flag_or("shadow", false)?,
        };
        fields.finish()?;
        Ok(config)
    }
}

impl OnError {
    const WORDS: [(&str, OnError); 2] = [("open", OnError::Open), ("closed", OnError::Closed)];
}

fn name(field: Field) -> Result<String, Mistake> {
    let mistake = field.mistake("write at most 64 letters, digits, dashes, dots and underscores");
    let name = field.text()?;
    let belongs = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.len() <= NAME_MAX && name.bytes().all(belongs) { Ok(name) } else { Err(mistake) }
}

fn sources(field: Field) -> Result<Vec<Source>, Mistake> {
    field.list("[{\"header\": \"x-api-key\"}, {\"address\": true}]")?.into_iter().map(source).collect()
}

/// One of the four, and nothing beside it.
fn source(field: Field) -> Result<Source, Mistake> {
    let one_of =
        field.mistake("write one of header, cookie, address and path, such as {\"header\": \"x-api-key\"}");
    let mut fields = field.fields("{\"header\": \"x-api-key\"}")?;
    let header = fields.optional("header").map(|field| field.header().map(Source::Header));
    let cookie = fields.optional("cookie").map(|field| field.token().map(Source::Cookie));
    let address = fields.optional("address").map(|field| chosen(field, Source::Address));
    let path = fields.optional("path").map(|field| chosen(field, Source::Path));
    fields.finish()?;
    let mut found = [header, cookie, address, path].into_iter().flatten();
    match (found.next(), found.next()) {
        (Some(source), None) => source,
        _ => Err(one_of),
    }
}

fn chosen(field: Field, source: Source) -> Result<Source, Mistake> {
    let mistake = field.mistake("write true, or leave the source out");
    if field.flag()? { Ok(source) } else { Err(mistake) }
}

#[cfg(test)]
mod tests;
