//! `tls` towards a server: of resources and clusters.

use crate::problem::quoted;
use crate::reader::Item;
use crate::schema::{address, certificate};
use crate::snapshot::{ClientCertificate, Tls};

const FIELDS: [&str; 4] = ["ca", "server_name", "client_certificate", "client_key"];

pub(super) const EXAMPLE: &str = "{ ca: { file: /etc/ssl/certs/ca-certificates.crt } }";

pub(super) fn lower(item: &Item<'_>) -> Option<Tls> {
    let fields = item.fields(&FIELDS)?;
    let ca = fields.required("ca", "{ file: /etc/ssl/certs/ca-certificates.crt }");
    let ca_pem = ca.and_then(|item| certificate::authorities(&item));
    let server_name = fields.optional("server_name").and_then(|item| {
        let name = item.text()?;
        if !address::is_host(name) {
            item.problem(format!("{} is not a host name", quoted(name)), "Write a name such as api.internal");
        }
        Some(name.to_owned())
    });
    let pair = certificate::optional_pair(&fields, ["client_certificate", "client_key"]);
    let client = pair
        .map(|(chain, key)| ClientCertificate { chain_pem: chain.text.expose().to_vec(), key_pem: key.text });
    Some(Tls { ca_pem: ca_pem?.text.expose().to_vec(), server_name, client })
}
