use agw_tests::port::free_port;
use agw_tests::{Mariadb, MariadbOptions};
use anyhow::Result;

use super::Place;
use super::tls::certificates;

const GRANTS: &str = "statements:\n  find: 'SELECT id FROM users WHERE token = ?'\n  \
                      log: 'INSERT INTO events (what) VALUES (?)'\ngrants:\n- { plugin: p, statements: [find, log] }\n";

const TABLES: &str = "CREATE TABLE users (id int, token text); CREATE TABLE events (n serial, what text)";

const SECRETS: [(&str, &str); 2] = [("secret", Mariadb::PASSWORD), ("secret-wrong", "planted-2")];

fn resource(port: u16, fields: &str) -> String {
    format!("type: mysql\nurl: mysql://localhost:{port}/app\n{fields}\n{GRANTS}")
}

#[test]
fn a_server_that_is_away_or_refuses_the_login_is_an_error() -> Result<()> {
    let place = Place::new(&resource(free_port()?, ""), &SECRETS)?;
    let said = place.test()?;
    assert_eq!(said.code, Some(1));
    assert!(said.word("error").starts_with("no connection: the server cannot be reached"), "{}", said.text);

    let server = Mariadb::start()?;
    place.write(&resource(server.port(), "username: agw\npassword: { file: secret-wrong }"))?;
    let said = place.test()?;
    assert_eq!(said.code, Some(1));
    assert!(
        said.word("error").starts_with("no connection: the server refuses the credentials"),
        "{}",
        said.text
    );

    place.write(&resource(server.port(), "username: agw\npassword: { file: secret }"))?;
    let said = place.test()?;
    assert_eq!(said.code, Some(1));
    let refused = said.lines("refused");
    assert!(refused.len() == 2 && refused[0].starts_with("statements.find: "), "{refused:#?}");
    assert!(said.lines("notes").iter().any(|note| note.starts_with("users is no table")), "{}", said.text);
    Ok(())
}

#[test]
fn the_lines_make_an_account_that_may_do_what_it_needs_and_no_more() -> Result<()> {
    let server = Mariadb::start()?;
    server.sql(TABLES)?;
    let place = Place::new(&resource(server.port(), "username: agw\npassword: { file: secret }"), &SECRETS)?;
    let said = place.test()?;
    said.assert_reached();
    assert_eq!(
        (said.code, said.word("user"), said.word("role")),
        (Some(0), "agw@%", "primary"),
        "{}",
        said.text
    );
    assert!(said.word("server").starts_with("MariaDB "), "{}", said.text);
    assert_eq!(said.lines("excess"), ["ALL PRIVILEGES, SELECT, INSERT, UPDATE, DELETE on app.*"]);
    assert_eq!(
        said.lines("least"),
        [
            "CREATE USER 'agw'@'%' IDENTIFIED BY 'PASSWORD';",
            "GRANT INSERT ON `app`.`events` TO 'agw'@'%';",
            "GRANT SELECT ON `app`.`users` TO 'agw'@'%';",
        ]
    );

    let lines = said.lines("least").join(" ").replace("'agw'", "'least'").replace("PASSWORD", "planted-2");
    server.sql(&lines)?;
    place.write(&resource(server.port(), "username: least\npassword: { file: secret-wrong }"))?;
    let said = place.test()?;
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert_eq!((said.lines("excess"), said.lines("missing")), (Vec::new(), Vec::new()), "{}", said.text);

    server.sql("REVOKE SELECT ON users FROM 'least'@'%'; GRANT DELETE, UPDATE ON users TO 'least'@'%'")?;
    let said = place.test()?;
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert_eq!(said.lines("excess"), ["UPDATE, DELETE on app.users"]);
    assert_eq!(said.lines("missing"), ["SELECT on app.users"]);
    Ok(())
}

#[test]
fn an_account_with_which_the_gateway_does_not_start_is_told_with_the_way_out() -> Result<()> {
    let server = Mariadb::start()?;
    server.sql(TABLES)?;
    server.sql("GRANT FILE ON *.* TO 'agw'@'%'")?;
    let read_only = resource(server.port(), "username: agw\npassword: { file: secret }")
        .replace("statements: [find, log]", "statements: [find], read_only: true");
    let said = Place::new(&read_only, &SECRETS)?.test()?;
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert!(said.lines("refused")[0].contains("FILE ON *.*"), "{}", said.text);
    assert!(said.lines("excess").contains(&"FILE on *.*".to_owned()), "{}", said.text);
    Ok(())
}

#[test]
fn the_certificates_of_a_server_and_their_end_are_shown() -> Result<()> {
    let made = certificates(2039)?;
    let server = Mariadb::start_with(MariadbOptions { tls: Some(made.server), ..MariadbOptions::default() })?;
    server.sql(TABLES)?;
    let fields = "username: agw\npassword: { file: secret }\ntls: { ca: { file: ca.pem } }";
    let files = [("ca.pem", made.authority.as_str()), SECRETS[0]];
    let said = Place::new(&resource(server.port(), fields), &files)?.test()?;
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert_eq!(said.host()["tls"]["chain"][0]["subject"], "CN=server of a test");
    assert_eq!(said.host()["tls"]["chain"][0]["last_day"], "2039-01-01");
    Ok(())
}
