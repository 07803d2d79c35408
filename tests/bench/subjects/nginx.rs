//! nginx: the upstream, a plain proxy, and a rate limit in Lua.

use std::process::Command;

use anyhow::{Context, Result};

use super::{KEY_PREFIX, LIMIT, Surroundings, WINDOW_SECONDS};
use crate::peers;
use crate::server::{Folder, Server};

/// What the upstream answers.
pub(crate) const BODY: &str = "hello\n";

/// The commands that the example plugin `rate-limit` sends, in its order, and its headers.
const RATE_LIMIT_LUA: &str = include_str!("rate_limit.lua");

/// A static answer.
///
/// # Errors
/// When nginx is missing or does not start.
pub(crate) fn upstream() -> Result<Server> {
    let server = format!("default_type text/plain; location / {{ return 200 {BODY:?}; }}");
    start("upstream nginx", "", "", &server)
}

pub(super) fn plain(around: &Surroundings) -> Result<Server> {
    start("nginx", "", &pool(around), PROXY)
}

pub(super) fn rate_limit(around: &Surroundings) -> Result<Server> {
    let redis = around.redis.as_deref().context("this subject needs a Redis")?;
    let (host, port) = redis.rsplit_once(':').context("Redis has no port")?;
    let modules: String =
        peers::lua_modules()?.iter().map(|file| format!("load_module {};\n", file.display())).collect();
    let lua = RATE_LIMIT_LUA
        .replace("@HOST@", host)
        .replace("@PORT@", port)
        .replace("@LIMIT@", &LIMIT.to_string())
        .replace("@WINDOW@", &WINDOW_SECONDS.to_string())
        .replace("@PREFIX@", KEY_PREFIX);
    let http = format!("lua_package_path \"$prefix/?.lua;;\";\n{}", pool(around));
    let server = PROXY.replace("proxy_pass", "access_by_lua_block { require(\"rate_limit\")() } proxy_pass");
    start_with("nginx with Lua", &modules, &http, &server, &[("rate_limit.lua", &lua)])
}

/// Kept connections to the upstream, enough for every client at once.
fn pool(around: &Surroundings) -> String {
    let address = around.upstream;
    format!("upstream upstream {{ server {address}; keepalive 4096; keepalive_requests 1000000000; }}\n")
}

const PROXY: &str =
    "location / { proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_pass http://upstream; }";

fn start(name: &str, main: &str, http: &str, server: &str) -> Result<Server> {
    start_with(name, main, http, server, &[])
}

fn start_with(name: &str, main: &str, http: &str, server: &str, files: &[(&str, &str)]) -> Result<Server> {
    let binary = peers::nginx()?;
    Server::peer(name, |folder| {
        let config = folder.write("nginx.conf", &config(folder, main, http, server))?;
        for (name, contents) in files {
            folder.write(name, contents)?;
        }
        let mut command = Command::new(&binary);
        command.arg("-p").arg(folder.path()).arg("-c").arg(config).args(["-e", "stderr"]);
        Ok(command)
    })
}

/// Everything that would write a file is off or points into the folder.
fn config(folder: &Folder<'_>, main: &str, http: &str, server: &str) -> String {
    let (path, port) = (folder.path().display(), folder.port);
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {path}/{kind};\n"))
        .concat();
    // A process that starts as root would give its worker to another user, who may not enter the folder.
    let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
    format!(
        "{main}{user}daemon off;
worker_processes 1;
worker_rlimit_nofile 65536;
pid {path}/nginx.pid;
error_log stderr error;
events {{ worker_connections 20000; }}
http {{
{temporary}access_log off;
keepalive_timeout 1h;
keepalive_requests 1000000000;
{http}server {{
listen 127.0.0.1:{port} backlog=4096;
{server}
}}
}}
"
    )
}
