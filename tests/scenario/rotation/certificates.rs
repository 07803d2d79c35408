//! A folder of certificates that changes as a secret of Kubernetes does, and as careful tools do it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use agw_tests::Issued;
use anyhow::Result;
use tempfile::TempDir;

/// The name that all certificates are for.
pub(super) const NAME: &str = "rotated.test";

/// The files, under the names that Kubernetes gives them.
pub(super) const CERTIFICATE: &str = "tls.crt";
pub(super) const KEY: &str = "tls.key";
/// The link through which both are reached.
const CURRENT: &str = "..data";

/// The folder: `tls.crt` and `tls.key` are links into `..data`, and that is a link to a folder of one version.
pub(super) struct Secret {
    folder: TempDir,
    versions: usize,
}

// === impl Secret ===

impl Secret {
    pub(super) fn new(issued: &Issued) -> Result<Self> {
        let mut secret = Secret { folder: tempfile::tempdir()?, versions: 0 };
        for name in [CERTIFICATE, KEY] {
            symlink(Path::new(CURRENT).join(name), secret.path(name))?;
        }
        secret.swap(issued)?;
        Ok(secret)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// As Kubernetes does it: a folder of the new version, then the link to it is swapped, then the old folder goes.
    pub(super) fn swap(&mut self, issued: &Issued) -> Result<()> {
        let old = fs::read_link(self.path(CURRENT)).ok();
        self.versions += 1;
        let version = format!("..version_{}", self.versions);
        fs::create_dir(self.path(&version))?;
        fs::write(self.path(&version).join(CERTIFICATE), &issued.certificate)?;
        fs::write(self.path(&version).join(KEY), &issued.key)?;
        symlink(version, self.path("..data_tmp"))?;
        fs::rename(self.path("..data_tmp"), self.path(CURRENT))?;
        if let Some(old) = old {
            fs::remove_dir_all(self.folder.path().join(old))?;
        }
        Ok(())
    }

    /// As careful tools do it: each new file is moved over the old one, for a moment they do not fit together.
    pub(super) fn rename(&self, issued: &Issued) -> Result<()> {
        let current = self.path(CURRENT);
        for (name, text) in [(KEY, &issued.key), (CERTIFICATE, &issued.certificate)] {
            fs::write(current.join("new"), text)?;
            fs::rename(current.join("new"), current.join(name))?;
        }
        Ok(())
    }

    /// As it happens: half of a certificate is written over the old one.
    pub(super) fn spoil(&self, issued: &Issued) -> Result<()> {
        let half = issued.certificate.len() / 2;
        fs::write(self.path(CERTIFICATE), &issued.certificate.as_bytes()[..half])?;
        Ok(())
    }
}
