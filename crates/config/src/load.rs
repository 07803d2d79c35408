//! The way from text to a snapshot.

use std::cell::Cell;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::problem::{Problem, Report};
use crate::reader::Context;
use crate::snapshot::Snapshot;
use crate::{schema, tree};

/// Where a document comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Its name for messages, such as a file name.
    pub name: String,
    /// Relative paths in the document start here.
    pub folder: PathBuf,
}

/// What a document refers to outside itself. The caller decides what that is: the disk, or a map in a test.
///
/// Paths arrive joined with [`Origin::folder`].
pub trait Files {
    /// The whole file. The error is a reason such as `No such file or directory`, without the path and without any
    /// of its content. An implementation bounds what it reads: nothing of more than 1 MiB is of use.
    fn read(&self, path: &Path) -> Result<Vec<u8>, String>;

    /// Whether there is a file that can be opened for reading.
    fn exists(&self, path: &Path) -> bool;

    /// Whether there is a module, which is read later: who wants to know what a document depends on counts it among the
    /// files that are read, and a file that only has to exist, such as a database, not.
    fn has_module(&self, path: &Path) -> bool {
        self.exists(path)
    }

    /// The names in a directory, for a hint; not all of very many. The error is a reason, as [`Files::read`] has it.
    /// Who knows none says that the directory is empty.
    fn names(&self, _directory: &Path) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    /// Whether every user of the machine may read this file. Who cannot know says no.
    fn readable_by_all(&self, _path: &Path) -> bool {
        false
    }

    /// An environment variable; `None` if it is not set or not Unicode.
    fn env(&self, name: &str) -> Option<String>;

    /// Names of the modules that are embedded in the binary.
    fn builtin_modules(&self) -> &[&str];
}

/// A document without problems.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub snapshot: Snapshot,
    /// What is legal but unwise, in the order of the document.
    pub warnings: Vec<Problem>,
}

/// Reads a document: YAML (or JSON, which is YAML) of at most 4 MiB. `docs/configuration.md` describes its fields.
///
/// # Errors
///
/// All problems at once, in the order of the document. A document that is not YAML has one.
pub fn load(text: &str, origin: &Origin, files: &dyn Files) -> Result<Loaded, Vec<Problem>> {
    let report = Report::new(&origin.name);
    let root = match tree::parse(text) {
        Ok(root) => root,
        Err(refusal) => {
            report.problem("", refusal.line, refusal.message, "Correct the text at this line".to_owned());
            return Err(report.finish().0);
        }
    };
    let context = Context { report, files, origin, patterns: Cell::new(0) };
    let snapshot = schema::lower(&context, &root, digest(text));
    let (problems, warnings) = context.report.finish();
    if problems.is_empty() { Ok(Loaded { snapshot, warnings }) } else { Err(problems) }
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
