//! Values that a document names instead of holding: `{ file: PATH }`, `{ env: NAME }`, or
//! `{ directory: PATH, key: NAME }`, a file in a directory of secrets as Kubernetes mounts them.
//!
//! No message here shows a value, nor anything that may be one by mistake.

use std::path::{Path, PathBuf};

use crate::problem::{quoted, quoted_path};
use crate::reader::Item;
use crate::secret::Secret;
use crate::snapshot::Pem;
use crate::tree::Value;

/// How a document refers to a value.
pub(crate) const FORMS: &str = "{ file: PATH }, { env: NAME } or { directory: PATH, key: NAME }";

const SECRET_BYTES_MAX: usize = 64 * 1024;
const PEM_BYTES_MAX: usize = 1024 * 1024;

/// A secret. One newline at the end of a file is not part of it.
pub(super) fn secret(item: &Item<'_>) -> Option<Vec<u8>> {
    let (reference, mut bytes) = resolve(item, SECRET_BYTES_MAX)?;
    check_readers(item, &reference);
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
    if kind == "PRIVATE KEY" {
        check_readers(item, &reference);
    }
    let pem = Pem { text: Secret::new(bytes), file: reference.file };
    Some(Referenced { pem, shown: reference.shown })
}

/// A reference, as messages may show it.
struct Reference {
    shown: String,
    file: Option<PathBuf>,
}

/// A secret that every user of the machine may read is none.
fn check_readers(item: &Item<'_>, reference: &Reference) {
    if reference.file.as_ref().is_some_and(|path| item.context.files.readable_by_all(path)) {
        item.warning(
            format!("{} can be read by every user of this machine", reference.shown),
            "chmod o-r FILE; for a volume of Kubernetes, defaultMode: 0440",
        );
    }
}

/// What a reference leads to.
enum Target<'a> {
    File(PathBuf),
    Variable(&'a str),
    /// A file of this name in a directory.
    Key(PathBuf, &'a str),
}

fn resolve(item: &Item<'_>, bytes_max: usize) -> Option<(Reference, Vec<u8>)> {
    let files = item.context.files;
    let (shown, file, found) = match target(item)? {
        Target::File(path) => {
            let found =
                files.read(&path).map_err(|reason| Unresolved::new(format!("cannot be read: {reason}")));
            (format!("the file {}", quoted_path(&path)), Some(path), found)
        }
        Target::Variable(name) => {
            let value = files.env(name).map(String::into_bytes);
            let found = value.ok_or_else(|| Unresolved::new("is not set".to_owned()));
            (format!("the environment variable {}", quoted(name)), None, found)
        }
        Target::Key(directory, key) => {
            let path = directory.join(key);
            let found = files.read(&path).map_err(|reason| without_key(item, &directory, key, &reason));
            let shown = format!("the key {} of the directory {}", quoted(key), quoted_path(&directory));
            (shown, Some(path), found)
        }
    };
    match found {
        Ok(bytes) if bytes.len() > bytes_max => {
            item.problem(format!("{shown} is too long"), format!("Keep it within {bytes_max} bytes"));
            None
        }
        Ok(bytes) => Some((Reference { shown, file }, bytes)),
        Err(Unresolved { reason, hint }) => {
            item.problem(format!("{shown} {reason}"), hint);
            None
        }
    }
}

/// Why a reference leads to nothing.
struct Unresolved {
    reason: String,
    hint: String,
}

impl Unresolved {
    fn new(reason: String) -> Self {
        Unresolved { reason, hint: "Create it, or correct the reference".to_owned() }
    }
}

/// `reason` is why the key's file cannot be read. The names of other keys are no secret.
fn without_key(item: &Item<'_>, directory: &Path, key: &str, reason: &str) -> Unresolved {
    match item.context.files.names(directory) {
        Err(reason) => Unresolved::new(format!("cannot be read, nor can the directory: {reason}")),
        Ok(names) if names.iter().any(|name| name == key) => {
            Unresolved::new(format!("cannot be read: {reason}"))
        }
        Ok(names) => {
            let names = names.iter().map(String::as_str).filter(|name| is_key(name));
            let hint = item.suggest(key, names);
            Unresolved { reason: "is not there".to_owned(), hint }
        }
    }
}

fn target<'a>(item: &Item<'a>) -> Option<Target<'a>> {
    let hint = || format!("Write {FORMS}");
    let Value::Mapping(entries) = &item.node.value else {
        item.problem("a plain value is refused here: a document names secrets, it holds none", hint());
        return None;
    };
    // The keys themselves may be a secret that was pasted into braces.
    let text = |name: &str| match &entries.iter().find(|entry| entry.key == name)?.node.value {
        Value::Text(text) if !text.is_empty() => Some(text.as_str()),
        _ => None,
    };
    let resolve = |path: &str| item.context.resolve(path);
    match (entries.len(), text("file"), text("env"), text("directory"), text("key")) {
        (1, Some(path), ..) => Some(Target::File(resolve(path))),
        (1, _, Some(name), ..) if is_variable(name) => Some(Target::Variable(name)),
        (1, _, Some(_), ..) => {
            let message = "this is not the name of an environment variable";
            item.problem(message, "Use letters, digits and underscores");
            None
        }
        (2, _, _, Some(path), Some(key)) if is_key(key) => Some(Target::Key(resolve(path), key)),
        (2, _, _, Some(_), Some(_)) => {
            let message = "this is not the name of a key in a directory";
            item.problem(
                message,
                "Use letters, digits, dots, dashes and underscores; no path, no dots to begin with two",
            );
            None
        }
        _ => {
            item.problem("this is not a reference", hint());
            None
        }
    }
}

fn is_variable(name: &str) -> bool {
    let belongs = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(belongs) && !name.starts_with(|first: char| first.is_ascii_digit())
}

/// As Kubernetes has them: those that begin with two dots are its own.
fn is_key(name: &str) -> bool {
    let belongs = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=253).contains(&name.len()) && name.bytes().all(belongs) && name != "." && !name.starts_with("..")
}
