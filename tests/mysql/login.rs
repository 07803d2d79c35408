use std::sync::{Arc, Mutex};

use agw_wire::Code;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::world::{AD_HOC, World};
use crate::{Options, Server};

#[tokio::test]
async fn why_there_is_no_connection_is_said_by_its_class_and_without_addresses() {
    let server = Arc::new(Mutex::new(Server::start().unwrap()));
    server.lock().unwrap().sql("CREATE DATABASE forbidden; GRANT ALL ON nowhere.* TO agw@'%'").unwrap();
    let port = server.lock().unwrap().port();
    let nobody = agw_tests::port::free_port().unwrap();
    for (fields, code, class) in [
        ("password: { file: wrong }", Code::Auth, "auth"),
        ("username: stranger", Code::Auth, "auth"),
        (&format!("url: mysql://127.0.0.1:{port}/forbidden"), Code::Auth, "auth"),
        (&format!("url: mysql://127.0.0.1:{port}/nowhere"), Code::Unavailable, "database"),
        (&format!("url: mariadb://127.0.0.1:{nobody}/app"), Code::Unavailable, "unreachable"),
        ("url: mysql://localhost.invalid/app\nplaintext: true", Code::Unavailable, "lookup"),
        ("tls: { ca: { file: /etc/ssl/certs/ca-certificates.crt } }", Code::Unavailable, "tls"),
    ] {
        let world = World::on(Arc::clone(&server), &format!("{AD_HOC}\n{fields}"));
        world.start().await.unwrap();
        let error = world.plugin("p").query("SELECT 1", &[]).await.unwrap_err();
        assert_eq!(error.code, code, "{fields}: {error}");
        assert_eq!(world.backend.status().last_error.as_deref(), Some(class), "{fields}");
        for secret in
            ["127.0.0.1", &port.to_string(), "stranger", "nowhere", "invalid", "forbidden", Server::PASSWORD]
        {
            assert!(!error.message.contains(secret), "{}", error.message);
        }
    }
}

#[tokio::test]
async fn accounts_of_every_kind_log_in() {
    let options = Options { settings: vec!["plugin-load-add=auth_ed25519".to_owned()], ..Default::default() };
    let server = Arc::new(Mutex::new(Server::start_with(options).unwrap()));
    server
        .lock()
        .unwrap()
        .sql(&format!(
            "CREATE USER e@'%' IDENTIFIED VIA ed25519 USING PASSWORD('{0}'); GRANT SELECT ON app.* TO e@'%'; \
             CREATE USER n@'%' IDENTIFIED VIA mysql_native_password USING PASSWORD('{0}'); \
             GRANT SELECT ON app.* TO n@'%'",
            Server::PASSWORD
        ))
        .unwrap();
    for user in ["e", "n"] {
        let world = World::on(Arc::clone(&server), &format!("{AD_HOC}\nusername: {user}"));
        world.start().await.unwrap();
        let found = world.plugin("p").value("SELECT CURRENT_USER()", &[]).await;
        assert_eq!(found, format!("Text(\"{user}@%\")"));
        let world = World::on(
            Arc::clone(&server),
            &format!("{AD_HOC}\nusername: {user}\npassword: {{ file: wrong }}"),
        );
        assert_eq!(world.plugin("p").query("SELECT 1", &[]).await.unwrap_err().code, Code::Auth, "{user}");
    }
}

#[tokio::test]
async fn a_server_without_room_says_so_and_serves_again() {
    let options = Options { settings: vec!["max-connections=10".to_owned()], ..Default::default() };
    let world = World::with_options(options, AD_HOC).await;
    let plugin = world.plugin("p");
    let calls: Vec<_> = (0..14)
        .map(|_| {
            let plugin = plugin.clone();
            tokio::spawn(async move { plugin.query("SELECT SLEEP(1)", &[]).await })
        })
        .collect();
    let mut refused = 0;
    for call in calls {
        if let Err(error) = call.await.unwrap() {
            assert_eq!(error.code, Code::Unavailable, "{error}");
            refused += 1;
        }
    }
    assert!((1..14).contains(&refused), "{refused}");
    assert_eq!(plugin.value("SELECT 1", &[]).await, "Int(1)");
}

struct Certificates {
    authority: String,
    server: (String, String),
    client: (String, String),
}

fn certificates() -> Certificates {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Of another name than what it signs: the server takes that for signed by itself otherwise.
    params.distinguished_name.push(DnType::CommonName, "authority");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let signed = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &authority);
        (certificate.unwrap().pem(), key.serialize_pem())
    };
    Certificates { server: signed("localhost"), client: signed("agw"), authority: authority.pem() }
}

#[tokio::test]
async fn the_servers_certificate_and_its_name_are_verified_and_a_client_shows_its_own() {
    let made = certificates();
    let options = Options {
        tls: Some(made.server.clone()),
        client_authority: Some(made.authority.clone()),
        settings: Vec::new(),
    };
    let server = Arc::new(Mutex::new(Server::start_with(options).unwrap()));
    let port = server.lock().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (ca, other) = (write("ca", &made.authority), write("other", &certificates().authority));
    let (chain, key) = (write("chain", &made.client.0), write("key", &made.client.1));
    let client = format!("client_certificate: {{ file: {chain} }}, client_key: {{ file: {key} }}");
    let by_name = format!("url: mysql://localhost:{port}/app");
    for (fields, expected) in [
        (format!("{by_name}\ntls: {{ ca: {{ file: {ca} }}, {client} }}"), Ok(())),
        (format!("tls: {{ ca: {{ file: {ca} }}, server_name: localhost, {client} }}"), Ok(())),
        // Another name than the certificate's, another authority, no certificate of the client's, no TLS.
        (format!("tls: {{ ca: {{ file: {ca} }}, {client} }}"), Err("tls")),
        (format!("{by_name}\ntls: {{ ca: {{ file: {other} }}, {client} }}"), Err("tls")),
        (format!("{by_name}\ntls: {{ ca: {{ file: {ca} }} }}"), Err("auth")),
        (by_name.clone(), Err("auth")),
    ] {
        let world = World::on(Arc::clone(&server), &format!("{AD_HOC}\n{fields}"));
        let plugin = world.plugin("p");
        match expected {
            Ok(()) => {
                let cipher = plugin.query("SHOW STATUS", &[]).await;
                assert_eq!(cipher.unwrap_err().code, Code::Denied);
                assert_eq!(plugin.value("SELECT 1", &[]).await, "Int(1)", "{fields}");
                let late = plugin.clone().with_deadline(200).query("SELECT SLEEP(60)", &[]).await;
                assert_eq!(late.unwrap_err().code, Code::TimeoutIo);
                world.all_given_back().await;
                assert_eq!(world.running(), "", "kills go through TLS as well");
            }
            Err(class) => {
                plugin.query("SELECT 1", &[]).await.unwrap_err();
                assert_eq!(world.backend.status().last_error.as_deref(), Some(class), "{fields}");
            }
        }
    }
}
