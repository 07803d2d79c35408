//! Which certificate a client gets: the one with the name that it asks for.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::Identity;

/// Certificates by the names in them: exact before wildcard, then in the order of the document.
#[derive(Debug, Default)]
pub(super) struct Names {
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what follows `*.`; the asterisk is one label.
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// For a client whose name nobody has, or that names none.
    first: Option<Arc<CertifiedKey>>,
}

impl Names {
    pub(super) fn new(identities: &[Arc<Identity>]) -> Self {
        let mut names = Names::default();
        for identity in identities {
            for name in &identity.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut names.wildcard, parent),
                    None => (&mut names.exact, name.as_str()),
                };
                map.entry(name.to_owned()).or_default().push(Arc::clone(&identity.key));
            }
        }
        names.first = identities.first().map(|identity| Arc::clone(&identity.key));
        names
    }

    /// Those that serve `name`, in the order of preference.
    fn of(&self, name: &str) -> Option<&[Arc<CertifiedKey>]> {
        let name = name.to_ascii_lowercase();
        let exact = self.exact.get(&name);
        let wildcard = || self.wildcard.get(name.split_once('.')?.1);
        exact.or_else(wildcard).map(Vec::as_slice)
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.of(name)).unwrap_or_default();
        // Several certificates of one name are there for clients that differ in what they can verify.
        let usable = named.iter().find(|key| key.key.choose_scheme(hello.signature_schemes()).is_some());
        usable.or(named.first()).or(self.first.as_ref()).cloned()
    }
}
