//! What plugins learn of a TLS connection.

use std::sync::Arc;

use agw_wasm::{ConnectionTls, PeerCertificate};
use rustls::{ProtocolVersion, ServerConnection};
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};

use super::der;

/// What a handshake came to.
pub(crate) fn connection_tls(session: &ServerConnection) -> Arc<ConnectionTls> {
    let version = match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "",
    };
    Arc::new(ConnectionTls {
        version,
        server_name: session.server_name().map(str::to_owned),
        peer: session.peer_certificates().and_then(<[_]>::first).map(certificate),
    })
}

/// The certificate has been verified; what cannot be read of it stays empty.
fn certificate(leaf: &CertificateDer<'_>) -> PeerCertificate {
    let parsed = webpki::EndEntityCert::try_from(leaf).ok();
    let parsed = parsed.as_ref();
    PeerCertificate {
        subject: der::facts(leaf).map(|facts| facts.subject).unwrap_or_default(),
        dns_name: parsed.and_then(|cert| cert.valid_dns_names().next().map(str::to_owned)),
        uri: parsed.and_then(|cert| cert.valid_uri_names().next().map(str::to_owned)),
        sha256: der::hex(&Sha256::digest(leaf)),
    }
}
