#![doc = include_str!("../README.md")]

mod explain;
mod field;
mod json_schema;
mod load;
mod pattern;
mod problem;
mod reader;
mod redacted;
mod schema;
mod secret;
mod snapshot;
mod tree;
mod units;

pub use explain::explain;
pub use json_schema::json_schema;
pub use load::{Files, Loaded, Origin, load};
pub use pattern::{search_pattern, whole_pattern};
pub use problem::Problem;
pub use redacted::redacted_json;
pub use secret::Secret;
pub use snapshot::*;
pub use tree::DOCUMENT_BYTES_MAX;

#[cfg(test)]
mod tests;
