//! A resource on a server of the suite's kind, as a document describes it, and plugins that call it. Suites of other
//! servers share this file.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agw_config::{Files, Origin, SqlResource};
use agw_foreign::{Access, CallSite, ContextKey, Dispatch, Resource, ResourcePolicy};
use agw_foreign_sql::{SqlBackend, SqlRuntime, StartError};
use agw_telemetry::Metrics;
use agw_wire::sql::{Call, Cell, Cells, Mode, Reply, Statement, put_cell};
use agw_wire::{AGW_SQL, Answer, CallError, Request, Response};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{DATABASE, KIND, Options, RUNNING, Server};

pub(crate) struct World {
    pub(crate) backend: Arc<SqlBackend>,
    pub(crate) resource: Arc<SqlResource>,
    gate: Arc<Resource>,
    metrics: Arc<Metrics>,
    pub(crate) server: Arc<Mutex<Server>>,
    _folder: tempfile::TempDir,
}

/// One plugin.
#[derive(Clone)]
pub(crate) struct Plugin {
    access: Arc<Access>,
    pub(crate) context: u64,
    pub(crate) deadline_ms: u32,
}

/// A reply, by its texts: `columns` are names, cells are as [`show`] shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) columns: Vec<String>,
    /// Type of the cells, and what the server calls it.
    pub(crate) types: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    pub(crate) affected: u64,
    pub(crate) last_insert_id: u64,
}

struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> Result<Vec<u8>, String> {
        std::fs::read(path).map_err(|error| error.to_string())
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn env(&self, _: &str) -> Option<String> {
        None
    }

    fn builtin_modules(&self) -> &[&str] {
        &["m"]
    }
}

/// Everything granted to `p`.
pub(crate) const AD_HOC: &str = "grants: [{ plugin: p, ad_hoc: true, read_only: false }]";

impl World {
    /// A resource `db` on a server of its own, with these further lines, and plugins `p` and `q` to grant.
    pub(crate) async fn new(fields: &str) -> World {
        let world = World::unstarted(fields);
        world.start().await.expect("it starts");
        world
    }

    /// As a gateway starts it: a server that is not there may come later.
    pub(crate) async fn start(&self) -> Result<(), StartError> {
        match self.backend.start().await {
            Err(StartError::NoConnection(_)) => Ok(()),
            started => started,
        }
    }

    pub(crate) fn unstarted(fields: &str) -> World {
        World::on(Arc::new(Mutex::new(Server::start().unwrap())), fields)
    }

    pub(crate) async fn with_options(options: Options, fields: &str) -> World {
        let world = World::on(Arc::new(Mutex::new(Server::start_with(options).unwrap())), fields);
        world.start().await.expect("it starts");
        world
    }

    /// Fields that are named take the place of the usual ones.
    pub(crate) fn on(server: Arc<Mutex<Server>>, fields: &str) -> World {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), Server::PASSWORD).unwrap();
        std::fs::write(folder.path().join("wrong"), "horse").unwrap();
        let port = server.lock().unwrap().port();
        let usual = [
            ("url", format!("{KIND}://127.0.0.1:{port}/{DATABASE}")),
            ("username", "agw".to_owned()),
            ("password", "{ file: password }".to_owned()),
            ("limits", "{ call_timeout: 20s }".to_owned()),
        ];
        let mut lines = fields.trim().to_owned();
        let says = |name: &str| fields.lines().any(|line| line.starts_with(&format!("{name}:")));
        for (name, value) in usual {
            let instead = if name == "url" { "endpoints" } else { name };
            if !says(name) && !says(instead) {
                lines.push_str(&format!("\n{name}: {value}"));
            }
        }
        World::of(server, &lines, folder)
    }

    fn of(server: Arc<Mutex<Server>>, fields: &str, folder: tempfile::TempDir) -> World {
        let document = format!(
            "version: 1\nlisteners: [{{ name: a, address: '[::1]:0' }}]\n\
             plugins: [{{ name: p, module: {{ builtin: m }} }}, {{ name: q, module: {{ builtin: m }} }}]\n\
             resources:\n- name: db\n  type: {KIND}\n  {}\n",
            fields.trim().replace('\n', "\n  ")
        );
        let origin = Origin { name: "test".to_owned(), folder: folder.path().to_owned() };
        let loaded = agw_config::load(&document, &origin, &Disk);
        let loaded = loaded.unwrap_or_else(|problems| panic!("{problems:#?}\nof\n{document}"));
        let resource = Arc::clone(&loaded.snapshot.sql_resources["db"]);
        let metrics = Arc::new(Metrics::new());
        let runtime = SqlRuntime::start().unwrap();
        let backend = SqlBackend::new(&resource, &runtime, &metrics).unwrap();
        let limits = &resource.limits;
        let policy = ResourcePolicy {
            in_flight_max: limits.in_flight_max,
            waiters_max: limits.waiters_max,
            call_timeout: limits.call_timeout,
            call_timeout_max: limits.call_timeout_max,
            request_bytes_max: limits.request_bytes_max,
            breaker_failures: resource.breaker.failures,
            breaker_probe_interval: resource.breaker.probe_interval,
            breaker_counts_timeout_io: false,
        };
        let gate = Resource::new("db", policy, &metrics);
        World { backend, resource, gate, metrics, server, _folder: folder }
    }

    pub(crate) fn plugin(&self, name: &str) -> Plugin {
        let grant = self.resource.grants.get(name).expect("it is granted");
        let granted = self.backend.grant(name, grant, &self.metrics);
        let access = Access::builder(name, 10_000, Arc::clone(&self.metrics));
        let access = access.grant(AGW_SQL, Arc::clone(&self.gate), granted).build();
        Plugin { access, context: 1, deadline_ms: 0 }
    }

    /// As superuser, without the gateway.
    pub(crate) fn direct(&self, text: &str) -> String {
        self.server.lock().unwrap().sql(text).unwrap()
    }

    /// Statements of the role `agw` that run on the server now.
    pub(crate) fn running(&self) -> String {
        self.direct(RUNNING)
    }

    /// Waits until no connection is in use. The harness' own time-out ends it if that never comes.
    pub(crate) async fn all_given_back(&self) {
        while self.backend.status().leased > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Plugin {
    pub(crate) fn with_deadline(mut self, ms: u32) -> Self {
        self.deadline_ms = ms;
        self
    }

    pub(crate) fn in_context(mut self, context: u64) -> Self {
        self.context = context;
        self
    }

    pub(crate) fn end_context(&self) {
        self.access.context_ended(ContextKey(self.context));
    }

    pub(crate) async fn call(&self, call: Call<'_>) -> Result<(Vec<Shown>, u32), CallError> {
        self.call_until(call, &CancellationToken::new()).await
    }

    pub(crate) async fn call_until(
        &self,
        call: Call<'_>,
        cancel: &CancellationToken,
    ) -> Result<(Vec<Shown>, u32), CallError> {
        let request =
            Request { resource: "db", deadline_ms: self.deadline_ms, sql: Some(call), ..Request::default() };
        let site = CallSite {
            worker: 0,
            context: ContextKey(self.context),
            calls_before: 0,
            deadline: Some(Instant::now() + Duration::from_secs(60)),
            cancel: cancel.clone(),
            trace: None,
        };
        let bytes = match self.access.call(AGW_SQL, &request.encode(), site) {
            Dispatch::Answer { bytes, .. } => bytes,
            Dispatch::Call { future, .. } => future.await,
            other => panic!("{other:?}"),
        };
        match Response::decode(&bytes).unwrap().answer {
            Answer::Sql(reply) => Ok(shown(reply)),
            Answer::Error(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    /// One ad hoc statement.
    pub(crate) async fn sql(&self, mode: Mode, text: &str, params: &[Cell<'_>]) -> Result<Shown, CallError> {
        let params = cells(params);
        let statements = vec![Statement::ad_hoc(text, Cells::new(&params))];
        let (mut results, _) = self.call(Call { mode, statements, ..Call::default() }).await?;
        assert_eq!(results.len(), 1);
        Ok(results.remove(0))
    }

    pub(crate) async fn query(&self, text: &str, params: &[Cell<'_>]) -> Result<Shown, CallError> {
        self.sql(Mode::Query, text, params).await
    }

    /// The one value of the one row.
    pub(crate) async fn value(&self, text: &str, params: &[Cell<'_>]) -> String {
        let shown = self.query(text, params).await.unwrap();
        let [row] = shown.rows.as_slice() else { panic!("{shown:?}") };
        let [value] = row.as_slice() else { panic!("{shown:?}") };
        value.clone()
    }

    pub(crate) async fn batch(&self, texts: &[&str]) -> Result<Vec<Shown>, CallError> {
        let statements = texts.iter().map(|text| Statement::ad_hoc(text, Cells::default())).collect();
        let call = Call { mode: Mode::Batch, statements, ..Call::default() };
        self.call(call).await.map(|(results, _)| results)
    }
}

pub(crate) fn cells(params: &[Cell<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    params.iter().for_each(|cell| put_cell(&mut out, *cell));
    out
}

fn shown(bytes: &[u8]) -> (Vec<Shown>, u32) {
    let reply = Reply::decode(bytes).unwrap();
    let results = reply.results.iter().map(|result| Shown {
        columns: result.columns.iter().map(|column| column.name.to_owned()).collect(),
        types: result.columns.iter().map(|c| format!("{:?} {}", c.cell_type, c.engine_type)).collect(),
        rows: result.rows().map(|row| row.map(|cell| show(cell.unwrap())).collect()).collect(),
        affected: result.affected,
        last_insert_id: result.last_insert_id,
    });
    (results.collect(), reply.cursor)
}

/// `Int(1)`, `Text("a")`.
pub(crate) fn show(cell: Cell<'_>) -> String {
    format!("{cell:?}")
}
