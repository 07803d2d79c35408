//! The repository's text files, and what must not stand in them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Findings;

/// A text file: its path from the root, and what is in it.
#[derive(Clone, Debug)]
pub(super) struct TextFile {
    pub(super) path: String,
    pub(super) text: String,
}

/// Folders of one machine, written so that this file does not hold them itself.
const MACHINE_FOLDERS: &[&str] = &[concat!("/", "work/"), concat!("/", "root/"), concat!("/", "home/")];

/// Every file that git tracks or would add, if it is text.
pub(super) fn tracked(root: &Path) -> Result<Vec<TextFile>> {
    let mut command = Command::new("git");
    command.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let paths = String::from_utf8_lossy(&output.stdout).into_owned();
    // A file that was deleted and not yet committed cannot be read, and one that is not UTF-8 is not text.
    let read = |path: &str| {
        Some(TextFile { path: path.to_owned(), text: fs::read_to_string(root.join(path)).ok()? })
    };
    Ok(paths.split('\0').filter(|path| !path.is_empty()).filter_map(read).collect())
}

pub(super) fn check_machine_paths(files: &[TextFile], findings: &mut Findings) {
    for file in files.iter().filter(|file| !file.path.ends_with("Cargo.lock")) {
        for (number, line) in file.text.lines().enumerate() {
            if let Some(folder) = MACHINE_FOLDERS.iter().find(|folder| starts_in(line, folder)) {
                let at = number + 1;
                findings.violation(format!("{}:{at}: {folder} is a folder of one machine", file.path));
            }
        }
    }
}

/// Whether an absolute path in `line` starts with `folder`; `target/root/x` does not.
fn starts_in(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-}>*".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(text: &str) -> usize {
        let mut findings = Findings::default();
        let file = TextFile { path: "a.md".to_owned(), text: text.to_owned() };
        check_machine_paths(&[file], &mut findings);
        findings.violations.len()
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        for folder in MACHINE_FOLDERS {
            assert_eq!(violations(&format!("see {folder}x")), 1);
            assert_eq!(violations(&format!("fine\n\"{folder}x\"")), 1);
        }
    }

    #[test]
    fn a_relative_path_and_a_longer_name_are_not() {
        assert_eq!(
            violations(concat!("target", "/", "work/x and <root>", "/", "home/y and ./", "root/z")),
            0
        );
    }
}
