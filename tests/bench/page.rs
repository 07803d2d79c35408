//! The page `docs/benchmarks.md`: everything between two markers is the last run.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

const BEGIN: &str = "<!-- results: written by `cargo xtask bench --markdown` -->\n";
const END: &str = "<!-- end of results -->";

/// Puts a report into the page.
///
/// # Errors
/// When the page is not there or has lost its markers.
pub(crate) fn write(report: &str) -> Result<PathBuf> {
    let path = agw_tests::cargo::workspace().join("docs/benchmarks.md");
    let page = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let page = replaced(&page, report).with_context(|| format!("{} has lost its markers", path.display()))?;
    fs::write(&path, page).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

fn replaced(page: &str, report: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n\n{END}{after}", report.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let page = format!("# Title\n\n{BEGIN}old\n{END}\nafter\n");
        let once = replaced(&page, "new\n").unwrap();
        assert_eq!(once, format!("# Title\n\n{BEGIN}\nnew\n\n{END}\nafter\n"));
        assert_eq!(replaced(&once, "new\n").unwrap(), once);
        assert_eq!(replaced("# Title\n", "new"), None);
    }

    #[test]
    fn the_page_has_its_markers() -> Result<()> {
        let path = agw_tests::cargo::workspace().join("docs/benchmarks.md");
        assert!(replaced(&fs::read_to_string(path)?, "x").is_some());
        Ok(())
    }
}
