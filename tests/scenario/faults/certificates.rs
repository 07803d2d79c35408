//! Certificates that are right, expired, or for another name.

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

/// Where the servers are, for the gateway.
const NAME: &str = "127.0.0.1";

/// Signs what the gateway trusts.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// PEM of a certificate and its key.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Authority {
    pub(super) fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Authority(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(super) fn right(&self) -> Result<Pair> {
        self.sign(CertificateParams::new([NAME.to_owned()])?)
    }

    pub(super) fn expired(&self) -> Result<Pair> {
        let mut params = CertificateParams::new([NAME.to_owned()])?;
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        self.sign(params)
    }

    pub(super) fn of_another_name(&self) -> Result<Pair> {
        self.sign(CertificateParams::new(["elsewhere.test".to_owned()])?)
    }

    fn sign(&self, params: CertificateParams) -> Result<Pair> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}
