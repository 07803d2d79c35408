//! An nginx of the test's own: a plain reverse proxy to compare with.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::port::free_port;
use crate::process::Process;

const READY_WITHIN: Duration = Duration::from_secs(10);

/// A running nginx with its files in a temporary folder. Dropping it kills it.
#[derive(Debug)]
pub struct Nginx {
    address: SocketAddr,
    process: Process,
    _folder: TempDir,
}

// === impl Nginx ===

impl Nginx {
    /// A plain proxy to `upstream`, with one worker and the time-outs that a test wants. `listen` is for options of
    /// the directive of that name, such as `http2`.
    ///
    /// # Errors
    /// When nginx is missing or does not get ready.
    pub fn proxy(upstream: SocketAddr, timeout: Duration, listen: &str) -> Result<Self> {
        let mut attempts = 5;
        loop {
            match Self::launch(upstream, timeout, listen) {
                Err(error) if attempts > 1 && format!("{error:#}").contains("Address already in use") => {
                    // Somebody else took the port in between.
                    attempts -= 1;
                }
                other => return other,
            }
        }
    }

    fn launch(upstream: SocketAddr, timeout: Duration, listen: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        fs::write(folder.path().join("nginx.conf"), configuration(address, upstream, timeout, listen))?;
        let mut command = Command::new(program());
        command.arg("-p").arg(folder.path()).args(["-e", "stderr", "-c", "nginx.conf"]);
        let mut process = Process::spawn("nginx", &mut command).context(MISSING)?;
        wait_until_ready(&mut process, address)?;
        Ok(Nginx { address, process, _folder: folder })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has printed.
    pub fn output(&self) -> String {
        self.process.output()
    }
}

/// Such as `1.22.1`.
///
/// # Errors
/// When nginx is missing.
pub fn version() -> Result<String> {
    let output = Command::new(program()).arg("-v").output().context(MISSING)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let version = said.split_once("nginx/").and_then(|(_, rest)| rest.split_whitespace().next());
    version.map(str::to_owned).with_context(|| format!("nginx -v says no version: {said}"))
}

const MISSING: &str = "nginx cannot be run: apt-get install nginx";

/// Debian keeps it where not every user's PATH leads.
fn program() -> &'static str {
    match Command::new("nginx").arg("-v").output() {
        Err(error) if error.kind() == ErrorKind::NotFound => "/usr/sbin/nginx",
        _ => "nginx",
    }
}

fn configuration(address: SocketAddr, upstream: SocketAddr, timeout: Duration, listen: &str) -> String {
    let ms = timeout.as_millis();
    format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  client_header_timeout {ms}ms; client_body_timeout {ms}ms; keepalive_timeout {ms}ms; proxy_read_timeout {ms}ms;
  lingering_close off;
  server {{
    listen {address} {listen};
    location / {{ proxy_pass http://{upstream}; proxy_http_version 1.1; }}
  }}
}}
"
    )
}

fn wait_until_ready(process: &mut Process, address: SocketAddr) -> Result<()> {
    let end = Instant::now() + READY_WITHIN;
    loop {
        if let Some(status) = process.ended()? {
            bail!("nginx ended ({status}):\n{}", process.output());
        }
        match TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= end => bail!("nginx does not listen on {address}: {error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
