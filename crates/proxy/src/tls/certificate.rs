//! A certificate with its key, out of PEM.

use std::io;

use agw_config::ServerCertificate;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem};

use super::ServerTlsError;
use super::der;

/// What is wrong with a certificate, a key or an authority.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The file cannot be read.
    #[error("cannot be read")]
    Unreadable(#[source] io::Error),
    /// The file is too large for what it should be.
    #[error("is over {max} bytes")]
    TooLarge {
        /// The bound.
        max: u64,
    },
    /// PEM that cannot be decoded.
    #[error("is not valid PEM")]
    Pem(#[source] pem::Error),
    /// PEM of something else.
    #[error("has no certificate; a PEM file with BEGIN CERTIFICATE is expected")]
    NoCertificate,
    /// PEM of something else.
    #[error("has no private key; a PEM file with BEGIN PRIVATE KEY is expected")]
    NoKey,
    /// The certificate cannot be parsed.
    #[error("is not a valid X.509 certificate")]
    Malformed,
    /// A key of a kind that is not supported, or of another certificate.
    #[error(
        "does not fit: the key must be RSA, ECDSA P-256 or P-384, or Ed25519, and belong to the certificate"
    )]
    Key(#[source] rustls::Error),
    /// An authority's certificate cannot be used.
    #[error("has a certificate that cannot be an authority")]
    Authority(#[source] rustls::Error),
    /// The authorities cannot be used.
    #[error("cannot verify clients")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    /// The whole cannot be used.
    #[error("cannot be configured")]
    Config(#[source] rustls::Error),
}

/// A certificate that can be served.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(super) key: std::sync::Arc<CertifiedKey>,
    /// In lower case; a wildcard is `*.example.com`.
    pub(super) names: Vec<String>,
    /// In seconds since 1970.
    pub(super) not_after: i64,
}

impl Identity {
    /// As the configuration has it.
    pub(super) fn of(
        certificate: &ServerCertificate,
        provider: &CryptoProvider,
    ) -> Result<Self, ServerTlsError> {
        Identity::parse(certificate.chain.text.expose(), certificate.key.text.expose(), provider).map_err(
            |source| match source {
                CertificateError::Key(_) | CertificateError::NoKey => {
                    ServerTlsError::new("private key", &certificate.key, source)
                }
                source => ServerTlsError::new("certificate", &certificate.chain, source),
            },
        )
    }

    /// From the PEM of a chain, leaf first, and of a key.
    pub(super) fn parse(
        chain_pem: &[u8],
        key_pem: &[u8],
        provider: &CryptoProvider,
    ) -> Result<Self, CertificateError> {
        let chain = chain(chain_pem)?;
        let leaf = chain.first().ok_or(CertificateError::NoCertificate)?;
        let facts = der::facts(leaf).ok_or(CertificateError::Malformed)?;
        let names = names(leaf)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| match error {
            pem::Error::NoItemsFound => CertificateError::NoKey,
            error => CertificateError::Pem(error),
        })?;
        let key = CertifiedKey::from_der(chain, key, provider).map_err(CertificateError::Key)?;
        Ok(Identity { key: key.into(), names, not_after: facts.not_after })
    }
}

/// The certificates of a PEM text; at least one.
pub(super) fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(CertificateError::Pem)?;
    if chain.is_empty() { Err(CertificateError::NoCertificate) } else { Ok(chain) }
}

fn names(leaf: &CertificateDer<'_>) -> Result<Vec<String>, CertificateError> {
    let parsed = webpki::EndEntityCert::try_from(leaf).map_err(|_| CertificateError::Malformed)?;
    Ok(parsed.valid_dns_names().map(str::to_ascii_lowercase).collect())
}
