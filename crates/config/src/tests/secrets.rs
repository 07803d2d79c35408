//! Secrets: only by reference, never shown, and never half there.

use std::path::Path;

use super::{FakeFiles, PEM, accept, lines, load_with, problems, usual_files, with_resource};
use crate::Secret;

const GRANT: &str = "grants: [{ plugin: p, commands: [get], key_prefix: 'p:' }]";

fn document(fields: &str) -> String {
    with_resource(&format!("name: r\ntype: redis\n{fields}\n{GRANT}"))
}

fn refused(fields: &str) -> Vec<String> {
    let found = problems(&document(fields));
    for problem in &found {
        assert!(!problem.contains("hunter"), "a secret is shown: {problem}");
        assert!(problem.contains(": resources[0]"), "{problem}");
    }
    found
}

#[test]
fn a_url_with_credentials_is_refused_with_the_way_out_and_never_shown() {
    for url in [
        "redis://user:hunter2@host",
        "redis://:hunter2@host:1/0",
        "redis://hunter2@host",
        "rediss://u:hun/ter2@host",
        "redis://u:hunter2@",
        "memory://hunter2@m",
        "user:hunter2@host",
    ] {
        let found = refused(&format!("url: '{url}'"));
        assert_eq!(
            found,
            [
                "agw.yaml:9: resources[0].url: the URL carries credentials. Remove them; write username: NAME and \
              password: { file: PATH } or { env: NAME } beside the url"
            ],
            "{url}"
        );
    }
}

#[test]
fn a_malformed_url_is_refused_and_never_shown() {
    for url in [
        "hunter2",
        "hunter2://host",
        "redis:hunter2",
        "redis://host?password=hunter2",
        "redis://host#hunter2",
        "redis://host/hunter2",
        "redis://host:hunter2",
        "redis://hunter2:1:2",
        "redis://",
        "redis://host:0",
        "redis://host/65536",
        "redis://host/99999999999999999999",
        "memory://",
        "memory://a/hunter2",
        "memory://a b",
    ] {
        let found = refused(&format!("url: '{url}'"));
        assert!(
            found.len() == 1 && found[0].starts_with("agw.yaml:9: resources[0].url: "),
            "{url}: {found:#?}"
        );
    }
    let found = refused("endpoint: 'user:hunter2@host:1'");
    assert!(found[0].contains("resources[0].endpoint: "), "{found:#?}");
}

#[test]
fn a_plain_password_is_refused_and_never_shown() {
    for password in [
        "hunter2",
        "[hunter2]",
        "{ hunter2 }",
        "{ hunter2: x }",
        "{ value: hunter2 }",
        "{ file: [hunter2] }",
        "{ file: a, env: hunter2 }",
        "{ env: 'hunter-2' }",
        "{ file: '' }",
        "{ directory: hunter2 }",
        "{ key: hunter2 }",
        "{ directory: a, key: '' }",
        "{ directory: a, key: [hunter2] }",
        "{ directory: a, file: hunter2 }",
        "{ directory: a, key: b, file: hunter2 }",
        "{ directory: a, key: hunter2/b }",
        "{ directory: a, key: ..hunter2 }",
        "{ file: a, file: hunter2 }",
        "1234",
        "{}",
        "~",
    ] {
        let found = refused(&format!("url: redis://localhost\npassword: {password}"));
        assert!(
            found.len() == 1 && found[0].starts_with("agw.yaml:10: resources[0].password: "),
            "{password}: {found:#?}"
        );
    }
}

#[test]
fn a_reference_to_nothing_fails_closed_and_names_the_reference() {
    assert_eq!(
        refused("url: redis://localhost\npassword: { file: no }"),
        [
            "agw.yaml:10: resources[0].password: the file \"/etc/agw/no\" cannot be read: No such file or directory. \
          Create it, or correct the reference"
        ]
    );
    assert_eq!(
        refused("url: redis://localhost\npassword: { env: NO }"),
        ["agw.yaml:10: resources[0].password: the environment variable \"NO\" is not set. \
          Create it, or correct the reference"]
    );
}

#[test]
fn a_key_of_a_directory_that_is_not_there_fails_closed_and_names_the_nearest() {
    let password = |reference: &str| refused(&format!("url: redis://localhost\npassword: {reference}"));
    assert_eq!(
        password("{ directory: /run/secrets, key: reddis }"),
        [
            "agw.yaml:10: resources[0].password: the key \"reddis\" of the directory \"/run/secrets\" is not there. \
          Did you mean \"redis\"?"
        ]
    );
    assert_eq!(
        password("{ directory: secrets, key: redis }"),
        [
            "agw.yaml:10: resources[0].password: the key \"redis\" of the directory \"/etc/agw/secrets\" cannot be \
          read, nor can the directory: No such file or directory. Create it, or correct the reference"
        ]
    );
    let found =
        accept(&document("url: redis://localhost\npassword: { directory: /run/secrets, key: redis }"));
    let password = found.resources["r"].redis.password.as_ref().map(Secret::expose);
    assert_eq!(password, Some(b"hunter2".as_slice()));
}

#[test]
fn a_certificate_of_a_directory_is_watched_as_its_file() {
    let snapshot = accept(&super::with_listener(
        "address: '[::1]:1', tls: { certificates: [{ certificate: { directory: /etc/agw, key: server.pem }, \
         key: { key: server.key, directory: /run/secrets } }] }",
    ));
    let pair = &snapshot.listeners[0].tls.as_ref().expect("TLS").certificates[0];
    assert_eq!(pair.chain.file.as_deref(), Some(Path::new("/etc/agw/server.pem")));
    assert_eq!(pair.key.file.as_deref(), Some(Path::new("/run/secrets/server.key")));
}

#[test]
fn a_secret_that_everybody_may_read_earns_a_warning_and_a_certificate_does_not() {
    let files = usual_files()
        .file("/public/redis", "hunter2")
        .file("/public/ca.pem", *PEM)
        .file("/public/client.key", *super::KEY);
    let text = with_resource(
        "name: r\ntype: redis\nurl: rediss://localhost\npassword: { file: /public/redis }\ntls:\n  \
         ca: { file: /public/ca.pem }\n  client_certificate: { file: client.pem }\n  \
         client_key: { file: /public/client.key }\ngrants: [{ plugin: p, commands: [get], key_prefix: 'p:' }]",
    );
    let warnings = lines(&load_with(&text, &files).expect("it loads").warnings);
    let expected =
        ["resources[0].password: the file \"/public/redis\"", "resources[0].tls.client_key: the file"];
    assert_eq!(warnings.len(), expected.len(), "{warnings:#?}");
    for (warning, expected) in warnings.iter().zip(expected) {
        assert!(warning.contains(expected) && warning.contains("every user of this machine"), "{warning}");
        assert!(!warning.contains("hunter"), "{warning}");
    }
}

#[test]
fn an_empty_or_huge_secret_is_refused() {
    let text = document("url: redis://localhost\npassword: { file: secret }");
    for content in ["", "\n", "\r\n", &"hunter2".repeat(10_000)] {
        let files = usual_files().file("/etc/agw/secret", content);
        let found = lines(&load_with(&text, &files).expect_err("it is refused"));
        assert!(found.len() == 1 && found[0].contains("resources[0].password: the file "), "{found:#?}");
        assert!(!found[0].contains("hunter"), "{}", found[0]);
    }
    let text = document("url: redis://localhost\npassword: { env: EMPTY }");
    assert!(load_with(&text, &FakeFiles::default().variable("EMPTY", "")).is_err());
}

#[test]
fn only_the_last_newline_of_a_file_is_trimmed() {
    let text = document("url: redis://localhost\npassword: { file: secret }");
    for (content, expected) in [(" a\nb \n", " a\nb "), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a", "a")] {
        let files = usual_files().file("/etc/agw/secret", content);
        let snapshot = load_with(&text, &files).expect("it loads").snapshot;
        let password = snapshot.resources["r"].redis.password.as_ref().map(Secret::expose);
        assert_eq!(password, Some(expected.as_bytes()));
    }
}

#[test]
fn tls_without_an_authority_is_refused_with_what_to_write() {
    assert_eq!(
        refused("url: rediss://localhost"),
        ["agw.yaml:7: resources[0]: rediss:// needs to know whom to trust. \
          Write tls: { ca: { file: /etc/ssl/certs/ca-certificates.crt } }"]
    );
    assert_eq!(
        refused("url: rediss://localhost\ntls: {}"),
        ["agw.yaml:10: resources[0].tls: the field \"ca\" is missing. \
          Write ca: { file: /etc/ssl/certs/ca-certificates.crt }"]
    );
}

#[test]
fn tls_that_the_url_denies_is_refused() {
    assert_eq!(
        refused("url: redis://localhost\ntls: { ca: { file: ca.pem } }"),
        ["agw.yaml:10: resources[0].tls: redis:// means no TLS. Write rediss:// in the URL, or remove tls"]
    );
}

#[test]
fn certificates_are_checked_for_what_they_are() {
    let found = refused(
        "url: rediss://localhost\ntls:\n  ca: { file: /run/secrets/redis }\n  server_name: 'a b'\n  \
         client_certificate: { file: client.key }\n  client_key: { file: client.pem }",
    );
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(
        found[0].contains("tls.ca: the file \"/run/secrets/redis\" holds no PEM block of kind CERTIFICATE")
    );
    assert!(found[1].contains("tls.server_name: \"a b\" is not a host name"));
    assert!(found[2].contains("tls.client_certificate: "));
    assert!(found[3].contains("tls.client_key: "));
    let found =
        refused("url: rediss://localhost\ntls: { ca: { file: ca.pem }, client_key: { file: client.key } }");
    assert!(found[0].contains("client_certificate and client_key belong together"), "{found:#?}");
}

#[test]
fn the_long_form_has_tls_when_it_says_so() {
    let snapshot = accept(&document("endpoint: localhost:6379\ntls: { ca: { file: ca.pem } }"));
    let tls = snapshot.resources["r"].redis.tls.as_ref().expect("TLS");
    assert_eq!(tls.ca_pem, PEM.as_bytes());
}

#[test]
fn the_embedded_store_has_neither_database_nor_credentials() {
    let found = refused("url: memory://m\ndatabase: 1\nusername: u\npassword: { env: REDIS_PASSWORD }");
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        found.iter().all(|problem| problem.contains("the embedded store has no such thing")),
        "{found:#?}"
    );
}

#[test]
fn a_database_that_is_written_twice_is_refused() {
    let found = refused("url: redis://localhost/1\ndatabase: 1");
    assert_eq!(
        found,
        ["agw.yaml:10: resources[0].database: the database is in the URL as well. Keep one of the two"]
    );
}
