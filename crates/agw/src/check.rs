//! `agw check`: every problem of a document, or what it holds.

use std::io::{self, Write};
use std::path::Path;

use agw_config::{Files, Plugin, Problem, Snapshot};

use crate::document::load_file;

/// Checks a document. Problems go to `out`, one per line, then a summary; warnings go to `err` and do not fail.
/// Returns whether the document may run.
///
/// `inspect` looks at a plugin's module; its error says what is wrong with it and what to do, as one line each.
///
/// # Errors
/// When the output cannot be written.
pub(crate) fn check(
    config: &Path,
    machine: &dyn Files,
    inspect: impl Fn(&Plugin) -> Result<(), (String, String)>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<bool> {
    let origin = config.display().to_string();
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let mut found = None;
    match load_file(config, machine) {
        Ok(loaded) => {
            problems = inspect_modules(&loaded.snapshot, &origin, inspect);
            warnings = loaded.warnings;
            found = Some(loaded.snapshot);
        }
        Err(refused) => problems.extend(refused),
    }
    for warning in &warnings {
        writeln!(err, "warning: {warning}")?;
    }
    for problem in &problems {
        writeln!(out, "{problem}")?;
    }
    match found.filter(|_| problems.is_empty()) {
        Some(snapshot) => {
            writeln!(out, "{origin}: ok: {}{}", contents(&snapshot), and_warnings(warnings.len()))?;
            Ok(true)
        }
        None => {
            let count = counted(problems.len(), "problem", "problems");
            writeln!(out, "{origin}: {count}{}; it would not run", and_warnings(warnings.len()))?;
            Ok(false)
        }
    }
}

fn inspect_modules(
    snapshot: &Snapshot,
    origin: &str,
    inspect: impl Fn(&Plugin) -> Result<(), (String, String)>,
) -> Vec<Problem> {
    let inspected = |plugin: &std::sync::Arc<Plugin>| {
        let (message, hint) = inspect(plugin).err()?;
        let path = format!("plugins[{:?}].module", plugin.name);
        Some(Problem { origin: origin.to_owned(), path, line: None, message, hint })
    };
    snapshot.plugins.values().filter_map(inspected).collect()
}

fn contents(snapshot: &Snapshot) -> String {
    [
        counted(snapshot.listeners.len(), "listener", "listeners"),
        counted(snapshot.routes.len(), "route", "routes"),
        counted(snapshot.clusters.len(), "cluster", "clusters"),
        counted(snapshot.plugins.len(), "plugin", "plugins"),
        counted(snapshot.resources.len() + snapshot.sql_resources.len(), "resource", "resources"),
    ]
    .join(", ")
}

fn and_warnings(count: usize) -> String {
    if count == 0 { String::new() } else { format!(", {}", counted(count, "warning", "warnings")) }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Machine;

    const MACHINE: Machine<'_> = Machine { builtin_modules: &["rate-limit"] };

    /// Whether it may run, and what was written to `out` and `err`, without the folder's name.
    fn run(document: &str, module: Result<(), (String, String)>) -> (bool, String, String) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("agw.yaml");
        std::fs::write(&path, document).expect("it is written");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let ok = check(&path, &MACHINE, |_| module.clone(), &mut out, &mut err).expect("it is written");
        let text = |bytes: Vec<u8>| {
            String::from_utf8(bytes).expect("text").replace(&format!("{}/", folder.path().display()), "")
        };
        (ok, text(out), text(err))
    }

    #[test]
    fn every_problem_has_a_line_and_a_summary_follows() {
        let document = "version: 1\nlisteners: [{ name: a, address: x }]\nroutes: 5\n";
        let (ok, out, err) = run(document, Ok(()));
        assert!(!ok);
        assert_eq!(
            out,
            "agw.yaml:2: listeners[0].address: \"x\" is not an IP address with a port. \
             Write one such as 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080\n\
             agw.yaml:3: routes: expected a list, found an integer. \
             Write [ ... ], or one item per line, each after a dash\n\
             agw.yaml: 2 problems; it would not run\n"
        );
        assert_eq!(err, "");
    }

    #[test]
    fn warnings_do_not_fail() {
        let (ok, out, err) = run("version: 1\nlisteners: [{ name: a, address: '[::1]:0' }]\n", Ok(()));
        assert!(ok);
        assert_eq!(
            out,
            "agw.yaml: ok: 1 listener, 0 routes, 0 clusters, 0 plugins, 0 resources, 1 warning\n"
        );
        assert!(err.starts_with("warning: agw.yaml:1: document: there are no routes"), "{err}");
        assert_eq!(err.lines().count(), 1);
    }

    #[test]
    fn a_module_that_cannot_be_used_is_a_problem() {
        let document = "version: 1\nlisteners: [{ name: a, address: '[::1]:0' }]\n\
                        routes: [{ name: r, match: { prefix: / }, cluster: c, plugins: [p] }]\n\
                        clusters: [{ name: c, builtin: echo }]\n\
                        plugins: [{ name: p, module: { builtin: rate-limit } }]\n";
        let (ok, out, _) =
            run(document, Err(("it is not wasm".to_owned(), "Build it for wasm32-wasip1".to_owned())));
        assert!(!ok);
        assert_eq!(
            out,
            "agw.yaml: plugins[\"p\"].module: it is not wasm. Build it for wasm32-wasip1\n\
             agw.yaml: 1 problem; it would not run\n"
        );
        assert!(run(document, Ok(())).0);
    }
}
