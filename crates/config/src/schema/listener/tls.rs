//! `tls` of a listener: what it serves with, and whether clients show certificates.

use crate::field::{Field, Kind};
use crate::reader::{Fields, Item};
use crate::schema::certificate;
use crate::snapshot::{ClientAuth, ListenerTls, ServerCertificate, TlsVersion};

pub(super) const FIELDS: &[Field] = &[
    Field::new(
        "certificates",
        Kind::List(&Kind::Group(CERTIFICATE), 1, CERTIFICATES_MAX),
        "Certificates to serve with, chosen by the name that a client asks for",
    )
    .required(),
    Field::reference("client_ca", "PEM of the authorities that sign certificates of clients")
        .or("no client certificates")
        .within("1 MiB"),
    Field::choice(
        "client_certificate",
        &["required", "optional"],
        "`required`: a client without certificate is refused in the handshake. `optional`: it is served, and \
         plugins can tell. With `client_ca`",
    )
    .or("`required`"),
    Field::choice("min_version", &["1.2", "1.3"], "The oldest version of TLS that is accepted, in quotes")
        .or("`\"1.2\"`")
        .within("`\"1.2\"`, `\"1.3\"`"),
];
const CERTIFICATE: &[Field] = &[
    Field::reference("certificate", "PEM of a certificate, leaf first").required().within("1 MiB"),
    Field::reference("key", "PEM of its private key").required().within("1 MiB"),
];

/// Each is kept in memory, and its files are watched.
const CERTIFICATES_MAX: usize = 1000;

const EXAMPLE: &str = "[{ certificate: { file: server.pem }, key: { file: server.key } }]";

pub(super) fn lower(item: &Item<'_>) -> Option<ListenerTls> {
    let fields = item.fields(FIELDS)?;
    let client_auth = client_auth(&fields);
    let versions = [("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];
    let min_version = fields.optional("min_version").and_then(|item| item.choice(&versions));
    let items = fields.required("certificates", EXAMPLE)?.list_of("certificates", CERTIFICATES_MAX, "");
    Some(ListenerTls {
        certificates: items.iter().filter_map(server_certificate).collect(),
        client_auth,
        min_version: min_version.unwrap_or(TlsVersion::V1_2),
    })
}

fn server_certificate(item: &Item<'_>) -> Option<ServerCertificate> {
    let fields = item.fields(CERTIFICATE)?;
    let chain = fields.required("certificate", "{ file: server.pem }");
    let key = fields.required("key", "{ file: server.key }");
    let (chain, key) = certificate::pair(chain, key)?;
    Some(ServerCertificate { chain, key })
}

fn client_auth(fields: &Fields<'_>) -> Option<ClientAuth> {
    let wanted = fields.optional("client_certificate");
    let required = wanted.as_ref().and_then(|item| item.choice(&[("required", true), ("optional", false)]));
    let Some(ca) = fields.optional("client_ca") else {
        if let Some(item) = wanted {
            item.problem(
                "nothing says which clients are trusted",
                "Write client_ca: { file: clients.pem }, or remove the field",
            );
        }
        return None;
    };
    Some(ClientAuth { ca: certificate::authorities(&ca)?, required: required.unwrap_or(true) })
}
