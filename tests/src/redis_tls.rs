//! What makes servers of Redis speak TLS.

use std::fs;

use anyhow::Result;
use tempfile::TempDir;

use crate::authority::{Authority, Issued};

/// The files that the servers of a test share. A server takes changed ones by `CONFIG SET tls-cert-file`, or when it is
/// started again.
#[derive(Debug)]
pub struct RedisTls {
    authority: Authority,
    folder: TempDir,
}

// === impl RedisTls ===

impl RedisTls {
    /// With an authority of its own, and a certificate for 127.0.0.1.
    ///
    /// # Errors
    /// When certificates or files cannot be made.
    pub fn new() -> Result<Self> {
        let authority = Authority::new()?;
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("ca.pem"), authority.pem())?;
        let tls = RedisTls { authority, folder };
        tls.show(&tls.authority.issue("127.0.0.1")?)?;
        Ok(tls)
    }

    /// Who signs.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Another certificate, for whoever reads the files from now on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn show(&self, issued: &Issued) -> Result<()> {
        fs::write(self.folder.path().join("server.crt"), &issued.certificate)?;
        Ok(fs::write(self.folder.path().join("server.key"), &issued.key)?)
    }

    /// Where one of its files is.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Options of a server that takes TLS at this port too, and speaks it with other servers.
    pub fn options(&self, port: u16) -> Vec<(&'static str, String)> {
        vec![
            ("tls-port", port.to_string()),
            ("tls-cert-file", self.path("server.crt")),
            ("tls-key-file", self.path("server.key")),
            ("tls-ca-cert-file", self.path("ca.pem")),
            ("tls-auth-clients", "no".to_owned()),
            ("tls-replication", "yes".to_owned()),
        ]
    }

    /// The same as on a command line.
    pub fn args(&self, port: u16) -> Vec<String> {
        self.options(port).into_iter().flat_map(|(name, value)| [format!("--{name}"), value]).collect()
    }
}
