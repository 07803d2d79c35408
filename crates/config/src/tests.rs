//! What documents mean, and what is said about those that mean nothing.

mod bounds;
mod complete;
mod mutations;
mod problems;
mod references;
mod secrets;
mod warnings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::{Files, Loaded, Origin, Problem, Snapshot, load};

/// Files and variables that exist only here.
#[derive(Default)]
struct FakeFiles {
    files: BTreeMap<PathBuf, Vec<u8>>,
    variables: BTreeMap<String, String>,
}

impl FakeFiles {
    fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.into(), content.into());
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }
}

impl Files for FakeFiles {
    fn read(&self, path: &Path) -> Result<Vec<u8>, String> {
        self.files.get(path).cloned().ok_or_else(|| "No such file or directory".to_owned())
    }

    fn exists(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    fn env(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn builtin_modules(&self) -> &[&str] {
        &["rate-limit"]
    }
}

const PEM: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n";

/// The files that the documents of these tests name.
fn usual_files() -> FakeFiles {
    FakeFiles::default()
        .file("/etc/agw/rate_limit.wasm", "")
        .file("/etc/agw/incr.lua", "return redis.call('INCR', KEYS[1])")
        .file("/etc/agw/ca.pem", PEM)
        .file("/etc/agw/client.pem", PEM)
        .file("/etc/agw/client.key", KEY)
        .file("/run/secrets/redis", "hunter2\n")
        .variable("REDIS_PASSWORD", "hunter3")
}

fn load_with(text: &str, files: &FakeFiles) -> Result<Loaded, Vec<Problem>> {
    load(text, &Origin { name: "agw.yaml".to_owned(), folder: "/etc/agw".into() }, files)
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn problems(text: &str) -> Vec<String> {
    match load_with(text, &usual_files()) {
        Ok(_) => panic!("the document is accepted:\n{text}"),
        Err(found) => lines(&found),
    }
}

/// The document is refused with exactly these problems, each without the file's name.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let expected: Vec<_> = expected.iter().map(|line| format!("agw.yaml:{line}")).collect();
    assert_eq!(problems(text), expected, "of:\n{text}");
}

#[track_caller]
fn accept(text: &str) -> Snapshot {
    match load_with(text, &usual_files()) {
        Ok(loaded) => loaded.snapshot,
        Err(found) => panic!("{:#?}\nof:\n{text}", lines(&found)),
    }
}

/// A document around one plugin and one resource; the lines of the two begin at line 5 and below it.
fn with_resource(resource: &str) -> String {
    format!(
        "version: 1\n\
         listeners: [{{ name: http, address: \"127.0.0.1:0\" }}]\n\
         routes: [{{ name: all, match: {{ prefix: / }}, cluster: echo, plugins: [p] }}]\n\
         clusters: [{{ name: echo, builtin: echo }}]\n\
         plugins: [{{ name: p, module: {{ builtin: rate-limit }} }}]\n\
         resources:\n\
         - {}\n",
        resource.replace('\n', "\n  ")
    )
}
