//! 64 secrets, planted wherever a document takes one, and everything that the gateway says.

use std::fmt::Write as _;
use std::fs;

use agw_tests::port::free_port;
use agw_tests::{Client, Gateway, Postgres, RedisServer, gateway, guest};
use anyhow::{Context, Result, ensure};
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use tempfile::TempDir;

const REDIS: std::ops::Range<usize> = 0..24;
const POSTGRES: std::ops::Range<usize> = 24..40;
const MYSQL: std::ops::Range<usize> = 40..48;
const RESOURCE_KEYS: std::ops::Range<usize> = 48..56;
const LISTENER_KEYS: std::ops::Range<usize> = 56..60;
const CLUSTER_KEYS: std::ops::Range<usize> = 60..64;

/// All that the gateway and its libraries would say, but for the compiler of modules.
const EVERYTHING: &str = "trace,cranelift_codegen=off,wasmtime=off,wasmtime_internal_cranelift=off,regalloc2=off,cranelift_frontend=off";

/// Given to the guest, so that the search of its memory is seen to find.
const CONTROL: &str = "no secret at all, but a control";

const PAGES: [&str; 7] =
    ["/livez", "/readyz", "/metrics", "/v1/config", "/v1/plugins", "/v1/resources", "/v1/revisions"];

/// What must not be found, and where all else was written down.
struct Canaries {
    values: Vec<String>,
    heard: String,
}

impl Canaries {
    /// Odd ones are wrong: the server has another password for their account.
    fn password(number: usize) -> String {
        format!("planted-{number:02}-Vx9kQ")
    }

    fn hear(&mut self, what: &str, text: &str) {
        let _ = writeln!(self.heard, "=== {what}\n{text}");
    }

    fn none_was_heard(&self) -> Result<()> {
        for value in &self.values {
            if let Some(at) = self.heard.find(value.as_str()) {
                let from = self.heard[..at].rfind("===").unwrap_or(0);
                anyhow::bail!("{value:?} in {:?}", &self.heard[from..(at + 80).min(self.heard.len())]);
            }
        }
        ensure!(self.heard.len() > 100_000, "too little was heard to mean anything: {}", self.heard.len());
        Ok(())
    }
}

#[tokio::test]
async fn none_of_64_secrets_is_in_anything_that_the_gateway_says_or_a_guest_can_see() -> Result<()> {
    let (redis, postgres) = (RedisServer::start()?, Postgres::start()?);
    make_accounts(&redis, &postgres)?;
    let folder = tempfile::tempdir()?;
    let mut canaries = Canaries { values: plant(&folder)?, heard: String::new() };
    ensure!(canaries.values.len() == 64);
    let document = document(&redis, &postgres)?;

    fs::write(folder.path().join("checked.yaml"), &document)?;
    misplaced(&folder, &document, &mut canaries)?;
    let options = ["--admin", "127.0.0.1:0", "--workers", "1"];
    let gateway = Gateway::start_saying(folder, &document, &options, EVERYTHING)?;
    ask_everything(&gateway, &mut canaries).await?;

    // Other passwords, of which one is wrong, and documents that are refused.
    for (file, secret) in [("0.secret", "planted-rotated-a"), ("26.secret", "planted-rotated-b")] {
        canaries.values.push(secret.to_owned());
        gateway.replace(file, secret)?;
    }
    let refused = |page: &Value| page["revisions"][0]["state"] == "refused";
    let page = gateway.wait_for_revisions("the wrong passwords are refused", refused).await?;
    canaries.hear("revisions", &page.to_string());
    gateway.replace("0.secret", Canaries::password(0))?;
    gateway.replace("26.secret", Canaries::password(26))?;
    let plain = document.replace("{ file: 1.secret }", &Canaries::password(1));
    gateway.replace("agw.yaml", plain)?;
    let told = |page: &Value| page["revisions"][0]["reasons"].to_string().contains("password");
    let page = gateway.wait_for_revisions("a plain secret is refused", told).await?;
    canaries.hear("revisions", &page.to_string());
    gateway.replace("agw.yaml", document.replace("timeout: 9s", "timeout: 8s"))?;
    gateway.wait_for_revision(2).await?;
    ask_everything(&gateway, &mut canaries).await?;
    search_memory(&gateway, &canaries).await?;

    canaries.hear("its output", &gateway.output());
    canaries.none_was_heard()
}

/// Every route, every page.
async fn ask_everything(gateway: &Gateway, canaries: &mut Canaries) -> Result<()> {
    let mut client = Client::new(gateway.listener("http")?);
    for number in 0..64 {
        let reply = client.get(&format!("/{number}/echo/1")).await?;
        canaries
            .hear(&format!("/{number}"), &format!("{:?} {:?} {}", reply.status, reply.headers, reply.text()));
    }
    for page in PAGES {
        canaries.hear(page, &gateway.ask_admin(page)?.text());
    }
    let calls = gateway.metrics()?;
    for outcome in ["ok", "auth", "unavailable"] {
        let count = calls.value("agw_resource_operation_duration_seconds_count", &[("outcome", outcome)]);
        ensure!(count.is_some_and(|count| count >= 8.0), "{outcome}: {count:?}");
    }
    Ok(())
}

/// Looks for each secret in the memory of a guest that holds every grant.
async fn search_memory(gateway: &Gateway, canaries: &Canaries) -> Result<()> {
    let mut client = Client::new(gateway.listener("http")?);
    for value in canaries.values.iter().map(String::as_str).chain([CONTROL]) {
        let masked: String = value.bytes().take(40).map(|byte| format!("{:02x}", byte ^ 0x5a)).collect();
        let found = client.get_with("/guest/search", &[("x-masked", &masked)]).await?.text();
        let found: usize = found.parse().with_context(|| found.clone())?;
        ensure!((found > 0) == (value == CONTROL), "{value:?} stands {found} times in a guest's memory");
    }
    Ok(())
}

/// Secrets where they do not belong: refused, and not repeated.
fn misplaced(folder: &TempDir, document: &str, canaries: &mut Canaries) -> Result<()> {
    let secret = Canaries::password(3);
    let spoiled = [
        document.to_owned(),
        document.replace("{ file: 3.secret }", &secret),
        document.replace("{ file: 3.secret }", &format!("{{ file: 3.secret, value: {secret} }}")),
        document.replace("url: redis://", &format!("url: redis://someone:{secret}@")),
        document.replace("url: postgres://", &format!("url: postgres://someone:{secret}@")),
        document.replace("{ file: 50.key }", "{ file: 3.secret }"),
        document.replace("{ file: 57.key }", "{ file: 3.secret }"),
    ];
    for (at, text) in spoiled.iter().enumerate() {
        fs::write(folder.path().join("spoiled.yaml"), text)?;
        let checked = gateway::output(folder.path(), &["check", "--config", "spoiled.yaml"])?;
        ensure!(checked.status.success() == (at == 0), "{at}: {checked:?}");
        for bytes in [&checked.stdout, &checked.stderr] {
            canaries.hear(&format!("check {at}"), &String::from_utf8_lossy(bytes));
        }
        if at > 0 {
            let run = gateway::output(
                folder.path(),
                &["run", "--config", "spoiled.yaml", "--admin", "127.0.0.1:0"],
            )?;
            ensure!(!run.status.success(), "{at}");
            canaries.hear(&format!("run {at}"), &String::from_utf8_lossy(&run.stderr));
        }
    }
    Ok(())
}

/// The even accounts have the password that the document names.
fn make_accounts(redis: &RedisServer, postgres: &Postgres) -> Result<()> {
    let password = |number: usize| match number % 2 {
        0 => Canaries::password(number),
        _ => "something else".to_owned(),
    };
    let mut connection = redis.connection()?;
    for number in REDIS {
        let words = format!("SETUSER u{number} on ~* +@all");
        let words: Vec<String> =
            words.split(' ').map(str::to_owned).chain([format!(">{}", password(number))]).collect();
        redis::cmd("ACL").arg(words).exec(&mut connection)?;
    }
    for number in POSTGRES {
        postgres.sql(&format!("CREATE ROLE u{number} LOGIN PASSWORD '{}'", password(number)))?;
    }
    Ok(())
}

/// Writes every secret into its file. What is looked for of a key is a line of it.
fn plant(folder: &TempDir) -> Result<Vec<String>> {
    let mut values = Vec::new();
    for number in 0..64 {
        if number < RESOURCE_KEYS.start {
            let value = Canaries::password(number);
            fs::write(folder.path().join(format!("{number}.secret")), &value)?;
            values.push(value);
            continue;
        }
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([format!("name-{number}.test")])?.self_signed(&key)?;
        fs::write(folder.path().join(format!("{number}.pem")), certificate.pem())?;
        fs::write(folder.path().join(format!("{number}.key")), key.serialize_pem())?;
        let line = key.serialize_pem().lines().nth(1).context("a key has lines")?.to_owned();
        values.push(line);
    }
    Ok(values)
}

fn document(redis: &RedisServer, postgres: &Postgres) -> Result<String> {
    let (probe, bad) = (guest("sql-probe")?.display().to_string(), guest("misbehave")?);
    let nobody = free_port()?;
    let each = |numbers: std::ops::Range<usize>, line: &dyn Fn(usize) -> String| -> String {
        numbers.map(|number| line(number) + "\n").collect()
    };
    let certificate = |n: usize| format!("{{ certificate: {{ file: {n}.pem }}, key: {{ file: {n}.key }} }}");
    let certificates: Vec<_> = LISTENER_KEYS.map(certificate).collect();
    let routes = each(0..64, &route);
    let clusters = each(CLUSTER_KEYS, &|n| {
        format!("- {{ name: c{n}, endpoints: [\"127.0.0.1:{nobody}\"], tls: {{ {} }} }}", with_key(n))
    });
    let plugins = each(0..LISTENER_KEYS.start, &|n| plugin(n, &probe));
    let resources = each(0..LISTENER_KEYS.start, &|n| resource(n, redis, postgres, nobody));
    Ok(format!(
        "version: 1
listeners:
- {{ name: http, address: \"127.0.0.1:0\" }}
- {{ name: https, address: \"127.0.0.1:0\", tls: {{ certificates: [{}] }} }}
routes:
{routes}- {{ name: guest, match: {{ prefix: /guest }}, cluster: echo, timeout: 9s, plugins: [guest] }}
clusters:
{clusters}- {{ name: echo, builtin: echo }}
plugins:
{plugins}- {{ name: guest, module: {{ file: \"{}\" }}, configuration: \"{CONTROL}\", limits: {{ cpu_time: 10s }} }}
resources:
{resources}",
        certificates.join(", "),
        bad.display()
    ))
}

fn is_sql(n: usize) -> bool {
    POSTGRES.contains(&n) || MYSQL.contains(&n)
}

fn with_key(n: usize) -> String {
    format!(
        "ca: {{ file: {n}.pem }}, client_certificate: {{ file: {n}.pem }}, client_key: {{ file: {n}.key }}"
    )
}

fn route(n: usize) -> String {
    let cluster = if CLUSTER_KEYS.contains(&n) { format!("c{n}") } else { "echo".to_owned() };
    let chain = if n < LISTENER_KEYS.start { format!(", plugins: [p{n}]") } else { String::new() };
    format!("- {{ name: r{n}, match: {{ prefix: /{n}/ }}, cluster: {cluster}{chain} }}")
}

fn plugin(n: usize, probe: &str) -> String {
    if is_sql(n) {
        let module = format!("module: {{ file: \"{probe}\" }}, configuration: d{n}");
        return format!("- {{ name: p{n}, {module}, limits: {{ cpu_time: 10s }} }}");
    }
    let configuration = format!("{{ limit: 100000, window: 60, resource: d{n}, on_error: closed }}");
    format!(
        "- {{ name: p{n}, module: {{ builtin: rate-limit }}, vm: {{ mode: shared }}, configuration: {configuration} }}"
    )
}

fn resource(n: usize, redis: &RedisServer, postgres: &Postgres, nobody: u16) -> String {
    let password = format!("password: {{ file: {n}.secret }}");
    let (kind, url, more) = if REDIS.contains(&n) {
        ("redis", redis.url(), password)
    } else if POSTGRES.contains(&n) {
        ("postgres", format!("postgres://127.0.0.1:{}/postgres", postgres.port()), password)
    } else if MYSQL.contains(&n) {
        ("mysql", format!("mysql://127.0.0.1:{nobody}/app"), password)
    } else {
        ("redis", format!("rediss://127.0.0.1:{nobody}"), format!("tls: {{ {} }}", with_key(n)))
    };
    let grants = if is_sql(n) {
        let text = if kind == "postgres" { "SELECT $1::bigint" } else { "SELECT CAST(? AS SIGNED)" };
        format!(
            "statements: {{ echo: \"{text}\" }}\n  \
             grants: [{{ plugin: p{n}, statements: [echo] }}, {{ plugin: guest, statements: [echo] }}]"
        )
    } else {
        format!(
            "grants: [{{ plugin: p{n}, commands: [set, incr, pttl], key_prefix: \"k:\" }}, \
             {{ plugin: guest, commands: [get], key_prefix: \"k:\" }}]"
        )
    };
    format!(
        "- name: d{n}\n  type: {kind}\n  url: {url}\n  username: u{n}\n  {more}\n  \
         limits: {{ call_timeout: 5s }}\n  {grants}"
    )
}
