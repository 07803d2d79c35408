//! TLS towards clients: certificates by name, reloaded when their files change.
//!
//! [`ServerTls`] belongs to one listener and is shared by all workers. A handshake takes the configuration of its
//! moment and keeps it; [`watch`] puts a new one in its place when a file has changed. What a connection turned out
//! to be is told to plugins by [`peer`].

mod certificate;
mod der;
mod names;
mod peer;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;

use agw_config::{ClientAuth, Listener, Pem, Protocols, TlsVersion};
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ProducesTickets, WebPkiClientVerifier};

pub use self::certificate::CertificateError;
pub(crate) use self::certificate::Identity;
use self::names::Names;
pub(crate) use self::peer::connection_tls;
pub(crate) use self::watch::{CertificateWatch, WatchedListener};

/// What a certificate says of itself, for whoever shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// As in RFC 2253: `CN=client,O=Example`, the most specific first.
    pub subject: String,
    /// When it ends, in seconds since 1970.
    pub not_after: i64,
    /// The day of that: `2031-02-03`.
    pub last_day: String,
}

/// `None` for DER that is no certificate.
pub fn certificate_facts(der: &[u8]) -> Option<CertificateFacts> {
    let der::Facts { subject, not_after } = der::facts(der)?;
    let days = u64::try_from(not_after).unwrap_or_default() / 86_400;
    let (year, month, day) = crate::access_log::civil_date(days);
    Some(CertificateFacts { subject, not_after, last_day: format!("{year:04}-{month:02}-{day:02}") })
}

/// A listener's TLS: what the next handshake uses.
#[derive(Debug)]
pub(crate) struct ServerTls {
    settings: Settings,
    /// The lock is held for the time of a clone, once per handshake.
    current: RwLock<Arc<ServerConfig>>,
}

/// What stays the same when certificates change.
#[derive(Debug)]
struct Settings {
    provider: Arc<CryptoProvider>,
    protocols: Protocols,
    min_version: TlsVersion,
    client_required: bool,
    /// Tickets outlive a change of certificates, and a session goes on at any worker.
    tickets: Option<Arc<dyn ProducesTickets>>,
}

/// A listener cannot serve TLS.
#[derive(Debug, thiserror::Error)]
#[error("{what} {}", origin(.file))]
pub struct ServerTlsError {
    /// Which part of the configuration, such as `certificate`.
    pub what: &'static str,
    /// Where it came from; `None` is the environment.
    pub file: Option<PathBuf>,
    /// What is wrong with it.
    #[source]
    pub source: CertificateError,
}

fn origin(file: &Option<PathBuf>) -> String {
    file.as_ref().map_or_else(|| "from the environment".to_owned(), |file| file.display().to_string())
}

impl ServerTlsError {
    fn new(what: &'static str, pem: &Pem, source: CertificateError) -> Self {
        ServerTlsError { what, file: pem.file.clone(), source }
    }
}

// === impl ServerTls ===

impl ServerTls {
    /// Reads the listener's certificates; nothing if it has no TLS.
    ///
    /// # Errors
    /// What cannot be used, and why.
    pub(crate) fn new(listener: &Listener) -> Result<Option<(Arc<Self>, WatchedListener)>, ServerTlsError> {
        let Some(tls) = &listener.tls else { return Ok(None) };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let identities: Vec<_> = tls
            .certificates
            .iter()
            .map(|certificate| Identity::of(certificate, &provider).map(Arc::new))
            .collect::<Result<_, _>>()?;
        let settings = Settings {
            protocols: listener.protocols,
            min_version: tls.min_version,
            client_required: tls.client_auth.as_ref().is_some_and(|auth| auth.required),
            // A ticket would let a client in whose authority is not trusted any more.
            tickets: if tls.client_auth.is_some() {
                None
            } else {
                rustls::crypto::ring::Ticketer::new().ok()
            },
            provider,
        };
        let verifier = tls.client_auth.as_ref().map(|auth| settings.verifier_of(auth)).transpose()?;
        let config = settings.config(&identities, verifier.clone()).map_err(|error| ServerTlsError {
            what: "TLS",
            file: None,
            source: CertificateError::Config(error),
        })?;
        let this = Arc::new(ServerTls { settings, current: RwLock::new(Arc::new(config)) });
        let watched = WatchedListener::new(&listener.name, tls, Arc::clone(&this), identities, verifier);
        Ok(Some((this, watched)))
    }

    /// What a handshake uses that begins now.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read())
    }

    /// Handshakes that begin from now on use these.
    fn replace(
        &self,
        identities: &[Arc<Identity>],
        verifier: Option<Arc<dyn ClientCertVerifier>>,
    ) -> Result<(), rustls::Error> {
        let config = Arc::new(self.settings.config(identities, verifier)?);
        *self.current.write() = config;
        Ok(())
    }
}

// === impl Settings ===

impl Settings {
    fn config(
        &self,
        identities: &[Arc<Identity>],
        verifier: Option<Arc<dyn ClientCertVerifier>>,
    ) -> Result<ServerConfig, rustls::Error> {
        let versions: &[&rustls::SupportedProtocolVersion] = match self.min_version {
            TlsVersion::V1_2 => &[&rustls::version::TLS12, &rustls::version::TLS13],
            TlsVersion::V1_3 => &[&rustls::version::TLS13],
        };
        let verifier = verifier.unwrap_or_else(WebPkiClientVerifier::no_client_auth);
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(Names::new(identities)));
        let Protocols { http1, http2 } = self.protocols;
        let offered = [(http2, &b"h2"[..]), (http1, b"http/1.1")];
        config.alpn_protocols =
            offered.into_iter().filter(|(on, _)| *on).map(|(_, name)| name.to_vec()).collect();
        if let Some(tickets) = &self.tickets {
            config.ticketer = Arc::clone(tickets);
        }
        Ok(config)
    }

    fn verifier_of(&self, auth: &ClientAuth) -> Result<Arc<dyn ClientCertVerifier>, ServerTlsError> {
        self.verifier(auth.ca.text.expose())
            .map_err(|source| ServerTlsError::new("authority of clients", &auth.ca, source))
    }

    /// Accepts clients whose certificates one of these authorities signed.
    fn verifier(&self, ca: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, CertificateError> {
        let mut roots = rustls::RootCertStore::empty();
        for authority in certificate::chain(ca)? {
            roots.add(authority).map_err(CertificateError::Authority)?;
        }
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider));
        let verifier = if self.client_required { verifier } else { verifier.allow_unauthenticated() };
        verifier.build().map_err(CertificateError::Verifier)
    }
}

#[cfg(test)]
mod tests;
