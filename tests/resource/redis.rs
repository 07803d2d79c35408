use agw_tests::port::free_port;
use agw_tests::{RedisOptions, RedisServer};
use anyhow::Result;
use redis::Value;

use super::Place;
use super::tls::certificates;

const GRANTS: &str = "scripts:\n  count: { source: \"return redis.call('incr', KEYS[1])\" }\ngrants:\n\
                      - { plugin: p, commands: [set, get], key_prefix: 'p:', scripts: [count] }\n\
                      - { plugin: q, commands: [get, publish], key_prefix: 'q*:' }\n";

fn resource(server: &RedisServer, fields: &str) -> String {
    format!("type: redis\nurl: {}/0\n{fields}\n{GRANTS}", server.url())
}

#[test]
fn a_server_that_is_away_refuses_or_swallows_the_login_is_an_error() -> Result<()> {
    let nobody = free_port()?;
    let place = Place::new(&format!("type: redis\nurl: redis://127.0.0.1:{nobody}\n{GRANTS}"), &[])?;
    let said = place.test()?;
    assert_eq!(said.code, Some(1));
    assert!(said.word("error").starts_with("no connection: the server cannot be reached: "), "{}", said.text);

    let options = RedisOptions { password: Some("planted-2".to_owned()), ..RedisOptions::default() };
    let server = RedisServer::start_with(options)?;
    let place = Place::new(&resource(&server, "password: { file: secret }"), &[("secret", "planted-3")])?;
    let said = place.test()?;
    assert_eq!(said.code, Some(1));
    assert_eq!(said.word("error"), "no connection: the server refused the login (WRONGPASS)");
    Ok(())
}

#[test]
fn the_default_user_may_too_much_and_the_line_makes_one_that_may_not() -> Result<()> {
    let server = RedisServer::start()?;
    let place = Place::new(&resource(&server, ""), &[("secret", "planted-2")])?;
    let said = place.test()?;
    said.assert_reached();
    assert_eq!((said.code, said.word("user"), said.word("role")), (Some(0), "default", "primary"));
    assert!(said.word("server").starts_with("Redis ") || said.word("server").starts_with("Valkey "));
    let excess = said.lines("excess");
    assert!(excess[0].contains("dangerous: ") && excess[0].contains("flushall"), "{excess:#?}");
    assert!(excess.iter().any(|line| line.starts_with("keys ~* (the grants need ")), "{excess:#?}");
    assert!(excess.iter().any(|line| line.starts_with("channels &* ")), "{excess:#?}");

    // The line as an operator would paste it, with a password.
    let least = said.lines("least").remove(0).replace("PASSWORD", "planted-2");
    let mut connection = server.connection()?;
    let mut command = redis::cmd("ACL");
    for word in least.split(' ').skip(1) {
        command.arg(word);
    }
    command.query::<()>(&mut connection)?;
    place.write(&resource(&server, "username: agw\npassword: { file: secret }"))?;
    let said = place.test()?;
    assert_eq!((said.code, said.word("user")), (Some(0), "agw"), "{}", said.text);
    assert_eq!(said.lines("excess"), Vec::<String>::new());
    assert!(said.text.contains("may not run ACL GETUSER"), "{}", said.text);

    // One that may look at itself has nothing too much and nothing too little but that.
    let rules = ["SETUSER", "agw", "+acl|getuser", "+acl|cat", "+command|list"];
    let mut command = redis::cmd("ACL");
    for word in rules {
        command.arg(word);
    }
    command.query::<()>(&mut connection)?;
    let said = place.test()?;
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert_eq!(said.lines("missing"), Vec::<String>::new());
    assert_eq!(
        said.lines("excess"),
        [
            "commands that the server calls dangerous: acl|getuser",
            "commands that no grant names: acl|cat, command|list"
        ]
    );
    let who: Value = redis::cmd("GET").arg("p:x").query(&mut connection)?;
    assert_eq!(who, Value::Nil, "nothing was written");
    Ok(())
}

#[test]
fn what_a_user_may_not_do_is_missed() -> Result<()> {
    let acl = "user default on nopass ~* &* +@all\nuser agw on nopass ~p:* -@all +get +ping +acl|getuser +command|list";
    let server =
        RedisServer::start_with(RedisOptions { acl: Some(acl.to_owned()), ..RedisOptions::default() })?;
    let place = Place::new(&resource(&server, "username: agw"), &[])?;
    let said = place.test()?;
    assert_eq!(said.code, Some(1), "{}", said.text);
    let missing = said.lines("missing");
    assert!(missing[0].starts_with("commands: ") && missing[0].contains("incr"), "{missing:#?}");
    assert!(missing.contains(&"keys ~q\\*:*".to_owned()), "{missing:#?}");
    Ok(())
}

#[test]
fn the_certificates_of_a_server_and_their_end_are_shown() -> Result<()> {
    let made = certificates(2039)?;
    let folder = tempfile::tempdir()?;
    let file = |name: &str, text: &str| -> Result<String> {
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let (port, plain) = (free_port()?, ["--tls-auth-clients", "no"].map(str::to_owned));
    let args = [
        "--tls-port".to_owned(),
        port.to_string(),
        "--tls-cert-file".to_owned(),
        file("server.pem", &made.server.0)?,
        "--tls-key-file".to_owned(),
        file("server.key", &made.server.1)?,
        "--tls-ca-cert-file".to_owned(),
        file("ca.pem", &made.authority)?,
    ];
    let args = args.into_iter().chain(plain).collect();
    let _server = RedisServer::start_with(RedisOptions { args, ..RedisOptions::default() })?;
    let resource =
        format!("type: redis\nurl: rediss://localhost:{port}\ntls: {{ ca: {{ file: ca.pem }} }}\n{GRANTS}");
    let place = Place::new(&resource, &[("ca.pem", &made.authority)])?;
    let said = place.test()?;
    assert_eq!(said.code, Some(0), "{}", said.text);
    let tls = &said.host()["tls"];
    assert!(tls["version"].as_str().is_some_and(|version| version.starts_with("TLSv1")), "{}", said.text);
    assert_eq!(tls["chain"][0]["subject"], "CN=server of a test");
    assert_eq!(tls["chain"][0]["last_day"], "2039-01-01");
    assert!(tls["chain"][0]["days_left"].as_i64().is_some_and(|days| days > 1000), "{}", said.text);

    let other = Place::new(&resource, &[("ca.pem", &certificates(2039)?.authority)])?;
    let said = other.test()?;
    assert_eq!(said.code, Some(1));
    assert!(said.word("error").starts_with("no connection: TLS failed: "), "{}", said.text);
    Ok(())
}

#[test]
fn the_embedded_store_has_nothing_to_reach() -> Result<()> {
    let said =
        Place::new("type: redis\nurl: memory://m\ngrants: [{ plugin: p, commands: [get] }]", &[])?.test()?;
    assert_eq!((said.code, said.word("server")), (Some(0), "the embedded store"));
    Ok(())
}
