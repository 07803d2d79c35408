use std::sync::{Arc, Mutex};

use agw_tests::Postgres;
use agw_wire::Code;

use crate::world::{AD_HOC, World};

#[tokio::test]
async fn why_there_is_no_connection_is_said_by_its_class_and_without_addresses() {
    let server = Arc::new(Mutex::new(Postgres::start().unwrap()));
    let port = server.lock().unwrap().port();
    let nobody = agw_tests::port::free_port().unwrap();
    for (fields, code, class) in [
        ("password: { file: wrong }", Code::Auth, "auth"),
        ("username: stranger", Code::Auth, "auth"),
        (&format!("url: postgres://127.0.0.1:{port}/nowhere"), Code::Unavailable, "database"),
        (&format!("url: postgres://127.0.0.1:{nobody}/postgres"), Code::Unavailable, "unreachable"),
        ("url: postgres://localhost.invalid/postgres\nplaintext: true", Code::Unavailable, "lookup"),
    ] {
        let world = World::on(Arc::clone(&server), &format!("{AD_HOC}\n{fields}"));
        world.start().await.unwrap();
        let error = world.plugin("p").query("SELECT 1", &[]).await.unwrap_err();
        assert_eq!(error.code, code, "{fields}: {error}");
        assert_eq!(world.backend.status().last_error.as_deref(), Some(class), "{fields}");
        for secret in ["127.0.0.1", &port.to_string(), "stranger", "nowhere", "invalid", Postgres::PASSWORD] {
            assert!(!error.message.contains(secret), "{}", error.message);
        }
    }
}

#[tokio::test]
async fn a_server_without_room_says_so_and_serves_again() {
    let options = agw_tests::PostgresOptions {
        settings: vec!["max_connections=5".to_owned(), "superuser_reserved_connections=3".to_owned()],
        ..Default::default()
    };
    let world = World::with_options(options, AD_HOC).await;
    let plugin = world.plugin("p");
    let calls = (0..6).map(|_| {
        let plugin = plugin.clone();
        tokio::spawn(async move { plugin.query("SELECT pg_sleep(0.5)", &[]).await })
    });
    let calls: Vec<_> = calls.collect();
    let mut refused = 0;
    for call in calls {
        if let Err(error) = call.await.unwrap() {
            assert_eq!(error.code, Code::Unavailable, "{error}");
            refused += 1;
        }
    }
    assert!((1..6).contains(&refused), "{refused}");
    assert_eq!(plugin.value("SELECT 1", &[]).await, "Int(1)");
}
