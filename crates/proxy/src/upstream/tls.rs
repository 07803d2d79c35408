//! TLS towards endpoints: only the authorities that the cluster names are trusted.

use std::fmt;
use std::sync::Arc;

use agw_config::{Tls, UpstreamProtocol};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::connect::ConnectError;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a cluster's TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The CA's PEM.
    #[error("tls.ca cannot be used; write the PEM of one or more certificates")]
    Authorities(#[source] Cause),
    /// There is no certificate in it.
    #[error("tls.ca has no certificate; write the PEM of one or more certificates")]
    NoAuthority,
    /// The client's certificate and key.
    #[error(
        "tls.client_certificate and tls.client_key cannot be used together; write a chain and its own key"
    )]
    ClientCertificate(#[source] Cause),
}

/// What handshakes with a cluster's endpoints need, built once. Sessions are resumed over all workers.
pub(crate) struct ClientTls {
    connector: TlsConnector,
    /// Offers only HTTP/1.1: for upgrades.
    http1: TlsConnector,
}

impl ClientTls {
    /// Reads the PEM texts. No I/O.
    pub(super) fn new(tls: &Tls, protocol: UpstreamProtocol) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&tls.ca_pem).map_err(TlsError::Authorities)? {
            roots.add(certificate).map_err(|error| TlsError::Authorities(error.into()))?;
        }
        if roots.is_empty() {
            return Err(TlsError::NoAuthority);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Authorities(error.into()))?
            .with_root_certificates(roots);
        let mut config = match &tls.client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let chain = certificates(&client.chain_pem).map_err(TlsError::ClientCertificate)?;
                let key = PrivateKeyDer::from_pem_slice(client.key_pem.expose())
                    .map_err(|error| TlsError::ClientCertificate(error.into()))?;
                let config = builder.with_client_auth_cert(chain, key);
                config.map_err(|error| TlsError::ClientCertificate(error.into()))?
            }
        };
        let connector = |config: ClientConfig| TlsConnector::from(Arc::new(config));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http1 = connector(config.clone());
        config.alpn_protocols = match protocol {
            UpstreamProtocol::Http1 => vec![b"http/1.1".to_vec()],
            UpstreamProtocol::Http2 => vec![b"h2".to_vec()],
            UpstreamProtocol::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        Ok(ClientTls { connector: connector(config), http1 })
    }

    /// Shakes hands, and checks that the certificate is valid and for that name.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub(super) async fn connect(
        &self,
        name: Option<&ServerName<'static>>,
        stream: TcpStream,
        http1_only: bool,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let name = name.ok_or(ConnectError::ServerName)?.clone();
        let connector = if http1_only { &self.http1 } else { &self.connector };
        connector.connect(name, stream).await.map_err(ConnectError::Tls)
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Cause> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(Into::into)
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls")
    }
}
