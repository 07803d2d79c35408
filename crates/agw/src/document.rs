//! Configuration documents on this machine: the file, and the files and variables that it names.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use agw_config::{DOCUMENT_BYTES_MAX, Files, Loaded, Origin, Problem};

/// More than any secret, certificate or script may have.
const REFERENCED_BYTES_MAX: usize = 1024 * 1024 + 1;

/// The disk and the environment of this process.
pub(crate) struct Machine<'a> {
    /// Names of the embedded modules.
    pub(crate) builtin_modules: &'a [&'a str],
}

impl Files for Machine<'_> {
    fn read(&self, path: &Path) -> Result<Vec<u8>, String> {
        read_at_most(path, REFERENCED_BYTES_MAX).map_err(|error| reason(&error))
    }

    fn exists(&self, path: &Path) -> bool {
        // Not opened before that is known: opening a pipe would wait for its writer.
        std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) && File::open(path).is_ok()
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn builtin_modules(&self) -> &[&str] {
        self.builtin_modules
    }
}

/// Notes which files a document names, and what the system says of them before they are read.
pub(crate) struct Noting<'a> {
    machine: &'a Machine<'a>,
    named: RefCell<Stamps>,
}

/// Files, and what the system says of each; nothing of one that is not there.
pub(crate) type Stamps = BTreeMap<PathBuf, Option<Stamp>>;

/// What changes with a file: device, inode, length, and times of change in seconds and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp((u64, u64, u64), (i64, i64), (i64, i64));

impl Stamp {
    /// Of what the path leads to: a symbolic link that leads elsewhere changes it.
    pub(crate) fn of(path: &Path) -> Option<Stamp> {
        let data = std::fs::metadata(path).ok()?;
        let file = (data.dev(), data.ino(), data.len());
        Some(Stamp(file, (data.mtime(), data.mtime_nsec()), (data.ctime(), data.ctime_nsec())))
    }
}

impl<'a> Noting<'a> {
    pub(crate) fn new(machine: &'a Machine<'a>) -> Self {
        Noting { machine, named: RefCell::default() }
    }

    /// Every file that was read or looked for, whether it is there or not.
    pub(crate) fn named(self) -> Stamps {
        self.named.into_inner()
    }

    fn note(&self, path: &Path) {
        self.named.borrow_mut().entry(path.to_owned()).or_insert_with(|| Stamp::of(path));
    }
}

impl Files for Noting<'_> {
    fn read(&self, path: &Path) -> Result<Vec<u8>, String> {
        self.note(path);
        self.machine.read(path)
    }

    fn exists(&self, path: &Path) -> bool {
        self.note(path);
        self.machine.exists(path)
    }

    fn env(&self, name: &str) -> Option<String> {
        self.machine.env(name)
    }

    fn builtin_modules(&self) -> &[&str] {
        self.machine.builtin_modules()
    }
}

/// Reads and loads a document.
///
/// # Errors
/// All its problems; a file that cannot be read is one.
pub(crate) fn load_file(path: &Path, machine: &dyn Files) -> Result<Loaded, Vec<Problem>> {
    let name = path.display().to_string();
    let refused = |message: String, hint: &str| {
        let path = "document".to_owned();
        vec![Problem { origin: name.clone(), path, line: None, message, hint: hint.to_owned() }]
    };
    // One byte more than is admitted: the loader says what is wrong with it.
    let bytes = read_at_most(path, DOCUMENT_BYTES_MAX + 1).map_err(|error| {
        refused(format!("the file cannot be read: {}", reason(&error)), "Correct the path")
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        refused(format!("the file is not UTF-8 text (from byte {at} on)"), "Save it as UTF-8")
    })?;
    load_text(&text, &name, path.parent().unwrap_or(Path::new("")), machine)
}

/// Loads a document that is no file. Relative paths start at `folder`; an empty one is the current folder.
///
/// # Errors
/// All its problems.
pub(crate) fn load_text(
    text: &str,
    name: &str,
    folder: &Path,
    machine: &dyn Files,
) -> Result<Loaded, Vec<Problem>> {
    // Absolute, so that messages and `/v1/config` say which file is meant.
    let folder = std::path::absolute(if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    let folder = folder.unwrap_or_else(|_| PathBuf::from("."));
    agw_config::load(text, &Origin { name: name.to_owned(), folder }, machine)
}

fn read_at_most(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let bound = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    File::open(path)?.take(bound).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The operating system's words, without Rust's error number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine<'_> = Machine { builtin_modules: &["rate-limit"] };

    #[test]
    fn a_file_that_cannot_be_read_is_a_problem_with_a_reason() {
        let found = load_file(Path::new("/nowhere/agw.yaml"), &MACHINE).expect_err("it is missing");
        assert_eq!(
            found[0].to_string(),
            "/nowhere/agw.yaml: document: the file cannot be read: No such file or directory. Correct the path"
        );
        let found = load_file(Path::new("/"), &MACHINE).expect_err("it is a folder");
        assert!(found[0].message.contains("Is a directory"), "{}", found[0]);
    }

    #[test]
    fn an_endless_file_is_not_read_to_its_end() {
        let found = load_file(Path::new("/dev/zero"), &MACHINE).expect_err("it is no document");
        assert_eq!(found.len(), 1);
        assert_eq!(MACHINE.read(Path::new("/dev/zero")).map(|bytes| bytes.len()), Ok(REFERENCED_BYTES_MAX));
    }

    #[test]
    fn paths_start_at_the_folder_of_the_document() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("agw.yaml");
        let text = "{ version: 1, listeners: [{ name: a, address: '[::1]:0' }], \
                    plugins: [{ name: p, module: { file: m.wasm } }] }";
        std::fs::write(&path, text).expect("it is written");
        assert_eq!(load_file(&path, &MACHINE).expect_err("the module is missing").len(), 1);
        std::fs::write(folder.path().join("m.wasm"), "").expect("it is written");
        let loaded = load_file(&path, &MACHINE).expect("it loads");
        let expected = agw_config::ModuleSource::File(folder.path().join("m.wasm"));
        assert_eq!(loaded.snapshot.plugins["p"].module, expected);
    }

    #[test]
    fn a_folder_is_no_module() {
        assert!(!MACHINE.exists(Path::new("/")) && MACHINE.exists(Path::new("/dev/../etc/passwd")));
    }
}
