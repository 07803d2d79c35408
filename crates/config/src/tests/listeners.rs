//! Listeners: TLS, protocols, trusted proxies.

use super::{PEM, accept, check, lines, listener_problems, load_with, new_pair, usual_files, with_listener};

const CERTIFICATE: &str = "certificate: { file: server.pem }, key: { file: /run/secrets/server.key }";

#[test]
fn tls_without_a_certificate_is_refused() {
    let missing = ["tls: the field \"certificates\" is missing. \
         Write certificates: [{ certificate: { file: server.pem }, key: { file: server.key } }]"];
    assert_eq!(listener_problems("address: '[::1]:1', tls: {}"), missing);
    assert_eq!(
        listener_problems("address: '[::1]:1', tls: { certificates: [] }"),
        ["tls.certificates: the number of certificates is out of bounds. Write 1 to 1000 of them"]
    );
    assert_eq!(
        listener_problems(
            "address: '[::1]:1', tls: { certificates: [{ certificate: { file: server.pem } }] }"
        ),
        ["tls.certificates[0]: the field \"key\" is missing. Write key: { file: server.key }"]
    );
}

#[test]
fn a_certificate_in_the_place_of_a_key_is_refused() {
    let found = listener_problems(
        "address: '[::1]:1', tls: { certificates: [{ certificate: { file: /run/secrets/server.key }, \
         key: { file: server.pem } }], client_ca: { file: /run/secrets/server.key } }",
    );
    assert_eq!(found.len(), 3, "{found:#?}");
    let file = "the file \"/run/secrets/server.key\" holds no PEM block of kind CERTIFICATE";
    assert!(found[0].starts_with(&format!("tls.client_ca: {file}")), "{found:#?}");
    assert!(found[1].starts_with(&format!("tls.certificates[0].certificate: {file}")), "{found:#?}");
    assert!(found[2].starts_with("tls.certificates[0].key: "), "{found:#?}");
}

#[test]
fn a_key_that_does_not_belong_to_its_certificate_is_refused_and_both_are_named() {
    let (certificate, key) = new_pair();
    let document = |chain: &str, key: &str| {
        let pair = format!("certificate: {{ file: {chain} }}, key: {{ file: {key} }}");
        with_listener(&format!("address: '[::1]:1', tls: {{ certificates: [{{ {pair} }}] }}"))
    };
    let files = usual_files().file("/etc/agw/other.pem", certificate).file("/etc/agw/other.key", key);
    for (chain, key) in [("server.pem", "other.key"), ("other.pem", "/run/secrets/server.key")] {
        let found = lines(&load_with(&document(chain, key), &files).expect_err("it is refused"));
        let shown = if key.starts_with('/') { key.to_owned() } else { format!("/etc/agw/{key}") };
        let expected = format!(
            "agw.yaml:2: listeners[0].tls.certificates[0].key: the key in the file \"{shown}\" \
             does not belong to the certificate in the file \"/etc/agw/{chain}\". "
        );
        assert!(found.len() == 1 && found[0].starts_with(&expected), "{found:#?}");
    }
    assert!(load_with(&document("other.pem", "other.key"), &files).is_ok());
    // A chain in the wrong order: the first certificate is an authority's.
    let chain = format!("{}{}", *PEM, files.text("/etc/agw/other.pem"));
    let files = files.file("/etc/agw/chain.pem", chain);
    assert!(load_with(&document("chain.pem", "other.key"), &files).is_err());
    assert!(load_with(&document("chain.pem", "/run/secrets/server.key"), &files).is_ok());
}

#[test]
fn certificates_and_keys_that_cannot_be_read_are_refused_and_not_shown() {
    let block =
        |kind: &str, content: &str| format!("-----BEGIN {kind}-----\n{content}\n-----END {kind}-----\n");
    let document = with_listener(
        "address: '[::1]:1', tls: { certificates: [{ certificate: { file: bad.pem }, key: { file: bad.key } }], \
         client_ca: { file: bad.pem } }",
    );
    let damaged = PEM.replace("MII", "MIA");
    let open = "-----BEGIN PRIVATE KEY-----\nhunter2hunter2\n";
    let encrypted = block("ENCRYPTED PRIVATE KEY", "aHVudGVyMg==");
    for (certificate, key, reason) in [
        (block("CERTIFICATE", "hunter2!"), block("PRIVATE KEY", "hunter2!"), "cannot be read"),
        (
            block("CERTIFICATE", "aHVudGVyMg=="),
            block("PRIVATE KEY", "aHVudGVyMg=="),
            "is of no kind that is supported",
        ),
        ("-----BEGIN CERTIFICATE-----\nhunter2".to_owned(), open.to_owned(), "cannot be read"),
        (damaged, encrypted, "is encrypted"),
    ] {
        let files = usual_files().file("/etc/agw/bad.pem", certificate.clone()).file("/etc/agw/bad.key", key);
        let found = lines(&load_with(&document, &files).expect_err("it is refused"));
        let text = found.join("\n");
        assert_eq!(found.len(), 3, "{text}");
        for field in ["client_ca", "certificates[0].certificate", "certificates[0].key"] {
            assert!(text.contains(&format!("tls.{field}: ")), "{certificate}\n{text}");
        }
        assert!(text.contains(reason), "{text}");
        assert!(!text.contains("hunter") && !text.contains("aHVu"), "{text}");
    }
}

#[test]
fn a_plain_key_is_refused_and_never_shown() {
    let found = listener_problems(
        "address: '[::1]:1', tls: { certificates: [{ certificate: { file: server.pem }, key: hunter2 }] }",
    );
    assert_eq!(
        found,
        ["tls.certificates[0].key: a plain value is refused here: a document names secrets, it holds none. \
          Write { file: PATH }, { env: NAME } or { directory: PATH, key: NAME }"]
    );
}

#[test]
fn client_certificates_need_an_authority() {
    let tls =
        |more: &str| format!("address: '[::1]:1', tls: {{ certificates: [{{ {CERTIFICATE} }}], {more} }}");
    assert_eq!(
        listener_problems(&tls("client_certificate: required")),
        ["tls.client_certificate: nothing says which clients are trusted. \
          Write client_ca: { file: clients.pem }, or remove the field"]
    );
    let snapshot = accept(&with_listener(&tls("client_ca: { file: ca.pem }")));
    let auth = snapshot.listeners[0].tls.as_ref().and_then(|tls| tls.client_auth.as_ref());
    assert!(auth.is_some_and(|auth| auth.required));
}

#[test]
fn a_version_of_tls_is_one_of_two_words() {
    let tls = |version: &str| {
        format!("address: '[::1]:1', tls: {{ certificates: [{{ {CERTIFICATE} }}], min_version: {version} }}")
    };
    assert_eq!(
        listener_problems(&tls("1.2")),
        ["tls.min_version: expected a string, found a number with a fraction. Put the value in quotes"]
    );
    assert_eq!(
        listener_problems(&tls("'1.1'")),
        ["tls.min_version: \"1.1\" is not known here. Did you mean \"1.2\"?"]
    );
}

#[test]
fn protocols_are_named_once_and_one_is_left() {
    for (protocols, expected) in [
        ("[]", "protocols: the number of protocols is out of bounds. Write 1 to 2 of them: http1 and http2"),
        ("[http1, http1]", "protocols[1]: the protocol is listed twice. Remove one of the two"),
        ("[h2]", "protocols[0]: \"h2\" is not known here. There are: \"http1\", \"http2\""),
        (
            "http2",
            "protocols: expected a list, found a string. Write [ ... ], or one item per line, each after a dash",
        ),
    ] {
        assert_eq!(listener_problems(&format!("address: '[::1]:1', protocols: {protocols}")), [expected]);
    }
}

#[test]
fn what_is_no_network_is_refused() {
    const HINT: &str = "Write one such as 10.0.0.0/8, 192.0.2.1 or \"2001:db8::/32\"";
    for (network, expected) in [
        (
            "10.0.0.0/33",
            format!("\"10.0.0.0/33\" is not a network: the number of bits is out of bounds. {HINT}"),
        ),
        (
            "10.0.0.0/+8",
            format!("\"10.0.0.0/+8\" is not a network: the number of bits is out of bounds. {HINT}"),
        ),
        ("10.0.0.0/", format!("\"10.0.0.0/\" is not a network: the number of bits is out of bounds. {HINT}")),
        ("::/129", format!("\"::/129\" is not a network: the number of bits is out of bounds. {HINT}")),
        ("10.0.0/8", format!("\"10.0.0/8\" is not a network: there is no IP address. {HINT}")),
        ("proxy/8", format!("\"proxy/8\" is not a network: there is no IP address. {HINT}")),
        (
            "::ffff:10.0.0.0/104",
            format!(
                "\"::ffff:10.0.0.0/104\" is not a network: it is an IPv4 address in the form of IPv6. {HINT}"
            ),
        ),
        ("10.1.0.0/8", "\"10.1.0.0/8\" has bits beyond its 8. Write 10.0.0.0/8, or more bits".to_owned()),
    ] {
        let found = listener_problems(&format!(
            "address: '[::1]:1', forwarded: {{ trusted_hops: 1, trusted_networks: ['{network}'] }}"
        ));
        assert_eq!(found, [format!("forwarded.trusted_networks[0]: {expected}")]);
    }
}

#[test]
fn several_problems_of_one_listener_are_found_at_once() {
    check(
        "version: 1\n\
         listeners:\n\
         - name: a\n\
         \x20 address: '[::1]:1'\n\
         \x20 tls: { certificate: x }\n\
         \x20 forwarded: { trusted_hops: -1, networks: [] }\n\
         \x20 http2: { streams: 0 }\n",
        &[
            "5: listeners[0].tls.certificate: the field is not known here. Did you mean \"certificates\"?",
            "5: listeners[0].tls: the field \"certificates\" is missing. \
             Write certificates: [{ certificate: { file: server.pem }, key: { file: server.key } }]",
            "6: listeners[0].forwarded.networks: the field is not known here. \
             There are: \"trusted_hops\", \"trusted_networks\", \"rfc7239\"",
            "6: listeners[0].forwarded.trusted_hops: the value is out of bounds. Write a number from 0 to 32",
            "7: listeners[0].http2.streams: the value is out of bounds. Write a number from 1 to 100000",
        ],
    );
}
