use agw_tests::port::free_port;
use agw_tests::{Postgres, PostgresOptions};
use anyhow::Result;

use super::Place;
use super::tls::certificates;

const GRANTS: &str = "statements:\n  find: 'SELECT id FROM users WHERE token = $1'\n  \
                      log: 'INSERT INTO audit.events (what) VALUES ($1)'\ngrants:\n\
                      - { plugin: p, statements: [find, log] }\n";

const TABLES: &str = "CREATE TABLE users (id int, token text); CREATE SCHEMA audit; \
                      CREATE TABLE audit.events (n serial, what text); CREATE TABLE other (n int)";

fn resource(port: u16, fields: &str) -> String {
    format!("type: postgres\nurl: postgres://localhost:{port}/postgres\n{fields}\n{GRANTS}")
}

const SECRETS: [(&str, &str); 2] = [("secret", Postgres::PASSWORD), ("secret-wrong", "planted-2")];

#[test]
fn a_server_that_is_away_or_refuses_the_login_is_an_error() -> Result<()> {
    let place = Place::new(&resource(free_port()?, ""), &SECRETS)?;
    let said = place.test()?;
    assert_eq!(said.code, Some(1));
    assert!(said.word("error").starts_with("no connection: the server cannot be reached: "), "{}", said.text);

    let server = Postgres::start()?;
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
    assert_eq!(
        said.lines("refused"),
        [
            "statements.find: relation \"users\" does not exist",
            "statements.log: relation \"audit.events\" does not exist"
        ]
    );
    Ok(())
}

#[test]
fn the_lines_make_a_role_that_may_do_what_it_needs_and_no_more() -> Result<()> {
    let server = Postgres::start()?;
    server.sql(TABLES)?;
    server.sql("GRANT SELECT, DELETE ON users TO agw; GRANT ALL ON other TO agw; GRANT pg_monitor TO agw")?;
    let place = Place::new(&resource(server.port(), "username: agw\npassword: { file: secret }"), &SECRETS)?;
    let said = place.test()?;
    said.assert_reached();
    assert_eq!(
        (said.code, said.word("user"), said.word("role")),
        (Some(1), "agw", "primary"),
        "{}",
        said.text
    );
    assert!(said.word("server").starts_with("PostgreSQL "), "{}", said.text);
    let excess = said.lines("excess");
    for expected in [
        "it may create schemas in the database (CREATE)",
        "it is a member of pg_monitor",
        "it may create tables in the schema public (CREATE)",
        "DELETE on public.users",
        "SELECT, INSERT, UPDATE, DELETE, TRUNCATE on public.other",
    ] {
        assert!(excess.iter().any(|line| line == expected), "{expected}: {excess:#?}");
    }
    assert_eq!(said.lines("missing"), ["INSERT on audit.events"]);
    assert_eq!(
        said.lines("least"),
        [
            "CREATE ROLE \"agw\" LOGIN PASSWORD 'PASSWORD';",
            "GRANT CONNECT ON DATABASE \"postgres\" TO \"agw\";",
            "GRANT USAGE ON SCHEMA \"audit\" TO \"agw\";",
            "GRANT USAGE ON SCHEMA \"public\" TO \"agw\";",
            "GRANT INSERT ON TABLE \"audit\".\"events\" TO \"agw\";",
            "GRANT USAGE ON SEQUENCE \"audit\".\"events_n_seq\" TO \"agw\";",
            "GRANT SELECT ON TABLE \"public\".\"users\" TO \"agw\";",
        ]
    );

    let lines = said.lines("least").join(" ").replace("\"agw\"", "least").replace("PASSWORD", "planted-2");
    server.sql(&lines.replacen("LOGIN planted-2", "LOGIN PASSWORD", 1))?;
    place.write(&resource(server.port(), "username: least\npassword: { file: secret-wrong }"))?;
    let said = place.test()?;
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert_eq!((said.lines("excess"), said.lines("missing")), (Vec::new(), Vec::new()), "{}", said.text);
    // What it needs works, through the sequence as well.
    server.sql("SET ROLE least; SELECT id FROM users; INSERT INTO audit.events (what) VALUES ('x')")?;
    Ok(())
}

#[test]
fn a_role_with_which_the_gateway_does_not_start_is_told_with_the_way_out() -> Result<()> {
    let server = Postgres::start()?;
    server.sql(TABLES)?;
    server.sql("ALTER ROLE agw SUPERUSER")?;
    let read_only = resource(server.port(), "username: agw\npassword: { file: secret }")
        .replace("statements: [find, log]", "statements: [find], read_only: true");
    let place = Place::new(&read_only, &SECRETS)?;
    let said = place.test()?;
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert!(said.lines("refused")[0].contains("is a superuser"), "{}", said.text);
    assert_eq!(said.lines("excess"), ["it is a superuser and may do everything"]);
    assert!(
        said.lines("least").iter().any(|line| line.starts_with("GRANT SELECT ON TABLE")),
        "{}",
        said.text
    );
    Ok(())
}

#[test]
fn each_of_several_hosts_is_asked_and_one_that_is_away_fails() -> Result<()> {
    let server = Postgres::start()?;
    server.sql(TABLES)?;
    server.sql("GRANT SELECT ON users TO agw; GRANT USAGE ON SCHEMA audit TO agw; GRANT INSERT ON audit.events TO agw")?;
    let standby = server.standby()?;
    let (first, second) = (server.port(), standby.port());
    let hosts = |away: u16| {
        format!(
            "type: postgres\nendpoints: ['127.0.0.1:{first}', '127.0.0.1:{away}']\ndatabase: postgres\n\
             username: agw\npassword: {{ file: secret }}\n{GRANTS}"
        )
    };
    let place = Place::new(&hosts(second), &SECRETS)?;
    let said = place.test()?;
    assert_eq!(said.code, Some(0), "{}", said.text);
    let roles = [&said.json["hosts"][0]["role"], &said.json["hosts"][1]["role"]];
    assert_eq!(roles, ["primary", "replica"]);
    place.write(&hosts(free_port()?))?;
    let said = place.test()?;
    assert_eq!((said.code, said.json["fine"].as_bool()), (Some(1), Some(false)));
    assert!(
        said.json["hosts"][0]["error"].is_null() && said.json["hosts"][1]["error"].is_string(),
        "{}",
        said.text
    );
    Ok(())
}

#[test]
fn the_certificates_of_a_server_and_their_end_are_shown() -> Result<()> {
    let made = certificates(2039)?;
    let server =
        Postgres::start_with(PostgresOptions { tls: Some(made.server), ..PostgresOptions::default() })?;
    server.sql(TABLES)?;
    server.sql("GRANT SELECT ON users TO agw; GRANT USAGE ON SCHEMA audit TO agw; GRANT INSERT ON audit.events TO agw")?;
    let fields = "username: agw\npassword: { file: secret }\ntls: { ca: { file: ca.pem } }";
    let files = [("ca.pem", made.authority.as_str()), SECRETS[0]];
    let said = Place::new(&resource(server.port(), fields), &files)?.test()?;
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert_eq!(said.host()["tls"]["chain"][0]["subject"], "CN=server of a test");
    assert_eq!(said.host()["tls"]["chain"][0]["last_day"], "2039-01-01");
    assert!(said.text.contains("CN=server of a test, ends on 2039-01-01, in "), "{}", said.text);
    Ok(())
}
