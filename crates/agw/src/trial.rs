//! `agw try`: any proxy-wasm filter in one command.

mod report;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use agw_config::{ModuleSource, Snapshot};
use agw_wasm::ModuleFacts;
use anyhow::{Context, Result, bail};

use crate::cli::TryArgs;
use crate::modules;
use crate::options::{self, quoted};

/// More than a document may have.
const CONFIGURATION_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes that a name may have.
const NAME_BYTES_MAX: usize = 64;

/// A module that was read, and what it is to be configured with.
#[derive(Debug)]
pub(crate) struct Trial {
    /// The plugin's, made from the file's.
    name: String,
    path: PathBuf,
    bytes: usize,
    facts: ModuleFacts,
    configuration: String,
}

// === impl Trial ===

impl Trial {
    /// Reads the module's sections and the configuration file; runs nothing.
    ///
    /// # Errors
    /// A file that cannot be read, or is no wasm module.
    pub(crate) fn read(args: &TryArgs) -> Result<Self> {
        let path = std::path::absolute(&args.module).context("find the current folder")?;
        let bytes = modules::read(&ModuleSource::File(path.clone()))?;
        let facts = ModuleFacts::read(&bytes).with_context(|| path.display().to_string())?;
        let configuration = match &args.plugin_config_file {
            Some(file) => configuration(file)?,
            None => args.plugin_config.clone().unwrap_or_default(),
        };
        Ok(Trial { name: name(&path), bytes: bytes.len(), facts, configuration, path })
    }

    /// The document that these options stand for: what runs, and what `--print-config` prints.
    ///
    /// # Errors
    /// An option that makes no sense.
    pub(crate) fn document(&self, args: &TryArgs) -> Result<String> {
        let Some(path) = self.path.to_str() else { bail!("the module's path is not UTF-8; rename the file") };
        let upstream = options::upstream(args.upstream.as_deref())?;
        let chain = vec![self.name.as_str(); usize::try_from(args.count)?].join(", ");
        Ok(format!(
            r#"# Every request passes through one filter: `agw run --config FILE` serves it.
version: 1

listeners:
  - name: http
    address: {listen}

routes:
  - name: all
    match: {{ prefix: / }}
    cluster: upstream
    plugins: [{chain}]

clusters:
  - name: upstream
    {upstream}

plugins:
  - name: {name}
    module: {{ file: {path} }}
    root_id: {root_id}
    configuration: {configuration}
{resources}"#,
            listen = quoted(&args.listen.to_string()),
            name = self.name,
            path = quoted(path),
            root_id = quoted(&args.root_id),
            configuration = quoted(&self.configuration),
            resources = self.resources(args)?,
        ))
    }

    /// Granted whole, which is for trying out.
    fn resources(&self, args: &TryArgs) -> Result<String> {
        let mut resources = String::new();
        if let Some(url) = &args.redis {
            let store = options::redis(url, args.redis_password_file.as_deref())?;
            resources.push_str(&format!(
                "  - name: redis
    type: redis
{store}    grants:
      # Whole: for trying out. A gateway in earnest names commands and a prefix.
      - plugin: {}
        commands: all_safe
        key_prefix: \"\"
",
                self.name
            ));
        }
        if let Some(url) = &args.sql {
            let database = options::sql(url, args.sql_password_file.as_deref())?;
            resources.push_str(&format!(
                "  - name: sql
    type: {}
{}    grants:
      # Whole: for trying out. A gateway in earnest names statements.
      - plugin: {}
        ad_hoc: true
        read_only: false
",
                database.kind, database.lines, self.name
            ));
        }
        if resources.is_empty() { Ok(resources) } else { Ok(format!("\nresources:\n{resources}")) }
    }

    /// Says what the module is, what it needs, and how it will run.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub(crate) fn report(
        &self,
        snapshot: &Snapshot,
        count: u64,
        out: &mut dyn std::io::Write,
    ) -> std::io::Result<()> {
        out.write_all(report::text(self, snapshot, count).as_bytes())
    }
}

/// The line to try, for the address that the listener really has.
pub(crate) fn curl_line(listen: SocketAddr) -> String {
    format!("curl -i 'http://{}/'", options::reachable(listen))
}

fn configuration(file: &Path) -> Result<String> {
    let said = || format!("--plugin-config-file {}", file.display());
    let size = std::fs::metadata(file).with_context(said)?.len();
    if size > CONFIGURATION_BYTES_MAX {
        bail!("{}: it has {size} bytes; a configuration may have {CONFIGURATION_BYTES_MAX}", said());
    }
    let bytes = std::fs::read(file).with_context(said)?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            bail!("{}: it is not UTF-8 text (from byte {at} on), and a document holds only text", said())
        }
    }
}

/// The file's name without its ending, as far as a plugin's name may look like it.
fn name(path: &Path) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let kept = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = stem.chars().map(kept).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    match name.get(..name.len().min(NAME_BYTES_MAX)) {
        None | Some("") => "filter".to_owned(),
        Some(name) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
