//! A Postgres server of the test's own.

use std::env;
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use crate::port::free_port;
use crate::process::Process;

const READY_WITHIN: Duration = Duration::from_secs(60);

/// What the server shall be like.
#[derive(Clone, Debug, Default)]
pub struct PostgresOptions {
    /// PEM of a certificate and its key: the server speaks TLS as well.
    pub tls: Option<(String, String)>,
    /// PEM of the authority that clients' certificates must come from; connections of role `agw` then need one.
    pub client_authority: Option<String>,
    /// Settings, such as `max_connections=20`.
    pub settings: Vec<String>,
}

/// A server on a free port of loopback, with its files in a temporary folder. Dropping it ends it.
///
/// It has the database `postgres`, the superuser `postgres` who needs no password, and the role `agw` with
/// [`Postgres::PASSWORD`] (SCRAM), who may make tables in it.
#[derive(Debug)]
pub struct Postgres {
    options: PostgresOptions,
    folder: TempDir,
    port: u16,
    owner: Option<(u32, u32)>,
    binaries: PathBuf,
    /// `None` after a kill.
    process: Option<Process>,
}

// === impl Postgres ===

impl Postgres {
    /// Of the role `agw`.
    pub const PASSWORD: &'static str = "planted-correct horse";

    /// # Errors
    /// When the server's programs are missing, or the server does not get ready.
    pub fn start() -> Result<Self> {
        Self::start_with(PostgresOptions::default())
    }

    /// # Errors
    /// As for [`Postgres::start`].
    pub fn start_with(options: PostgresOptions) -> Result<Self> {
        let owner = if geteuid().is_root() { Some(unprivileged()?) } else { None };
        let folder = tempfile::tempdir()?;
        if let Some((user, group)) = owner {
            chown(folder.path(), Some(user), Some(group))?;
        }
        let port = free_port()?;
        let mut server = Postgres { options, folder, port, owner, binaries: binaries()?, process: None };
        server.init()?;
        let mut attempts = 5;
        while let Err(error) = server.launch() {
            attempts -= 1;
            if attempts == 0 || !format!("{error:#}").contains("already in use") {
                return Err(error);
            }
            // Somebody else took the port in between.
            server.port = free_port()?;
        }
        server.sql(&format!(
            "CREATE ROLE agw LOGIN PASSWORD '{}'; GRANT CREATE, USAGE ON SCHEMA public TO agw; \
             GRANT CREATE, TEMPORARY ON DATABASE postgres TO agw",
            Self::PASSWORD
        ))?;
        Ok(server)
    }

    /// A standby of this server, with its data, its roles and its passwords. It follows it until [`Postgres::promote`].
    ///
    /// # Errors
    /// When the copy fails, or the standby does not get ready.
    pub fn standby(&self) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        if let Some((user, group)) = self.owner {
            chown(folder.path(), Some(user), Some(group))?;
        }
        let mut standby = Postgres {
            options: self.options.clone(),
            folder,
            port: free_port()?,
            owner: self.owner,
            binaries: self.binaries.clone(),
            process: None,
        };
        let mut command = self.program("pg_basebackup");
        command.args(["-U", "postgres", "--write-recovery-conf", "--checkpoint=fast", "--no-sync", "-h"]);
        command.arg(self.folder.path()).arg("-p").arg(self.port.to_string()).arg("-D").arg(standby.data());
        let output = command.stdin(Stdio::null()).output().context("run pg_basebackup")?;
        if !output.status.success() {
            bail!("pg_basebackup: {}", String::from_utf8_lossy(&output.stderr));
        }
        standby.launch()?;
        Ok(standby)
    }

    /// Makes a primary of a standby, and returns when it is one.
    ///
    /// # Errors
    /// When it is none, or does not become one within a minute.
    pub fn promote(&self) -> Result<()> {
        match self.sql("SELECT pg_promote()")?.as_str() {
            "t" => Ok(()),
            answer => bail!("it is not promoted: {answer}"),
        }
    }

    /// Of TCP on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs statements as superuser, and gives what the last prints: rows as lines, fields with `|` between.
    ///
    /// # Errors
    /// When the server refuses one.
    pub fn sql(&self, text: &str) -> Result<String> {
        let mut command = self.program("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres"]);
        command.arg("-h").arg(self.folder.path()).arg("-p").arg(self.port.to_string()).arg("-c").arg(text);
        let output = command.output().context("run psql")?;
        if !output.status.success() {
            bail!("psql: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }

    /// SIGKILL to the server's first process. Its connections end at once, and new ones are refused.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGSTOP to the first process: open connections go on, new ones are taken and get no answer.
    ///
    /// # Errors
    /// When it does not run.
    pub fn stop(&mut self) -> Result<()> {
        self.running()?.signal(Signal::STOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it does not run.
    pub fn cont(&mut self) -> Result<()> {
        self.running()?.signal(Signal::CONT)
    }

    /// Starts it again on the same port, with its data, after a kill or instead of the running one.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let end = Instant::now() + READY_WITHIN;
        loop {
            match self.launch() {
                Ok(()) => return Ok(()),
                // Processes of the killed one are on their way out.
                Err(error) if Instant::now() >= end => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn running(&self) -> Result<&Process> {
        self.process.as_ref().context("the server has been killed")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.join(name));
        command.current_dir(self.folder.path()).env("LC_ALL", "C");
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }

    fn init(&self) -> Result<()> {
        let mut command = self.program("initdb");
        command.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"]);
        let output = command.arg(self.data()).stdin(Stdio::null()).output().context("run initdb")?;
        if !output.status.success() {
            bail!("initdb: {}", String::from_utf8_lossy(&output.stderr));
        }
        let certificate =
            if self.options.client_authority.is_some() { " clientcert=verify-full" } else { "" };
        let kind = if self.options.client_authority.is_some() { "hostssl" } else { "host" };
        let rules = format!(
            "local all postgres trust\nlocal replication postgres trust\nhost all postgres 127.0.0.1/32 trust\n\
             {kind} all all 127.0.0.1/32 scram-sha-256{certificate}\n"
        );
        fs::write(self.data().join("pg_hba.conf"), rules)?;
        if let Some((certificate, key)) = &self.options.tls {
            self.private_file("server.crt", certificate)?;
            self.private_file("server.key", key)?;
        }
        if let Some(authority) = &self.options.client_authority {
            self.private_file("clients.crt", authority)?;
        }
        Ok(())
    }

    /// From the next connection on the server shows another certificate (PEM, with its key). It has to speak TLS already.
    ///
    /// # Errors
    /// When the files cannot be written, or the server does not take them.
    pub fn set_certificate(&self, certificate: &str, key: &str) -> Result<()> {
        self.private_file("server.crt", certificate)?;
        self.private_file("server.key", key)?;
        self.sql("SELECT pg_reload_conf()").map(drop)
    }

    fn private_file(&self, name: &str, text: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let path = self.data().join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        if let Some((user, group)) = self.owner {
            chown(&path, Some(user), Some(group))?;
        }
        Ok(())
    }

    fn launch(&mut self) -> Result<()> {
        let mut command = self.program("postgres");
        command.arg("-D").arg(self.data()).arg("-p").arg(self.port.to_string());
        let sockets = format!("unix_socket_directories={}", self.folder.path().display());
        let mut settings = vec![sockets, "listen_addresses=127.0.0.1".to_owned(), "fsync=off".to_owned()];
        if self.options.tls.is_some() {
            settings.push("ssl=on".to_owned());
        }
        if self.options.client_authority.is_some() {
            settings.push("ssl_ca_file=clients.crt".to_owned());
        }
        settings.extend(self.options.settings.iter().cloned());
        for setting in settings {
            command.arg("-c").arg(setting);
        }
        let mut process = Process::spawn("postgres", &mut command)?;
        process.wait_for_line(READY_WITHIN, |line| {
            // A standby goes on with "read-only connections".
            line.contains("database system is ready to accept").then_some(())
        })?;
        self.process = Some(process);
        Ok(())
    }
}

impl Drop for Postgres {
    /// At once, but so that its processes go with it.
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.signal(Signal::CONT);
            let _ = process.signal(Signal::QUIT);
            let _ = process.wait(Duration::from_secs(10));
        }
    }
}

/// A user whom the server consents to run as: it refuses root.
fn unprivileged() -> Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd")?;
    let of = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    of("postgres").or_else(|| of("nobody")).context("neither postgres nor nobody is a user of this machine")
}

/// Where `initdb` and `postgres` are: Debian keeps them off the PATH.
fn binaries() -> Result<PathBuf> {
    let mut folders: Vec<PathBuf> = match env::var_os("AGW_TEST_POSTGRES_BIN") {
        Some(named) => vec![named.into()],
        None => {
            let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
            let mut versions: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
            versions.sort();
            versions.reverse();
            versions
        }
    };
    folders.extend(env::var_os("PATH").iter().flat_map(env::split_paths));
    let has_all = |folder: &&PathBuf| {
        ["initdb", "postgres", "psql", "pg_basebackup"]
            .iter()
            .all(|program| Path::new(folder).join(program).exists())
    };
    folders.iter().find(has_all).cloned().context(
        "initdb, postgres, psql and pg_basebackup are neither in /usr/lib/postgresql/*/bin nor on the PATH: apt-get install postgresql",
    )
}
