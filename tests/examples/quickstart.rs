use std::fs;
use std::path::Path;

use agw_tests::gateway::output;
use agw_tests::{
    Client, Gateway, Mariadb, Postgres, RedisOptions, RedisServer, Reply, Script, Upstream, cargo,
};
use anyhow::{Context, Result};

const ON_FREE_PORTS: [&str; 5] = ["quickstart", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
const PASSWORD: &str = "planted-correct-horse-battery";

fn quickstart(options: &[&str]) -> Result<Gateway> {
    Gateway::command(&[&ON_FREE_PORTS, options].concat())
}

/// Five times 200 and then 429, which the README promises.
async fn assert_limited(gateway: &Gateway) -> Result<()> {
    let mut client = Client::new(gateway.address()?);
    for left in (0..5).rev() {
        let reply = client.get_with("/limited/hello", &[("x-api-key", "me")]).await?;
        assert_eq!(reply.status, 200);
        assert!(reply.header("ratelimit").contains(&format!(";r={left};")), "{reply:?}");
    }
    let reply = client.get_with("/limited/hello", &[("x-api-key", "me")]).await?;
    assert_eq!(reply.status, 429, "{reply:?}");
    for header in ["ratelimit-policy", "ratelimit", "retry-after"] {
        assert_ne!(reply.header(header), "", "{header}");
    }
    Ok(())
}

#[test]
fn bad_options_are_one_clear_line_that_shows_no_password() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let secret = format!("redis://user:{PASSWORD}@127.0.0.1:1");
    let sql = format!("postgres://user:{PASSWORD}@127.0.0.1:1/app");
    let cases: [(&[&str], &str); 13] = [
        (&["--redis", &secret], "--redis: the URL carries credentials"),
        (&["--redis", "rediss://127.0.0.1:1"], "--redis: TLS needs an authority"),
        (&["--redis", "http://127.0.0.1:1"], "--redis: write redis://host:port/database"),
        (&["--redis", "redis://127.0.0.1:99999"], "url"),
        (&["--redis", "redis://127.0.0.1:1", "--redis-password-file", "nowhere"], "nowhere"),
        (&["--sql", &sql], "--sql: before the @ stands more than a user's name"),
        (&["--sql", "http://127.0.0.1:1"], "--sql: write postgres://user@host:port/database"),
        (&["--sql", "postgres://127.0.0.1:1"], "the database's name is missing"),
        (&["--sql", "postgres://db.example.com/app"], "nothing says whom to trust"),
        (&["--sql", "postgres://127.0.0.1:1/app", "--sql-password-file", "nowhere"], "nowhere"),
        (&["--upstream", "https://127.0.0.1:1"], "--upstream: TLS to the upstream"),
        (&["--upstream", &secret], "--upstream: the URL carries credentials"),
        (&["--key-prefix", "a\nb"], "key_prefix"),
    ];
    for (options, expected) in cases {
        let said = output(folder.path(), &[&ON_FREE_PORTS, options].concat())?;
        let text =
            [said.stdout, said.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(!said.status.success(), "{options:?}: {text}");
        assert_eq!(text.trim_end().lines().count(), 1, "{options:?}:\n{text}");
        assert!(text.contains(expected), "{options:?}: {text}");
        assert!(!text.contains(PASSWORD), "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn the_first_command_limits_and_says_how_to_try_it() -> Result<()> {
    let gateway = quickstart(&[])?;
    assert_limited(&gateway).await?;
    let address = gateway.address()?;
    let mut client = Client::new(address);
    assert_eq!(client.get_with("/limited/x", &[("x-api-key", "you")]).await?.status, 200);
    for _ in 0..10 {
        let reply = client.get_with("/plain/hello?a=b", &[("x-api-key", "me")]).await?;
        assert_eq!((reply.status.as_u16(), reply.header("ratelimit")), (200, ""));
        let echo = reply.json()?;
        assert_eq!((&echo["method"], &echo["path"]), (&"GET".into(), &"/plain/hello?a=b".into()));
        assert_eq!(echo["headers"]["x-api-key"], "me");
    }
    assert_eq!(client.get("/other").await?.status, 404);
    let line = format!("curl -i -H 'x-api-key: me' 'http://{address}/limited/hello'");
    gateway.wait_for_output("the line to try", |said| said.contains(&line)).await?;
    Ok(())
}

async fn account(gateway: &Gateway, headers: &[(&str, &str)]) -> Result<Reply> {
    Client::new(gateway.address()?).get_with("/account/hello", headers).await
}

/// Who has a key is told to the upstream, and nobody else passes.
async fn assert_keys(gateway: &Gateway, keys: &[(&str, &str, &str)]) -> Result<()> {
    assert_eq!(account(gateway, &[]).await?.status, 401);
    let made_up = [("x-api-key", "made-up"), ("x-user-id", "1"), ("x-user-tier", "pro")];
    assert_eq!(account(gateway, &made_up).await?.status, 401);
    for (key, user, tier) in keys {
        let reply = account(gateway, &[("x-api-key", key), ("x-user-tier", "root")]).await?;
        assert_eq!(reply.status, 200, "{reply:?}");
        let echo = reply.json()?;
        assert_eq!(
            (&echo["headers"]["x-user-id"], &echo["headers"]["x-user-tier"]),
            (&(*user).into(), &(*tier).into())
        );
    }
    Ok(())
}

#[tokio::test]
async fn keys_are_known_without_a_server() -> Result<()> {
    let gateway = quickstart(&[])?;
    assert_keys(&gateway, &[("demo-free", "1", "free"), ("demo-pro", "2", "pro")]).await?;
    let line = format!("curl -i -H 'x-api-key: demo-pro' 'http://{}/account/hello'", gateway.address()?);
    gateway.wait_for_output("the line to try", |said| said.contains(&line)).await?;
    Ok(())
}

#[tokio::test]
async fn keys_are_looked_up_in_postgres() -> Result<()> {
    let postgres = Postgres::start()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("secret");
    fs::write(&file, Postgres::PASSWORD)?;
    let url = format!("postgres://agw@127.0.0.1:{}/postgres", postgres.port());
    let options = ["--sql", &url, "--sql-password-file", file.to_str().context("UTF-8")?];
    let args = [&ON_FREE_PORTS[..], &options].concat();
    let said = output(folder.path(), &args)?;
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(
        !said.status.success() && text.contains("api_keys"),
        "the table is not there, and not made: {text}"
    );
    assert_eq!(postgres.sql("SELECT to_regclass('api_keys')")?, "");

    let schema = fs::read_to_string(cargo::workspace().join("examples/api-key-auth/schema.sql"))?;
    postgres.sql(&format!(
        "{schema}; DELETE FROM api_keys WHERE tier = 'pro'; GRANT SELECT ON api_keys TO agw"
    ))?;
    let gateway = quickstart(&options)?;
    assert_keys(&gateway, &[("demo-free", "1", "free")]).await?;
    assert_eq!(account(&gateway, &[("x-api-key", "demo-pro")]).await?.status, 401, "the server's keys count");
    postgres.sql("UPDATE api_keys SET tier = 'gold'")?;
    assert_keys(&gateway, &[("demo-free", "1", "gold")]).await?;
    assert!(!gateway.ask_admin("/v1/config")?.text().contains(Postgres::PASSWORD));
    assert!(!gateway.output().contains(Postgres::PASSWORD));
    Ok(())
}

#[tokio::test]
async fn keys_are_looked_up_in_mariadb() -> Result<()> {
    let mariadb = Mariadb::start()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("secret");
    fs::write(&file, Mariadb::PASSWORD)?;
    for scheme in ["mysql", "mariadb"] {
        let url = format!("{scheme}://agw@127.0.0.1:{}/app", mariadb.port());
        let options = ["--sql", &url, "--sql-password-file", file.to_str().context("UTF-8")?];
        if scheme == "mysql" {
            let said = output(folder.path(), &[&ON_FREE_PORTS[..], &options].concat())?;
            let text = String::from_utf8_lossy(&said.stderr);
            assert!(!said.status.success() && text.contains("api_keys"), "there is no table: {text}");
        }
        let schema = fs::read_to_string(cargo::workspace().join("examples/api-key-auth/schema.sql"))?;
        mariadb.sql(&format!("{schema}; UPDATE api_keys SET tier = 'gold' WHERE tier = 'pro'"))?;
        let gateway = quickstart(&options)?;
        assert_keys(&gateway, &[("demo-free", "1", "free"), ("demo-pro", "2", "gold")]).await?;
        assert!(!gateway.output().contains(Mariadb::PASSWORD));
    }
    Ok(())
}

#[tokio::test]
async fn the_printed_configuration_runs_from_anywhere() -> Result<()> {
    let redis = RedisServer::start_with(RedisOptions {
        password: Some(PASSWORD.to_owned()),
        ..RedisOptions::default()
    })?;
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("secret"), format!("{PASSWORD}\n"))?;
    // The path is relative to where the document is printed, not to where it runs.
    let options = ["--redis", &redis.url(), "--redis-password-file", "secret", "--print-config"];
    let printed = printed(folder.path(), &options)?;
    assert!(!printed.contains(PASSWORD), "{printed}");
    assert_limited(&Gateway::start(&printed)?).await?;
    let mut connection = redis.connection()?;
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection)?;
    assert!(keys.len() == 1 && keys[0].starts_with("quickstart:"), "{keys:?}");

    let embedded = Gateway::start(&self::printed(folder.path(), &["--print-config"])?)?;
    assert_limited(&embedded).await?;
    assert_keys(&embedded, &[("demo-pro", "2", "pro")]).await?;
    Ok(())
}

fn printed(folder: &Path, options: &[&str]) -> Result<String> {
    let said = output(folder, &[&ON_FREE_PORTS, options].concat())?;
    assert!(said.status.success(), "{said:?}");
    assert!(said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).context("UTF-8")
}

#[tokio::test]
async fn a_redis_with_a_password_counts_and_nothing_shows_the_password() -> Result<()> {
    let redis = RedisServer::start_with(RedisOptions {
        password: Some(PASSWORD.to_owned()),
        ..RedisOptions::default()
    })?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("secret");
    fs::write(&file, PASSWORD)?;
    let file = file.to_str().context("UTF-8")?;
    let options = ["--redis", &redis.url(), "--redis-password-file", file, "--key-prefix", "mine:"];
    let gateway = quickstart(&options)?;
    assert_limited(&gateway).await?;
    let mut connection = redis.connection()?;
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection)?;
    assert!(keys.len() == 1 && keys[0].starts_with("mine:"), "{keys:?}");
    assert!(!gateway.ask_admin("/v1/config")?.text().contains(PASSWORD));
    assert!(!gateway.output().contains(PASSWORD));
    Ok(())
}

#[tokio::test]
async fn limit_window_and_upstream_are_options() -> Result<()> {
    let upstream = Upstream::start(|_| Script::ok("from upstream"))?;
    let url = format!("http://{}/", upstream.address());
    let gateway = quickstart(&["--upstream", &url, "--limit", "2", "--window", "600", "--workers", "1"])?;
    let mut client = Client::new(gateway.address()?);
    for expected in [200, 200, 429] {
        let reply = client.get("/limited/x").await?;
        assert_eq!(reply.status.as_u16(), expected);
        assert_eq!(reply.header("ratelimit-policy"), "\"default\";q=2;w=600");
    }
    assert_eq!(client.get("/plain/x").await?.text(), "from upstream");
    assert_eq!(upstream.recorded().len(), 3);
    Ok(())
}
