//! Configuration documents on this machine: the file, and the files and variables that it names.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use agw_config::{DOCUMENT_BYTES_MAX, Files, Loaded, Origin, Problem};

/// More than any secret, certificate or script may have.
const REFERENCED_BYTES_MAX: usize = 1024 * 1024 + 1;

/// Names of a directory that are looked at.
const NAMES_MAX: usize = 1000;

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

    fn names(&self, directory: &Path) -> Result<Vec<String>, String> {
        let entries = std::fs::read_dir(directory).map_err(|error| reason(&error))?;
        let names = entries.take(NAMES_MAX).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.collect())
    }

    fn readable_by_all(&self, path: &Path) -> bool {
        // Where symbolic links lead to: their own modes mean nothing.
        let Ok(path) = std::fs::canonicalize(path) else { return false };
        let others = |path: &Path, bit: u32| {
            std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & bit != 0)
        };
        others(&path, 0o004) && path.ancestors().skip(1).all(|folder| others(folder, 0o001))
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

    /// Every file that was read, and the modules, whether they are there or not.
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

    /// A file that only has to be there, such as a database, changes by itself.
    fn exists(&self, path: &Path) -> bool {
        self.machine.exists(path)
    }

    fn has_module(&self, path: &Path) -> bool {
        self.note(path);
        self.machine.has_module(path)
    }

    fn names(&self, directory: &Path) -> Result<Vec<String>, String> {
        self.machine.names(directory)
    }

    fn readable_by_all(&self, path: &Path) -> bool {
        self.machine.readable_by_all(path)
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
pub(crate) fn load_file(path: &Path, files: &dyn Files) -> Result<Loaded, Vec<Problem>> {
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
    load_text(&text, &name, path.parent().unwrap_or(Path::new("")), files)
}

/// Loads a document that is no file. Relative paths start at `folder`; an empty one is the current folder.
///
/// # Errors
/// All its problems.
pub(crate) fn load_text(
    text: &str,
    name: &str,
    folder: &Path,
    files: &dyn Files,
) -> Result<Loaded, Vec<Problem>> {
    // Absolute, so that messages and `/v1/config` say which file is meant.
    let folder = std::path::absolute(if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    let folder = folder.unwrap_or_else(|_| PathBuf::from("."));
    agw_config::load(text, &Origin { name: name.to_owned(), folder }, files)
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

    /// A directory of secrets as Kubernetes mounts it: names lead through `..data` to the newest folder.
    fn mounted(secrets: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let newest = folder.path().join("..2026_11_27_17_00_00.1");
        std::fs::create_dir(&newest).expect("it is made");
        std::os::unix::fs::symlink("..2026_11_27_17_00_00.1", folder.path().join("..data")).expect("a link");
        for (name, value) in secrets {
            std::fs::write(newest.join(name), value).expect("it is written");
            std::os::unix::fs::symlink(format!("..data/{name}"), folder.path().join(name)).expect("a link");
        }
        folder
    }

    fn with_password(folder: &Path, key: &str) -> String {
        format!(
            "{{ version: 1, listeners: [{{ name: a, address: '[::1]:0' }}], resources: [{{ name: r, type: redis, \
             url: 'redis://localhost', password: {{ directory: '{}', key: {key} }} }}] }}",
            folder.display()
        )
    }

    #[test]
    fn a_secret_is_read_from_a_mounted_directory_and_a_new_one_after_it_was_replaced() {
        let folder = mounted(&[("redis-password", "hunter2"), ("other", "x")]);
        let text = with_password(folder.path(), "redis-password");
        let password = || {
            let loaded = load_text(&text, "agw.yaml", Path::new(""), &MACHINE).expect("it loads");
            loaded.snapshot.resources["r"].redis.password.clone().expect("a password").expose().to_vec()
        };
        assert_eq!(password(), b"hunter2");
        let newer = folder.path().join("..2026_11_27_18_00_00.2");
        std::fs::create_dir(&newer).expect("it is made");
        std::fs::write(newer.join("redis-password"), "hunter3\n").expect("it is written");
        std::os::unix::fs::symlink("..2026_11_27_18_00_00.2", folder.path().join("..data_tmp"))
            .expect("a link");
        std::fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data"))
            .expect("it is renamed");
        assert_eq!(password(), b"hunter3");
    }

    #[test]
    fn a_key_that_is_not_in_its_directory_is_refused_with_the_nearest() {
        let folder = mounted(&[("redis-password", "hunter2")]);
        let refused = |folder: &Path, key: &str| {
            let found = load_text(&with_password(folder, key), "agw.yaml", Path::new(""), &MACHINE);
            let found = found.expect_err("it is refused");
            assert_eq!(found.len(), 1, "{found:?}");
            found[0].to_string()
        };
        let found = refused(folder.path(), "redis-pasword");
        assert!(
            found.contains("resources[0].password: the key \"redis-pasword\" of the directory"),
            "{found}"
        );
        assert!(found.ends_with(" is not there. Did you mean \"redis-password\"?"), "{found}");
        let found = refused(Path::new("/nowhere"), "redis-password");
        assert!(found.contains("nor can the directory: No such file or directory"), "{found}");
        for key in ["..data", "'a/b'", "'..'", "'.'", "''"] {
            refused(folder.path(), key);
        }
    }

    #[test]
    fn a_secret_that_everybody_may_read_earns_a_warning() {
        let folder = mounted(&[("redis-password", "hunter2")]);
        let text = with_password(folder.path(), "redis-password");
        let mode = |path: &Path, mode: u32| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is changed");
        };
        let warned = || {
            let loaded = load_text(&text, "agw.yaml", Path::new(""), &MACHINE).expect("it loads");
            loaded.warnings.iter().any(|warning| warning.message.contains("every user of this machine"))
        };
        let secret = folder.path().join("redis-password");
        mode(&secret, 0o644);
        mode(folder.path(), 0o700);
        assert!(!warned(), "nobody else gets into the folder");
        mode(folder.path(), 0o755);
        mode(&folder.path().join("..data"), 0o755);
        assert!(warned());
        mode(&secret, 0o640);
        assert!(!warned());
    }

    #[test]
    fn what_a_document_refers_to_is_known_whether_it_loads_or_not() {
        let folder = mounted(&[("there", "hunter2")]);
        for (key, loads) in [("there", true), ("missing", false)] {
            let noting = Noting::new(&MACHINE);
            let loaded = load_text(&with_password(folder.path(), key), "agw.yaml", Path::new(""), &noting);
            assert_eq!(loaded.is_ok(), loads);
            let named = noting.named();
            let stamp = named.get(&folder.path().join(key)).copied().flatten();
            assert_eq!((named.len(), stamp.is_some()), (1, loads), "{named:?}");
        }
    }

    #[test]
    fn a_folder_is_no_module() {
        assert!(!MACHINE.exists(Path::new("/")) && MACHINE.exists(Path::new("/dev/../etc/passwd")));
    }
}
