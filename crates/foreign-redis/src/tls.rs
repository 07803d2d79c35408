//! TLS towards a server: only the authorities that the operator names are trusted.

use std::sync::Arc;

use agw_config::Tls;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::TlsConnector;

use crate::error::BuildError;

/// What a TLS handshake needs, built once.
pub(crate) struct TlsSetup {
    pub(crate) connector: TlsConnector,
    /// The name to verify, whatever the server's host is.
    named: Option<ServerName<'static>>,
}

impl TlsSetup {
    /// Reads the PEM texts. No I/O.
    pub(crate) fn new(tls: &Tls) -> Result<Self, BuildError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&tls.ca_pem).map_err(BuildError::Authorities)? {
            roots.add(certificate).map_err(|error| BuildError::Authorities(error.into()))?;
        }
        if roots.is_empty() {
            return Err(BuildError::NoAuthority);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| BuildError::Authorities(error.into()))?
            .with_root_certificates(roots);
        let config = match &tls.client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let chain = certificates(&client.chain_pem).map_err(BuildError::ClientCertificate)?;
                let key = PrivateKeyDer::from_pem_slice(client.key_pem.expose())
                    .map_err(|error| BuildError::ClientCertificate(error.into()))?;
                let config = builder.with_client_auth_cert(chain, key);
                config.map_err(|error| BuildError::ClientCertificate(error.into()))?
            }
        };
        let named = tls.server_name.as_deref().map(server_name).transpose()?;
        Ok(TlsSetup { connector: TlsConnector::from(Arc::new(config)), named })
    }

    /// What the certificate of a server at `host` must say.
    ///
    /// # Errors
    /// [`BuildError::ServerName`] for what is neither a name nor an address.
    pub(crate) fn server_name(&self, host: &str) -> Result<ServerName<'static>, BuildError> {
        self.named.clone().map_or_else(|| server_name(host), Ok)
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, BuildError> {
    ServerName::try_from(name.to_owned()).map_err(BuildError::ServerName)
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Cause> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(Into::into)
}
