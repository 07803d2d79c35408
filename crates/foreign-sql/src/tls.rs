//! TLS towards a server: only the authorities that the operator names are trusted, and the name is verified.

use std::sync::Arc;

use agw_config::Tls;
use agw_foreign::PeerTls;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::BuildError;

/// What a TLS handshake needs, built once.
pub(crate) struct TlsSetup {
    pub(crate) connector: TlsConnector,
    pub(crate) server_name: ServerName<'static>,
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

impl TlsSetup {
    /// Reads the PEM texts. No I/O.
    ///
    /// # Errors
    /// [`BuildError`] naming the part that is wrong.
    pub(crate) fn new(tls: &Tls, host: &str) -> Result<Self, BuildError> {
        let authorities = |cause: Cause| BuildError::Tls { part: "tls.ca", cause };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&tls.ca_pem).map_err(authorities)? {
            roots.add(certificate).map_err(|error| authorities(error.into()))?;
        }
        if roots.is_empty() {
            return Err(authorities("there is no certificate in it".into()));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| authorities(error.into()))?
            .with_root_certificates(roots);
        let config = match &tls.client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let wrong = |cause: Cause| BuildError::Tls { part: "tls.client_certificate", cause };
                let chain = certificates(&client.chain_pem).map_err(wrong)?;
                let key = PrivateKeyDer::from_pem_slice(client.key_pem.expose());
                let key = key.map_err(|error| wrong(error.into()))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| wrong(error.into()))?
            }
        };
        let name = tls.server_name.as_deref().unwrap_or(host);
        let server_name = ServerName::try_from(name.to_owned())
            .map_err(|error| BuildError::Tls { part: "tls.server_name", cause: error.into() })?;
        Ok(TlsSetup { connector: TlsConnector::from(Arc::new(config)), server_name })
    }
}

/// What the server of an encrypted connection has shown.
pub(crate) fn peer(stream: &TlsStream<TcpStream>) -> PeerTls {
    let session = stream.get_ref().1;
    let version = session.protocol_version().map(|version| format!("{version:?}")).unwrap_or_default();
    let chain = session.peer_certificates().unwrap_or_default();
    PeerTls { version, chain: chain.iter().map(|certificate| certificate.to_vec()).collect() }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Cause> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(Into::into)
}
