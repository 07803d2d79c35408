//! Certificates and keys that a document names: that they can be read, and that a key belongs to its certificate.
//!
//! Whoever serves or connects with them parses them again; here a mistake is a problem with a path. No message shows
//! any of their content, and no reason of a parser, which may quote a line of a key.

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};

use crate::reader::{Fields, Item};
use crate::schema::secret::{self, Referenced};
use crate::snapshot::Pem;

/// Authorities to trust.
pub(super) fn authorities(item: &Item<'_>) -> Option<Pem> {
    let referenced = secret::pem(item, "CERTIFICATE")?;
    let certificates = chain(item, &referenced)?;
    let mut roots = RootCertStore::empty();
    for (index, certificate) in certificates.into_iter().enumerate() {
        if roots.add(certificate).is_err() {
            unreadable(item, &referenced, &format!("certificate {}", index + 1));
            return None;
        }
    }
    Some(referenced.pem)
}

/// A chain, leaf first, and the key that belongs to it. Each of the two is looked at, whatever the other is like.
pub(super) fn pair(chain_item: Option<Item<'_>>, key_item: Option<Item<'_>>) -> Option<(Pem, Pem)> {
    let certificate = chain_item.as_ref().and_then(|item| {
        let referenced = secret::pem(item, "CERTIFICATE")?;
        let certificates = chain(item, &referenced)?;
        if certificates.first().is_some_and(|leaf| ParsedCertificate::try_from(leaf).is_err()) {
            unreadable(item, &referenced, "certificate 1");
            return None;
        }
        Some((certificates, referenced))
    });
    let key = key_item.as_ref().and_then(|item| {
        let referenced = secret::pem(item, "PRIVATE KEY")?;
        Some((key(item, &referenced)?, referenced))
    });
    let (certificates, certificate) = certificate?;
    let (key, key_referenced) = key?;
    let matched = CertifiedKey::new(certificates, key).keys_match();
    if let Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) = matched {
        key_item?.problem(
            format!(
                "the key in {} does not belong to the certificate in {}",
                key_referenced.shown, certificate.shown
            ),
            "Name the key that the certificate was made for; the certificate's file begins with its own, then those \
             of its authorities",
        );
    }
    Some((certificate.pem, key_referenced.pem))
}

/// The fields `certificate` and `key` under these names, which belong together.
pub(super) fn optional_pair(
    fields: &Fields<'_>,
    [certificate, key]: [&'static str; 2],
) -> Option<(Pem, Pem)> {
    let (chain, key_item) = (fields.optional(certificate), fields.optional(key));
    if chain.is_some() != key_item.is_some() {
        fields.item.problem(format!("{certificate} and {key} belong together"), "Write both, or neither");
    }
    pair(chain, key_item)
}

fn chain(item: &Item<'_>, referenced: &Referenced) -> Option<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(referenced.pem.text.expose()).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Some(certificates),
        _ => {
            unreadable(item, referenced, "a PEM block");
            None
        }
    }
}

fn unreadable(item: &Item<'_>, referenced: &Referenced, what: &str) {
    item.problem(
        format!("{what} in {} cannot be read", referenced.shown),
        "Write the file anew; openssl x509 -in FILE -noout -text shows what is wrong with its first certificate",
    );
}

type SigningKey = std::sync::Arc<dyn rustls::sign::SigningKey>;

fn key(item: &Item<'_>, referenced: &Referenced) -> Option<SigningKey> {
    let text = referenced.pem.text.expose();
    let shown = &referenced.shown;
    let Ok(der) = PrivateKeyDer::from_pem_slice(text) else {
        // The label is no secret.
        if String::from_utf8_lossy(text).contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
            item.problem(
                format!("the key in {shown} is encrypted"),
                "Take its passphrase off: openssl pkey -in KEY -out PLAIN",
            );
        } else {
            item.problem(
                format!("the key in {shown} cannot be read"),
                "Write the file anew; openssl pkey -in FILE -noout -check says what is wrong with it",
            );
        }
        return None;
    };
    match any_supported_type(&der) {
        Ok(key) => Some(key),
        Err(_) => {
            item.problem(
                format!("the key in {shown} is of no kind that is supported, or damaged"),
                "Use RSA of 2048 to 8192 bits, ECDSA on P-256 or P-384, or Ed25519",
            );
            None
        }
    }
}
