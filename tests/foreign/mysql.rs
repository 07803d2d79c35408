//! `agw_sql` on MariaDB, from a guest through the gateway: typed rows, changes, violations, and a server that goes away.

use agw_tests::{Client, Gateway, Mariadb, guest};
use anyhow::{Result, ensure};

use crate::world::{Vm, WAYS};

const SCHEMA: &str = "\
CREATE TABLE tokens (hash varchar(64) PRIMARY KEY, user bigint unsigned, tier enum('free', 'paid'), seen datetime(6)); \
INSERT INTO tokens VALUES ('a1', 1, 'free', '2000-01-01'), ('b2', 2, NULL, NULL); \
CREATE TABLE uses (id int PRIMARY KEY AUTO_INCREMENT, hash varchar(64), n int)";

fn document(port: u16, folder: &std::path::Path) -> Result<String> {
    std::fs::write(folder.join("password"), Mariadb::PASSWORD)?;
    let module = guest("foreign-raw")?;
    let (module, folder) = (module.display(), folder.display());
    let limits = "limits: { cpu_time: 10s }";
    Ok(format!(
        r#"
version: 1
listeners: [{{ name: http, address: "127.0.0.1:0" }}]
routes:
  - {{ name: exclusive, match: {{ hosts: [exclusive], prefix: / }}, cluster: echo, timeout: 40s, plugins: [exclusive] }}
  - {{ name: shared, match: {{ hosts: [shared], prefix: / }}, cluster: echo, timeout: 40s, plugins: [shared] }}
clusters: [{{ name: echo, builtin: echo }}]
plugins:
  - {{ name: exclusive, module: {{ file: "{module}" }}, vm: {{ mode: exclusive }}, {limits} }}
  - {{ name: shared, module: {{ file: "{module}" }}, vm: {{ mode: shared }}, {limits} }}
resources:
  - name: db
    type: mysql
    url: mariadb://127.0.0.1:{port}/app
    username: agw
    password: {{ file: "{folder}/password" }}
    limits: {{ call_timeout: 5s }}
    statements:
      find: SELECT user, tier, seen FROM tokens WHERE hash = ?
      use: INSERT INTO uses (hash, n) VALUES (?, ?)
      count: SELECT count(*) AS n FROM uses WHERE hash = ?
    grants:
      - {{ plugin: exclusive, statements: [find, use, count], read_only: false }}
      - {{ plugin: shared, statements: [find, use, count], read_only: false }}
"#
    ))
}

#[tokio::test]
async fn a_guest_asks_and_changes_a_database_and_hears_when_it_is_gone() -> Result<()> {
    let mut server = Mariadb::start()?;
    server.sql(SCHEMA)?;
    let folder = tempfile::tempdir()?;
    let options = ["--admin", "127.0.0.1:0", "--workers", "2", "--access-log", "off"];
    let gateway = Gateway::start_with(&document(server.port(), folder.path())?, &[], &options)?;
    let ask = async |vm: Vm, path: String| -> Result<String> {
        let reply = Client::new(gateway.address()?).get_with(&path, &[("host", vm.host())]).await?;
        ensure!(reply.status == 200, "{path}: {} {}", reply.status, reply.text());
        Ok(reply.text().trim_end().to_owned())
    };
    for (at, (vm, style)) in WAYS.into_iter().enumerate() {
        let found = ask(vm, format!("/{style}/sql-find?a1")).await?;
        let columns = "sql [user bigint unsigned, tier enum, seen datetime]";
        assert_eq!(
            found,
            format!("{columns} (uint 1, text \"free\", timestamp 946684800000000)"),
            "{vm:?} {style}"
        );
        assert_eq!(
            ask(vm, format!("/{style}/sql-find?b2")).await?,
            format!("{columns} (uint 2, null, null)")
        );
        let missing = ask(vm, format!("/{style}/sql-find-one?nobody")).await?;
        assert_eq!(missing, "error 11 retry 0 server_code \"02000\" kind 8");
        let used = ask(vm, format!("/{style}/sql-use?k{at}")).await?;
        assert_eq!(used, format!("sql [] affected 1 id {}", at + 1), "{vm:?} {style}");
    }
    let resource = gateway.ask_admin("/v1/resources")?.json()?;
    assert_eq!((&resource[0]["type"], &resource[0]["breaker"]), (&"mysql".into(), &"closed".into()));
    server.kill();
    for (vm, style) in WAYS {
        let gone = ask(vm, format!("/{style}/sql-find?a1")).await?;
        assert!(gone.starts_with("error 8 ") || gone.starts_with("error 7 "), "{gone}");
    }
    Ok(())
}
