//! A MariaDB server of the test's own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use crate::port::free_port;
use crate::process::Process;

const READY_WITHIN: Duration = Duration::from_secs(60);

/// For a server that lives for seconds: small files, and nothing is waited for until it is on the disk.
const FAST: [&str; 8] = [
    "--innodb-log-file-size=4M",
    "--innodb-buffer-pool-size=16M",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--innodb-flush-method=nosync",
    "--performance-schema=0",
    "--skip-name-resolve",
    "--skip-log-bin",
];

/// What the server shall be like.
#[derive(Clone, Debug, Default)]
pub struct MariadbOptions {
    /// PEM of a certificate and its key: the server speaks TLS as well.
    pub tls: Option<(String, String)>,
    /// PEM of the authority that clients' certificates come from; the account `agw` then needs one.
    pub client_authority: Option<String>,
    /// Settings, such as `max_connections=20`.
    pub settings: Vec<String>,
}

impl MariadbOptions {
    /// Of a server that may have a replica.
    pub fn replicated() -> Self {
        let settings = ["log-bin=bin", "server-id=1"].map(str::to_owned).to_vec();
        MariadbOptions { settings, ..Self::default() }
    }
}

/// A server on a free port of loopback, with its files in a temporary folder. Dropping it ends it.
///
/// It has the account `root` without a password, the database `app`, and the account `agw` with
/// [`Mariadb::PASSWORD`] (`mysql_native_password`), which may do everything in that database.
#[derive(Debug)]
pub struct Mariadb {
    options: MariadbOptions,
    folder: TempDir,
    port: u16,
    /// `None` after a kill.
    process: Option<Process>,
}

// === impl Mariadb ===

impl Mariadb {
    /// Of the account `agw`.
    pub const PASSWORD: &'static str = "planted-correct horse";

    /// # Errors
    /// When the server's programs are missing, or the server does not get ready.
    pub fn start() -> Result<Self> {
        Self::start_with(MariadbOptions::default())
    }

    /// # Errors
    /// As for [`Mariadb::start`].
    pub fn start_with(options: MariadbOptions) -> Result<Self> {
        let mut server = Mariadb { options, folder: tempfile::tempdir()?, port: free_port()?, process: None };
        server.init()?;
        let mut attempts = 5;
        while let Err(error) = server.launch() {
            attempts -= 1;
            if attempts == 0 || !format!("{error:#}").contains("Address already in use") {
                return Err(error);
            }
            // Somebody else took the port in between.
            server.port = free_port()?;
        }
        let require = if server.options.client_authority.is_some() { " REQUIRE X509" } else { "" };
        server.run(
            &["-u", "root"],
            &format!(
                "CREATE DATABASE app CHARACTER SET utf8mb4; CREATE USER agw@'%' IDENTIFIED BY '{}'{require}; \
             GRANT ALL ON app.* TO agw@'%'",
                Self::PASSWORD
            ),
        )?;
        Ok(server)
    }

    /// A replica of this server, which has to be [`MariadbOptions::replicated`]. It is told everything from now on, and is
    /// read-only until [`Mariadb::promote`].
    ///
    /// # Errors
    /// When it does not start or does not follow.
    pub fn replica(&self) -> Result<Self> {
        let mut options = self.options.clone();
        options.settings.extend(["server-id=2", "read-only=1"].map(str::to_owned));
        let replica = Self::start_with(options)?;
        self.sql("GRANT REPLICATION SLAVE ON *.* TO agw@'%'")?;
        let status = self.sql("SHOW MASTER STATUS")?;
        let mut fields = status.split('|');
        let (file, at) = (fields.next().context("a file")?, fields.next().context("a position")?);
        let (port, password) = (self.port, Self::PASSWORD);
        replica.sql(&format!(
            "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, MASTER_USER='agw', \
             MASTER_PASSWORD='{password}', MASTER_LOG_FILE='{file}', MASTER_LOG_POS={at}; START SLAVE"
        ))?;
        let end = Instant::now() + READY_WITHIN;
        while !replica.sql("SHOW SLAVE STATUS")?.contains("Waiting for master to send event") {
            if Instant::now() >= end {
                bail!("the replica does not follow: {}", replica.sql("SHOW SLAVE STATUS")?);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(replica)
    }

    /// Makes a primary of a replica.
    ///
    /// # Errors
    /// When it is none.
    pub fn promote(&self) -> Result<()> {
        self.sql("STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = 0").map(drop)
    }

    /// Of TCP on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs statements as `root` in the database `app`, and gives what they print: rows as lines, fields with `|`
    /// between, a null as `NULL`.
    ///
    /// # Errors
    /// When the server refuses one.
    pub fn sql(&self, text: &str) -> Result<String> {
        self.run(&["-u", "root"], &format!("USE app; {text}"))
    }

    /// The same as the account `agw`, over a connection of its own.
    ///
    /// # Errors
    /// As for [`Mariadb::sql`].
    pub fn sql_of_agw(&self, text: &str) -> Result<String> {
        self.run(&["-u", "agw", &format!("-p{}", Self::PASSWORD)], text)
    }

    fn run(&self, account: &[&str], text: &str) -> Result<String> {
        let mut command = Command::new(program("mariadb")?);
        command.args(["--no-defaults", "--batch", "--skip-column-names", "--raw"]).args(account);
        command.arg("--default-character-set=utf8mb4");
        command.arg("-S").arg(self.socket()).arg("-e").arg(text);
        let output = command.stdin(Stdio::null()).output().context("run mariadb")?;
        if !output.status.success() {
            bail!("mariadb: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?.trim_end().replace('\t', "|"))
    }

    /// SIGKILL. Its connections end at once, and new ones are refused.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGSTOP: open connections get no answer, new ones are taken by the system and get none either.
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
                // The killed one is on its way out.
                Err(error) if Instant::now() >= end => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn running(&self) -> Result<&Process> {
        self.process.as_ref().context("the server has been killed")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.path("s")
    }

    fn init(&self) -> Result<()> {
        let mut command = Command::new(program("mariadb-install-db")?);
        command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        command.args(FAST).arg(format!("--datadir={}", self.path("data").display()));
        // Names of temporary tables are those of the server's process and thread, and several servers begin at once.
        command.arg(format!("--tmpdir={}", self.folder.path().display()));
        if geteuid().is_root() {
            command.arg("--user=root");
        }
        let output = command.stdin(Stdio::null()).output().context("run mariadb-install-db")?;
        if !output.status.success() {
            bail!("mariadb-install-db: {}", String::from_utf8_lossy(&output.stderr));
        }
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
        self.sql("FLUSH SSL").map(drop)
    }

    fn private_file(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.path(name), text)?;
        Ok(fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600))?)
    }

    fn launch(&mut self) -> Result<()> {
        let mut command = Command::new(program("mariadbd")?);
        command.arg("--no-defaults").args(FAST).args(["--bind-address=127.0.0.1", "--skip-networking=0"]);
        command.arg(format!("--port={}", self.port));
        for (option, name) in [("datadir", "data"), ("socket", "s"), ("pid-file", "pid"), ("tmpdir", "")] {
            command.arg(format!("--{option}={}", self.path(name).display()));
        }
        if geteuid().is_root() {
            command.arg("--user=root");
        }
        if self.options.tls.is_some() {
            command.arg(format!("--ssl-cert={}", self.path("server.crt").display()));
            command.arg(format!("--ssl-key={}", self.path("server.key").display()));
        }
        if self.options.client_authority.is_some() {
            command.arg(format!("--ssl-ca={}", self.path("clients.crt").display()));
        }
        command.args(self.options.settings.iter().map(|setting| format!("--{setting}")));
        let mut process = Process::spawn("mariadbd", &mut command)?;
        process.wait_for_line(READY_WITHIN, |line| line.contains("ready for connections").then_some(()))?;
        self.process = Some(process);
        Ok(())
    }
}

impl Drop for Mariadb {
    /// At once: its data goes with it.
    fn drop(&mut self) {
        self.kill();
    }
}

/// Debian keeps the server off the PATH.
fn program(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> =
        env::var_os("AGW_TEST_MARIADB_BIN").map(PathBuf::from).into_iter().collect();
    folders.extend(env::split_paths(&path));
    folders.extend(["/usr/sbin", "/usr/local/sbin", "/usr/local/mysql/bin"].map(PathBuf::from));
    let found = folders.iter().map(|folder| Path::new(folder).join(name)).find(|program| program.exists());
    found.with_context(|| {
        format!("{name} is neither on the PATH nor in /usr/sbin: apt-get install mariadb-server")
    })
}
