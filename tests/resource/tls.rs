//! Certificates for servers of these tests.

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// PEM of an authority, and of certificate and key of a server `localhost` that it has signed, up to the first day of
/// this year.
pub(crate) struct Certificates {
    pub(crate) authority: String,
    pub(crate) server: (String, String),
}

pub(crate) fn certificates(ends: i32) -> Result<Certificates> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(["localhost".to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, "server of a test");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(ends, 1, 1);
    let certificate = params.signed_by(&key, &authority)?;
    Ok(Certificates { authority: authority.pem(), server: (certificate.pem(), key.serialize_pem()) })
}
