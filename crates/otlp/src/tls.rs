//! TLS towards the collector: only the authorities that the operator names are trusted.

use std::sync::Arc;

use agw_config::TraceEndpoint;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::TlsConnector;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why the collector's TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The CA's PEM.
    #[error("tracing.tls.ca cannot be used; write the PEM of one or more certificates")]
    Authorities(#[source] Cause),
    /// There is no certificate in it.
    #[error("tracing.tls.ca has no certificate; write the PEM of one or more certificates")]
    NoAuthority,
    /// The client's certificate and key.
    #[error(
        "tracing.tls: the client's certificate and key cannot be used together; write a chain and its own key"
    )]
    ClientCertificate(#[source] Cause),
    /// Neither a name nor an address.
    #[error("tracing.tls: neither server_name nor the endpoint's host is the name of a server")]
    ServerName(#[source] Cause),
}

/// What a handshake needs, built once.
pub(crate) struct ClientTls {
    pub(crate) connector: TlsConnector,
    pub(crate) server_name: ServerName<'static>,
}

impl ClientTls {
    /// Reads the PEM texts, if the endpoint has TLS. No I/O.
    pub(crate) fn new(endpoint: &TraceEndpoint) -> Result<Option<Self>, TlsError> {
        let Some(tls) = &endpoint.tls else { return Ok(None) };
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
        let config = match &tls.client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let chain = certificates(&client.chain_pem).map_err(TlsError::ClientCertificate)?;
                let key = PrivateKeyDer::from_pem_slice(client.key_pem.expose())
                    .map_err(|error| TlsError::ClientCertificate(error.into()))?;
                let config = builder.with_client_auth_cert(chain, key);
                config.map_err(|error| TlsError::ClientCertificate(error.into()))?
            }
        };
        let name = tls.server_name.clone().unwrap_or_else(|| endpoint.host.clone());
        let server_name = ServerName::try_from(name).map_err(|error| TlsError::ServerName(error.into()))?;
        Ok(Some(ClientTls { connector: TlsConnector::from(Arc::new(config)), server_name }))
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Cause> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use agw_config::Tls;

    use super::*;

    #[test]
    fn a_ca_without_a_certificate_is_refused_and_not_found_out_by_each_handshake() {
        for ca in ["", "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"] {
            let tls = Tls { ca_pem: ca.into(), server_name: None, client: None };
            let path = "/v1/traces".to_owned();
            let endpoint = TraceEndpoint { host: "collector".to_owned(), port: 4318, path, tls: Some(tls) };
            assert!(matches!(ClientTls::new(&endpoint), Err(TlsError::NoAuthority)), "{ca:?}");
        }
    }
}
