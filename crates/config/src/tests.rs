//! What documents mean, and what is said about those that mean nothing.

mod bounds;
mod clusters;
mod complete;
mod documents;
mod json_schema;
mod listeners;
mod mutations;
mod problems;
mod redis;
mod reference;
mod references;
mod routes;
mod secrets;
mod sql;
mod tracing;
mod warnings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

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

    fn text(&self, path: &str) -> String {
        String::from_utf8(self.files[Path::new(path)].clone()).expect("text")
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

    fn names(&self, directory: &Path) -> Result<Vec<String>, String> {
        let within = self.files.keys().filter_map(|path| path.strip_prefix(directory).ok());
        let names: Vec<_> = within.map(|path| path.to_string_lossy().into_owned()).collect();
        if names.is_empty() { Err("No such file or directory".to_owned()) } else { Ok(names) }
    }

    fn readable_by_all(&self, path: &Path) -> bool {
        path.starts_with("/public")
    }

    fn env(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn builtin_modules(&self) -> &[&str] {
        &["rate-limit"]
    }
}

/// A certificate and its key, made once.
static PAIR: LazyLock<(String, String)> = LazyLock::new(new_pair);
static PEM: LazyLock<&str> = LazyLock::new(|| &PAIR.0);
static KEY: LazyLock<&str> = LazyLock::new(|| &PAIR.1);

fn new_pair() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["api.example.com".to_owned()]).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// The files that the documents of these tests name.
fn usual_files() -> FakeFiles {
    FakeFiles::default()
        .file("/etc/agw/rate_limit.wasm", "")
        .file("/etc/agw/schema.sql", "CREATE TABLE IF NOT EXISTS api_keys (key_hash, user_id, seen)")
        .file("/etc/agw/users.db", "")
        .file("/etc/agw/incr.lua", "return redis.call('INCR', KEYS[1])")
        .file("/etc/agw/ca.pem", *PEM)
        .file("/etc/agw/client.pem", *PEM)
        .file("/etc/agw/client.key", *KEY)
        .file("/etc/agw/server.pem", *PEM)
        .file("/run/secrets/server.key", *KEY)
        .variable("SERVER_PEM", &PEM)
        .variable("SERVER_KEY", &KEY)
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

/// The problems of a document around one route, which begins in line 4, each without file and the route's path.
fn route_problems(route: &str) -> Vec<String> {
    shortened(problems(&with_route(route)), "agw.yaml:4: routes[0]")
}

/// The problems of a document around one cluster, in line 3.
fn cluster_problems(cluster: &str) -> Vec<String> {
    shortened(problems(&with_cluster(cluster)), "agw.yaml:3: clusters[0]")
}

/// The problems of a document around one listener, in line 2.
fn listener_problems(listener: &str) -> Vec<String> {
    shortened(problems(&with_listener(listener)), "agw.yaml:2: listeners[0]")
}

fn shortened(found: Vec<String>, place: &str) -> Vec<String> {
    let short =
        |problem: &String| problem.strip_prefix(place).map(|rest| rest.trim_start_matches('.').to_owned());
    found.iter().map(|problem| short(problem).unwrap_or_else(|| problem.clone())).collect()
}

fn with_route(route: &str) -> String {
    format!(
        "version: 1\nlisteners: [{{ name: a, address: '[::1]:1' }}]\n\
         clusters: [{{ name: c, builtin: echo }}, {{ name: d, endpoints: ['d:1'] }}]\n\
         routes: [{{ name: r, {route} }}, {{ name: last, match: {{ path: /last }}, clusters: [{{ name: c }}, {{ name: d }}] }}]\n"
    )
}

fn with_cluster(cluster: &str) -> String {
    format!(
        "version: 1\nlisteners: [{{ name: a, address: '[::1]:1' }}]\n\
         clusters: [{{ name: c, {cluster} }}]\nroutes: [{{ name: r, match: {{ prefix: / }}, cluster: c }}]\n"
    )
}

fn with_listener(listener: &str) -> String {
    format!(
        "version: 1\nlisteners: [{{ name: l, {listener} }}]\n\
         clusters: [{{ name: c, builtin: echo }}]\nroutes: [{{ name: r, match: {{ prefix: / }}, cluster: c }}]\n"
    )
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
