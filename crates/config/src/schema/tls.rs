//! `tls` towards a server: of resources and clusters.

use crate::field::Field;
use crate::problem::quoted;
use crate::reader::Item;
use crate::schema::{address, certificate};
use crate::snapshot::{ClientCertificate, Tls};

pub(super) const FIELDS: &[Field] = &[
    Field::reference("ca", "PEM of the authorities to trust. There is no default set")
        .required()
        .within("1 MiB"),
    Field::text("server_name", "Name to verify and to send as SNI").or("the endpoint's host"),
    Field::reference("client_certificate", "PEM of a certificate to show, leaf first; with `client_key`")
        .within("1 MiB"),
    Field::reference("client_key", "PEM of its key; with `client_certificate`").within("1 MiB"),
];

pub(super) const EXAMPLE: &str = "{ ca: { file: /etc/ssl/certs/ca-certificates.crt } }";

pub(super) fn lower(item: &Item<'_>) -> Option<Tls> {
    let fields = item.fields(FIELDS)?;
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
