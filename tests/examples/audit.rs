use std::fs;
use std::process::ExitStatus;
use std::time::Duration;

use agw_tests::{Client, FaultProxy, Gateway, Load, Mariadb, Mode, Postgres, cargo};
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::document::Document;

const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// A Postgres with the example's table, and the gateway with the example's own document.
struct World {
    postgres: Postgres,
    gateway: Gateway,
    _secret: tempfile::NamedTempFile,
}

fn schema() -> std::path::PathBuf {
    cargo::workspace().join("examples/audit/schema.sql")
}

impl World {
    /// With changes of the document.
    fn start(changes: &[(&str, &str)]) -> Result<World> {
        let postgres = Postgres::start()?;
        let port = postgres.port();
        World::on(postgres, port, changes)
    }

    /// The same with the server behind this port.
    fn on(postgres: Postgres, port: u16, changes: &[(&str, &str)]) -> Result<World> {
        postgres.sql(&(fs::read_to_string(schema())? + "; GRANT SELECT, INSERT ON audit_log TO agw"))?;
        let secret = tempfile::NamedTempFile::new()?;
        fs::write(secret.path(), Postgres::PASSWORD)?;
        let resource = format!(
            "type: postgres\n    url: postgres://127.0.0.1:{}/postgres\n    username: agw\n    password: {{ file: \"{}\" }}",
            port,
            secret.path().display()
        );
        let mut document = Document::of("audit")?
            .with("type: sqlite\n    url: sqlite://audit.db\n    schema: { file: schema.sql }", &resource)?
            .with("(?, ?, ?, ?, ?, ?, ?, ?, ?)", "($1, $2, $3, $4, $5, $6, $7, $8, $9)")?;
        for (old, new) in changes {
            document = document.with(old, new)?;
        }
        Ok(World { postgres, gateway: document.start()?, _secret: secret })
    }

    async fn get(&self, path: &str, count: usize) -> Result<()> {
        let mut client = Client::new(self.gateway.address()?);
        for _ in 0..count {
            ensure!(client.get(path).await?.status == 200);
        }
        Ok(())
    }

    fn rows(&self) -> Result<usize> {
        Ok(self.postgres.sql("SELECT count(*) FROM audit_log")?.parse()?)
    }

    /// Waits for so many; the harness' own time-out ends it if they never come.
    async fn wait_for_rows(&self, count: usize) -> Result<()> {
        while self.rows()? < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ensure!(self.rows()? == count, "{} rows", self.rows()?);
        Ok(())
    }

    /// A counter of the plugin's own.
    fn counted(&self, name: &str) -> Result<f64> {
        let labels = [("plugin", "audit"), ("name", name)];
        Ok(self.gateway.metrics()?.value("agw_plugin_counter_total", &labels).unwrap_or(0.0))
    }

    /// SIGTERM, and its end.
    fn terminate(&mut self) -> Result<ExitStatus> {
        self.gateway.terminate(ENDS_WITHIN)
    }

    /// Lines of the access log.
    fn logged(&self) -> usize {
        self.gateway.output().lines().filter(|line| line.contains("\"route\":\"all\"")).count()
    }
}

#[tokio::test]
async fn bad_configurations_are_refused_by_the_fields_name() -> Result<()> {
    for (old, new, expected) in [
        ("batch: 50", "batch: 0", "configuration: batch:"),
        ("buffer: 10000", "buffer: 10", "configuration: buffer: write at least as many"),
        ("interval_ms: 1000", "interval: 1000", "configuration: interval: there is no such field"),
    ] {
        let schema = schema().display().to_string();
        let document = Document::of("audit")?.with("schema.sql", &schema)?;
        let refusal = document.with("sqlite://audit.db", "\"sqlite::memory:\"")?.with(old, new)?.refusal()?;
        assert!(refusal.contains(expected), "{new}:\n{refusal}");
    }
    Ok(())
}

#[tokio::test]
async fn a_row_says_what_the_request_was() -> Result<()> {
    let world = World::start(&[("interval_ms: 1000", "interval_ms: 50")])?;
    let headers = [("host", "a.example"), ("x-user-id", "'); DROP TABLE audit_log; --")];
    Client::new(world.gateway.address()?).get_with("/a/b?secret=1", &headers).await?;
    Client::new(world.gateway.address()?).get("/plain").await?;
    world.wait_for_rows(2).await?;
    let of = |path: &str| {
        world.postgres.sql(&format!(
            "SELECT client, method, host, status, user_id, duration_ms < 60000, \
             at_ms > extract(epoch FROM now()) * 1000 - 600000 FROM audit_log WHERE path = '{path}'"
        ))
    };
    assert_eq!(of("/a/b")?, "127.0.0.1|GET|a.example|200|'); DROP TABLE audit_log; --|t|t");
    assert!(of("/plain")?.contains("|200||t|t"), "nobody: {}", of("/plain")?);
    Ok(())
}

#[tokio::test]
async fn no_row_is_lost_or_doubled_when_the_process_ends_under_load() -> Result<()> {
    // Rows that wait for a tick wait until the end.
    let mut world = World::start(&[("interval_ms: 1000", "interval_ms: 60000")])?;
    let load = Load::new(world.gateway.address()?, "/load", 16).start()?;
    world
        .gateway
        .wait_for_metrics("a thousand rows", |metrics| {
            let labels = [("plugin", "audit"), ("name", "audit_written_total")];
            metrics.value("agw_plugin_counter_total", &labels).unwrap_or(0.0) >= 1000.0
        })
        .await?;
    world.gateway.process().signal(Signal::TERM)?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let report = load.stop()?;
    assert!(world.gateway.process().wait(ENDS_WITHIN)?.success());
    let answered = report.samples.iter().filter(|sample| sample.status == 200).count();
    let (rows, logged) = (world.rows()?, world.logged());
    assert_eq!(rows, logged, "rows and lines of the access log");
    assert!(rows >= answered && answered > 1000, "{rows} rows of {answered} answers");
    Ok(())
}

#[tokio::test]
async fn a_few_rows_go_out_when_the_process_ends() -> Result<()> {
    let rarely = ("interval_ms: 1000", "interval_ms: 60000");
    for changes in [&[rarely][..], &[rarely, ("vm: { mode: shared }", "vm: { mode: exclusive }")]] {
        let mut world = World::start(changes)?;
        world.get("/few", 7).await?;
        assert_eq!(world.rows()?, 0, "a batch is not full, and the tick is far away");
        assert!(world.terminate()?.success());
        assert_eq!(world.rows()?, 7, "{changes:?}");
    }
    Ok(())
}

#[tokio::test]
async fn rows_go_out_if_the_database_comes_back_while_the_process_ends() -> Result<()> {
    let postgres = Postgres::start()?;
    let proxy = FaultProxy::start(format!("127.0.0.1:{}", postgres.port()))?;
    let port = proxy.address().port();
    let mut world = World::on(postgres, port, &[("interval_ms: 1000", "interval_ms: 60000")])?;
    proxy.set(Mode::Refuse)?;
    world.get("/late", 3).await?;
    world.gateway.process().signal(Signal::TERM)?;
    world.gateway.wait_for_output("that rows may be lost", |said| said.contains("will be lost")).await?;
    proxy.set(Mode::Pass)?;
    assert!(world.gateway.process().wait(ENDS_WITHIN)?.success());
    assert_eq!(world.rows()?, 3);
    Ok(())
}

#[tokio::test]
async fn it_runs_on_sqlite_as_it_stands() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("audit.db");
    let gateway = Document::of("audit")?
        .with("schema.sql", &schema().display().to_string())?
        .with("sqlite://audit.db", &format!("sqlite://{}", file.display()))?
        .start()?;
    let report = Load::new(gateway.address()?, "/load", 4).run(333)?;
    assert_eq!(report.count(200), 333);
    let written = |metrics: &agw_tests::Metrics| {
        let labels = [("plugin", "audit"), ("name", "audit_written_total")];
        metrics.value("agw_plugin_counter_total", &labels) == Some(333.0)
    };
    gateway.wait_for_metrics("333 rows", written).await?;
    assert!(file.exists());
    Ok(())
}

#[tokio::test]
async fn a_dead_database_delays_no_request_and_gets_its_rows_later() -> Result<()> {
    let mut world = World::start(&[("interval_ms: 1000", "interval_ms: 50")])?;
    world.get("/before", 3).await?;
    world.wait_for_rows(3).await?;
    world.postgres.kill();
    world.get("/meanwhile", 120).await?;
    world.gateway.wait_for_output("that rows are kept", |said| said.contains("are kept as long as")).await?;
    world.postgres.restart()?;
    world.wait_for_rows(123).await?;
    assert_eq!(world.counted("audit_dropped_total")?, 0.0);
    Ok(())
}

#[tokio::test]
async fn a_row_whose_answer_was_lost_goes_again_and_is_there_once() -> Result<()> {
    let postgres = Postgres::start()?;
    let proxy = FaultProxy::start(format!("127.0.0.1:{}", postgres.port()))?;
    let port = proxy.address().port();
    let changes = [
        ("interval_ms: 1000", "interval_ms: 20"),
        ("    statements:\n", "    breaker: { failures: 1000 }\n    statements:\n"),
    ];
    let world = World::on(postgres, port, &changes)?;
    // It sees each row that arrives and is not rolled back, even if the row is there already.
    world.postgres.sql(
        "CREATE TABLE seen (id text); GRANT INSERT ON seen TO agw;
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO seen VALUES (NEW.id); RETURN NEW; END';
         CREATE TRIGGER see BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION see()",
    )?;
    // The connection ends somewhere between the first and the last byte that the server sends about a row.
    for (rows, bytes) in (0..200).step_by(5).enumerate() {
        proxy.set(Mode::CutAfter(bytes))?;
        world.get("/cut", 1).await?;
        tokio::time::sleep(Duration::from_millis(60)).await;
        proxy.set(Mode::Pass)?;
        world.wait_for_rows(rows + 1).await?;
    }
    let seen: usize = world.postgres.sql("SELECT count(*) FROM seen")?.parse()?;
    assert!(seen > world.rows()?, "{seen} rows arrived: none went again after it had been written");
    assert_eq!(world.counted("audit_dropped_total")?, 0.0);
    Ok(())
}

#[tokio::test]
async fn a_full_buffer_keeps_what_it_has_and_drops_the_rest() -> Result<()> {
    let small =
        [("interval_ms: 1000", "interval_ms: 50"), ("batch: 50", "batch: 5"), ("buffer: 10000", "buffer: 8")];
    let mut world = World::start(&small)?;
    world.postgres.kill();
    // One connection, and so one worker and its buffer.
    world.get("/meanwhile", 20).await?;
    assert_eq!(world.counted("audit_dropped_total")?, 12.0);
    let said = world.gateway.output();
    assert_eq!(said.matches("the buffer is full").count(), 1, "{said}");
    world.postgres.restart()?;
    world.wait_for_rows(8).await?;
    world.get("/after", 1).await?;
    world.wait_for_rows(9).await?;
    Ok(())
}

#[tokio::test]
async fn a_row_that_the_database_refuses_takes_no_other_with_it() -> Result<()> {
    let world = World::start(&[("interval_ms: 1000", "interval_ms: 60000"), ("batch: 50", "batch: 10")])?;
    world.postgres.sql("ALTER TABLE audit_log ADD CHECK (path <> '/poison')")?;
    let mut client = Client::new(world.gateway.address()?);
    for at in 0..10 {
        client.get(if at % 5 == 2 { "/poison" } else { "/good" }).await?;
    }
    world.wait_for_rows(8).await?;
    world
        .gateway
        .wait_for_metrics("two dropped rows", |metrics| {
            let labels = [("plugin", "audit"), ("name", "audit_dropped_total")];
            metrics.value("agw_plugin_counter_total", &labels) == Some(2.0)
        })
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_database_that_is_gone_does_not_hold_the_end() -> Result<()> {
    let mut world = World::start(&[("interval_ms: 1000", "interval_ms: 50")])?;
    world.postgres.kill();
    world.get("/lost", 3).await?;
    let status = world.terminate().context("it ends all the same")?;
    assert!(status.success(), "{status}");
    let said = world.gateway.output();
    assert!(said.contains("rows are not written, and will be lost if that lasts"), "{said}");
    Ok(())
}

#[tokio::test]
async fn it_runs_on_mariadb_and_loses_nothing_at_the_end() -> Result<()> {
    let mariadb = Mariadb::start()?;
    mariadb.sql(&fs::read_to_string(schema())?)?;
    let secret = tempfile::NamedTempFile::new()?;
    fs::write(secret.path(), Mariadb::PASSWORD)?;
    let resource = format!(
        "type: mysql\n    url: mysql://127.0.0.1:{}/app\n    username: agw\n    password: {{ file: \"{}\" }}",
        mariadb.port(),
        secret.path().display()
    );
    let mut gateway = Document::of("audit")?
        .with("type: sqlite\n    url: sqlite://audit.db\n    schema: { file: schema.sql }", &resource)?
        .with("ON CONFLICT (id) DO NOTHING", "ON DUPLICATE KEY UPDATE id = id")?
        .with("interval_ms: 1000", "interval_ms: 60000")?
        .start()?;
    let report = Load::new(gateway.address()?, "/load", 4).run(333)?;
    assert_eq!(report.count(200), 333);
    assert!(gateway.terminate(ENDS_WITHIN)?.success());
    assert_eq!(mariadb.sql("SELECT count(*), count(DISTINCT id) FROM audit_log")?, "333|333");
    Ok(())
}
