//! Values that a document names instead of holding: `{ file: PATH }` or `{ env: NAME }`.
//!
//! No message here shows a value, nor anything that may be one by mistake.

use std::path::PathBuf;

use crate::problem::{quoted, quoted_path};
use crate::reader::Item;
use crate::secret::Secret;
use crate::snapshot::Pem;
use crate::tree::Value;

/// How a document refers to a value.
pub(crate) const FORMS: &str = "{ file: PATH } or { env: NAME }";

const SECRET_BYTES_MAX: usize = 64 * 1024;
const PEM_BYTES_MAX: usize = 1024 * 1024;

/// A secret. One newline at the end of a file is not part of it.
pub(super) fn secret(item: &Item<'_>) -> Option<Vec<u8>> {
    let (reference, mut bytes) = resolve(item, SECRET_BYTES_MAX)?;
    if reference.file.is_some() {
        for end in [b'\n', b'\r'] {
            if bytes.last() == Some(&end) {
                bytes.pop();
            }
        }
    }
    if bytes.is_empty() {
        item.problem(format!("{} is empty", reference.shown), "Put the secret there; there is no empty one");
        return None;
    }
    Some(bytes)
}

/// PEM text with its reference, as messages may show it.
pub(super) struct Referenced {
    pub(super) pem: Pem,
    pub(super) shown: String,
}

/// PEM text with at least one block of this kind, such as `CERTIFICATE`. What is in the block is not looked at.
pub(super) fn pem(item: &Item<'_>, kind: &str) -> Option<Referenced> {
    let (reference, bytes) = resolve(item, PEM_BYTES_MAX)?;
    let text = String::from_utf8_lossy(&bytes);
    let has_block = text.lines().any(|line| {
        let label = line.trim().strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----"));
        label.is_some_and(|label| label.ends_with(kind))
    });
    if !has_block {
        let message = format!("{} holds no PEM block of kind {kind}", reference.shown);
        item.problem(message, format!("Name a file with -----BEGIN {kind}-----"));
        return None;
    }
    let pem = Pem { text: Secret::new(bytes), file: reference.file };
    Some(Referenced { pem, shown: reference.shown })
}

/// A reference, as messages may show it.
struct Reference {
    shown: String,
    file: Option<PathBuf>,
}

fn resolve(item: &Item<'_>, bytes_max: usize) -> Option<(Reference, Vec<u8>)> {
    let (is_file, target) = reference(item)?;
    let files = item.context.files;
    let (shown, file, found) = if is_file {
        let path = item.context.resolve(target);
        let found = files.read(&path).map_err(|reason| format!("cannot be read: {reason}"));
        (format!("the file {}", quoted_path(&path)), Some(path), found)
    } else {
        let found = files.env(target).map(String::into_bytes).ok_or_else(|| "is not set".to_owned());
        (format!("the environment variable {}", quoted(target)), None, found)
    };
    match found {
        Ok(bytes) if bytes.len() > bytes_max => {
            item.problem(format!("{shown} is too long"), format!("Keep it within {bytes_max} bytes"));
            None
        }
        Ok(bytes) => Some((Reference { shown, file }, bytes)),
        Err(reason) => {
            item.problem(format!("{shown} {reason}"), "Create it, or correct the reference");
            None
        }
    }
}

/// Whether it is a file, and its path or the variable's name.
fn reference<'a>(item: &Item<'a>) -> Option<(bool, &'a str)> {
    const HINT: &str = "Write { file: PATH } or { env: NAME }";
    let Value::Mapping(entries) = &item.node.value else {
        item.problem("a plain value is refused here: a document names secrets, it holds none", HINT);
        return None;
    };
    // The keys themselves may be a secret that was pasted into braces.
    let [entry] = entries.as_slice() else {
        item.problem(format!("expected exactly one of file and env, found {} fields", entries.len()), HINT);
        return None;
    };
    let Value::Text(target) = &entry.node.value else {
        item.problem("the reference is not a string", HINT);
        return None;
    };
    let is_file = entry.key == "file";
    if target.is_empty() || !(is_file || entry.key == "env") {
        item.problem("this is not a reference", HINT);
        return None;
    }
    let named = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !is_file && (!target.bytes().all(named) || target.starts_with(|first: char| first.is_ascii_digit())) {
        item.problem(
            "this is not the name of an environment variable",
            "Use letters, digits and underscores",
        );
        return None;
    }
    Some((is_file, target))
}
