//! `tls` towards a server: of resources and clusters.

use crate::problem::quoted;
use crate::reader::Item;
use crate::schema::{address, secret};
use crate::snapshot::{ClientCertificate, Tls};

const FIELDS: [&str; 4] = ["ca", "server_name", "client_certificate", "client_key"];

pub(super) const EXAMPLE: &str = "{ ca: { file: /etc/ssl/certs/ca-certificates.crt } }";

pub(super) fn lower(item: &Item<'_>) -> Option<Tls> {
    let fields = item.fields(&FIELDS)?;
    let ca = fields.required("ca", "{ file: /etc/ssl/certs/ca-certificates.crt }");
    let ca_pem = ca.and_then(|item| secret::pem(&item, "CERTIFICATE"));
    let server_name = fields.optional("server_name").and_then(|item| {
        let name = item.text()?;
        if !address::is_host(name) {
            item.problem(format!("{} is not a host name", quoted(name)), "Write a name such as api.internal");
        }
        Some(name.to_owned())
    });
    let chain = fields.optional("client_certificate");
    let key = fields.optional("client_key");
    if chain.is_some() != key.is_some() {
        item.problem("client_certificate and client_key belong together", "Write both, or neither");
    }
    let chain = chain.and_then(|item| secret::pem(&item, "CERTIFICATE"));
    let key = key.and_then(|item| secret::pem(&item, "PRIVATE KEY"));
    let client = chain
        .zip(key)
        .map(|(chain, key)| ClientCertificate { chain_pem: chain.text.expose().to_vec(), key_pem: key.text });
    Some(Tls { ca_pem: ca_pem?.text.expose().to_vec(), server_name, client })
}
