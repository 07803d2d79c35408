use std::path::PathBuf;

use agw_config::{ClientCertificate, Resource, Secret, Tls};
use agw_foreign_redis::{BuildError, RedisBackend};
use agw_telemetry::Metrics;
use agw_wire::Code;

use crate::server::{RedisServer, free_port};
use crate::world::{World, resource};

fn path(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/suite/certificates");
    folder.join(name).display().to_string()
}

fn pem(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

/// A server whose TLS port is the one given back; it asks for a client certificate if `mutual`.
async fn server(mutual: bool) -> (RedisServer, u16) {
    let port = free_port();
    let (text, clients) = (port.to_string(), if mutual { "yes" } else { "no" });
    let (certificate, key, ca) = (path("server.pem"), path("server.key"), path("ca.pem"));
    let server = RedisServer::start(&[
        "--tls-port",
        &text,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        clients,
    ])
    .await;
    (server, port)
}

fn with_tls(port: u16, ca: &str) -> Resource {
    let mut secured = resource(port);
    secured.redis.tls = Some(Tls { ca_pem: pem(ca), server_name: None, client: None });
    secured
}

fn tls(resource: &mut Resource) -> &mut Tls {
    resource.redis.tls.as_mut().unwrap()
}

async fn assert_refused(resource: &Resource) {
    let world = World::of(resource);
    let error = world.run(&["GET", "k"]).await.unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
    assert!(!error.message.contains("127.0.0.1") && !error.message.contains("redis.test"), "{error}");
    assert_eq!(world.backend.status().last_error.as_deref(), Some("tls"));
}

#[tokio::test]
async fn a_server_is_trusted_only_if_a_named_authority_signed_its_name() {
    let (_server, port) = server(false).await;
    assert_refused(&with_tls(port, "other-ca.pem")).await;
    let mut misnamed = with_tls(port, "ca.pem");
    tls(&mut misnamed).server_name = Some("elsewhere.test".into());
    assert_refused(&misnamed).await;

    let mut named = with_tls(port, "ca.pem");
    tls(&mut named).server_name = Some("redis.test".into());
    for good in [&with_tls(port, "ca.pem"), &named] {
        let world = World::of(good);
        let large = "v".repeat(300_000);
        assert_eq!(world.run(&["SET", "k", &large]).await.unwrap(), "+OK\r\n");
        assert_eq!(world.run(&["GET", "k"]).await.unwrap().len(), large.len() + 11);
        assert_eq!(world.run(&["BLPOP", "none", "0.01"]).await.unwrap(), "*-1\r\n");
        assert_eq!(world.run(&["BLPOP", "none", "0.01"]).await.unwrap(), "*-1\r\n");
        assert_eq!(world.backend.status().idle, 1);
    }
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_gets_the_configured_one() {
    let (_server, port) = server(true).await;
    let without = World::of(&with_tls(port, "ca.pem"));
    assert_eq!(without.code(&["GET", "k"]).await, Code::Unavailable);
    let mut mutual = with_tls(port, "ca.pem");
    tls(&mut mutual).client =
        Some(ClientCertificate { chain_pem: pem("client.pem"), key_pem: Secret::new(pem("client.key")) });
    assert_eq!(World::of(&mutual).run(&["SET", "k", "v"]).await.unwrap(), "+OK\r\n");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_and_so_is_plaintext_to_one_with_it() {
    let (plain, port) = server(false).await;
    // A plaintext server takes the handshake for half a command and waits for the rest.
    let world = World::of(&with_tls(plain.port, "ca.pem"));
    assert_eq!(world.code(&["GET", "k"]).await, Code::Unavailable);
    assert_eq!(world.backend.status().last_error.as_deref(), Some("timeout"));
    assert_eq!(World::new(port).code(&["GET", "k"]).await, Code::Unavailable);
}

#[test]
fn tls_material_that_cannot_be_used_is_refused_when_the_backend_is_built() {
    let build = |resource: &Resource| RedisBackend::new(resource, 1, &Metrics::new()).err().unwrap();
    let mut bad = with_tls(1, "ca.pem");
    tls(&mut bad).ca_pem = Vec::new();
    assert!(matches!(build(&bad), BuildError::NoAuthority));
    tls(&mut bad).ca_pem = b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n".to_vec();
    assert!(matches!(build(&bad), BuildError::Authorities(_)));
    let mut bad = with_tls(1, "ca.pem");
    tls(&mut bad).server_name = Some("not a name".into());
    assert!(matches!(build(&bad), BuildError::ServerName(_)));
    let mut bad = with_tls(1, "ca.pem");
    tls(&mut bad).client =
        Some(ClientCertificate { chain_pem: pem("client.pem"), key_pem: Secret::new(pem("server.key")) });
    assert!(matches!(build(&bad), BuildError::ClientCertificate(_)), "the key of another certificate");
    let mut crowded = resource(1);
    crowded.pool.leased_max = crowded.pool.max;
    assert!(matches!(build(&crowded), BuildError::Pool { .. }));
}
