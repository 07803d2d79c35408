//! An authority that signs certificates, and what a server does with one.

use std::sync::Arc;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::planted;

/// Signs what others trust.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
#[derive(Debug)]
pub struct Issued {
    /// The certificate alone.
    pub der: CertificateDer<'static>,
    /// The same as PEM.
    pub certificate: String,
    /// Its key as PEM.
    pub key: String,
    key_der: Vec<u8>,
}

// === impl Authority ===

impl Authority {
    /// A new one. No two are called alike, so that a verifier can tell them apart before it looks at signatures.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        let id: String =
            key.public_key_raw().iter().rev().take(8).map(|byte| format!("{byte:02x}")).collect();
        params.distinguished_name.push(DnType::CommonName, format!("authority {id}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Authority(CertifiedIssuer::self_signed(params, key)?))
    }

    /// A certificate for this name.
    ///
    /// # Errors
    /// When it is none.
    pub fn issue(&self, name: &str) -> Result<Issued> {
        self.sign(CertificateParams::new([name.to_owned()])?)
    }

    /// The same, but its time is over.
    ///
    /// # Errors
    /// As for [`Authority::issue`].
    pub fn issue_expired(&self, name: &str) -> Result<Issued> {
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Result<Issued> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?;
        planted::note(&key.serialize_pem());
        Ok(Issued {
            der: certificate.der().clone(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            key_der: key.serialize_der(),
        })
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// What somebody trusts who trusts this authority alone.
    ///
    /// # Errors
    /// When its certificate is not one.
    pub fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone())?;
        Ok(roots)
    }
}

// === impl Issued ===

impl Issued {
    /// A server with this certificate that speaks these protocols (ALPN), and takes only clients of `clients`.
    ///
    /// # Errors
    /// When key and certificate cannot be used.
    pub fn server(&self, alpn: &[&str], clients: Option<&Authority>) -> Result<Arc<ServerConfig>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let roots = Arc::new(clients.roots()?);
                builder.with_client_cert_verifier(
                    WebPkiClientVerifier::builder_with_provider(roots, provider).build()?,
                )
            }
        };
        let key = PrivateKeyDer::Pkcs8(self.key_der.clone().into());
        let mut config = builder.with_single_cert(vec![self.der.clone()], key)?;
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }
}
