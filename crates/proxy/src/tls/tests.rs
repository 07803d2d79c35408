use agw_config::{ListenerTls, Secret, ServerCertificate};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::ServerName;

use super::*;

fn pem(text: &str) -> Pem {
    Pem { text: Secret::new(text), file: None }
}

/// A certificate of its own with these names, and its key.
fn pair(names: &[&str]) -> ServerCertificate {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    ServerCertificate { chain: pem(&certificate.pem()), key: pem(&key.serialize_pem()) }
}

fn listener(certificates: Vec<ServerCertificate>) -> Listener {
    let tls = ListenerTls { certificates, client_auth: None, min_version: TlsVersion::V1_2 };
    Listener { tls: Some(tls), ..Listener::new("main", ([127, 0, 0, 1], 0).into()) }
}

fn refused(certificate: ServerCertificate) -> String {
    let error = ServerTls::new(&listener(vec![certificate])).unwrap_err();
    format!("{error}: {}", error.source)
}

#[test]
fn what_cannot_be_served_is_named() {
    let (a, b) = (pair(&["a.test"]), pair(&["b.test"]));
    let crossed = ServerCertificate { chain: a.chain.clone(), key: b.key };
    assert!(refused(crossed).starts_with("private key from the environment: does not fit"));
    let mut file = pem("no PEM at all");
    file.file = Some("/etc/c.pem".into());
    let text = refused(ServerCertificate { chain: file, key: a.key.clone() });
    assert!(text.starts_with("certificate /etc/c.pem: has no certificate"), "{text}");
    let swapped = ServerCertificate { chain: a.key.clone(), key: a.chain.clone() };
    assert!(refused(swapped).contains("has no certificate"));
    let keyless = ServerCertificate { chain: a.chain.clone(), key: a.chain.clone() };
    assert!(refused(keyless).starts_with("private key from the environment: has no private key"));
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let text = refused(ServerCertificate { chain: pem(garbage), key: a.key.clone() });
    assert!(text.contains("not a valid X.509"), "{text}");
}

#[test]
fn an_authority_that_is_none_is_named() {
    let mut listener = listener(vec![pair(&["a.test"])]);
    if let Some(tls) = &mut listener.tls {
        tls.client_auth = Some(ClientAuth { ca: pem("nothing"), required: true });
    }
    let error = ServerTls::new(&listener).unwrap_err();
    assert_eq!(error.what, "authority of clients");
}

/// The index of the certificate that a client of that name gets.
fn served(certificates: &[ServerCertificate], name: Option<&str>) -> usize {
    let (tls, _) = ServerTls::new(&listener(certificates.to_vec())).unwrap().unwrap();
    let mut roots = rustls::RootCertStore::empty();
    for pair in certificates {
        roots.add(certificate::chain(pair.chain.text.expose()).unwrap().remove(0)).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_sni = name.is_some();
    let name = ServerName::try_from(name.unwrap_or("a.test").to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = rustls::ServerConnection::new(tls.config()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    server.read_tls(&mut bytes.as_slice()).unwrap();
    server.process_new_packets().unwrap();
    let mut answer = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut answer).unwrap();
    }
    let mut answer = answer.as_slice();
    while !answer.is_empty() {
        client.read_tls(&mut answer).unwrap();
        // A name that is not in the certificate is the client's complaint; the certificate is there all the same.
        if client.process_new_packets().is_err() {
            return usize::MAX;
        }
    }
    let leaf = client.peer_certificates().unwrap()[0].clone();
    let chains = certificates.iter().map(|pair| certificate::chain(pair.chain.text.expose()).unwrap());
    chains.map(|chain| chain[0].clone()).position(|own| own == leaf).unwrap()
}

#[test]
fn a_client_gets_the_certificate_with_its_name() {
    let certificates = [
        pair(&["a.test"]),
        pair(&["*.b.test", "deep.x.b.test"]),
        pair(&["One.b.test", "a.test"]),
        pair(&["*.x.b.test"]),
    ];
    for (name, index) in [
        ("a.test", 0),
        ("one.b.test", 2),
        ("ONE.B.TEST", 2),
        ("two.b.test", 1),
        ("deep.x.b.test", 1),
        ("other.x.b.test", 3),
        // Nobody has these: the first serves, and the client refuses it.
        ("b.test", usize::MAX),
        ("two.levels.b.test", usize::MAX),
        ("elsewhere.test", usize::MAX),
    ] {
        assert_eq!(served(&certificates, Some(name)), index, "{name}");
    }
    assert_eq!(served(&certificates, None), 0);
}

#[test]
fn a_certificate_renewed_while_its_key_was_away_serves_when_the_key_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let chain = |year: i32| {
        let mut params = CertificateParams::new(["a.test".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        params.self_signed(&key).unwrap().pem()
    };
    put("chain", &chain(2040));
    put("key", &key.serialize_pem());
    let pem = |name: &str| {
        let file = folder.path().join(name);
        Pem { text: Secret::new(std::fs::read(&file).unwrap()), file: Some(file) }
    };
    let listener = listener(vec![ServerCertificate { chain: pem("chain"), key: pem("key") }]);
    let (tls, mut watched) = ServerTls::new(&listener).unwrap().unwrap();
    let (first, metrics) = (tls.config(), agw_telemetry::Metrics::new());

    put("chain", &chain(2041));
    std::fs::remove_file(folder.path().join("key")).unwrap();
    watched.look(&metrics);
    watched.look(&metrics);
    assert!(Arc::ptr_eq(&tls.config(), &first), "half of a pair serves");
    put("key", &key.serialize_pem());
    watched.look(&metrics);
    let second = tls.config();
    assert!(!Arc::ptr_eq(&second, &first), "the new certificate was forgotten");
    watched.look(&metrics);
    assert!(Arc::ptr_eq(&tls.config(), &second), "reloaded without a change");
}
