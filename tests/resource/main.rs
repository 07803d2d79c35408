//! `agw resource test` against real servers: what it says of them, and that its lines make a user with whom the gateway
//! works and of whom it has nothing more to say.

mod mariadb;
mod nodes;
mod postgres;
mod redis;
mod sqlite;
mod tls;

use std::fs;

use agw_tests::gateway::output;
use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

/// What `agw resource test` said.
struct Said {
    code: Option<i32>,
    text: String,
    json: Value,
}

/// A folder with a document, and files beside it.
struct Place {
    folder: TempDir,
    /// What must never be shown.
    secrets: Vec<String>,
}

impl Place {
    /// `resource` is in YAML and named `r`; the plugins `p` and `q` may be granted it.
    fn new(resource: &str, files: &[(&str, &str)]) -> Result<Self> {
        let place = Place { folder: tempfile::tempdir()?, secrets: Vec::new() };
        for (name, content) in files {
            fs::write(place.folder.path().join(name), content)?;
        }
        place.write(resource)?;
        let secrets = files.iter().filter(|(name, _)| name.starts_with("secret"));
        let secrets = secrets.map(|(_, content)| content.trim().to_owned()).collect();
        Ok(Place { secrets, ..place })
    }

    fn write(&self, resource: &str) -> Result<()> {
        let document = format!(
            "version: 1\nlisteners: [{{ name: http, address: \"127.0.0.1:0\" }}]\nplugins:\n\
             - {{ name: p, module: {{ builtin: rate-limit }} }}\n- {{ name: q, module: {{ builtin: rate-limit }} }}\n\
             resources:\n- name: r\n  {}\n",
            resource.trim().replace('\n', "\n  ")
        );
        Ok(fs::write(self.folder.path().join("agw.yaml"), document)?)
    }

    /// Runs it in both forms, which agree.
    fn test(&self) -> Result<Said> {
        let args = ["resource", "test", "r", "--config", "agw.yaml"];
        let said = output(self.folder.path(), &args)?;
        let (out, err) = (String::from_utf8(said.stdout)?, String::from_utf8(said.stderr)?);
        let json = output(self.folder.path(), &[&args[..], &["--json"]].concat())?;
        let shown = String::from_utf8(json.stdout)?;
        for secret in &self.secrets {
            assert!(!format!("{out}{err}{shown}").contains(secret), "a secret is shown: {out}{err}{shown}");
        }
        assert_eq!(said.status.code(), json.status.code(), "{out}{err}{shown}");
        let json = serde_json::from_str(&shown).with_context(|| format!("{shown}{err}"))?;
        Ok(Said { code: said.status.code(), text: out, json })
    }
}

impl Said {
    /// Of the only host.
    fn host(&self) -> &Value {
        assert_eq!(self.json["hosts"].as_array().map(Vec::len), Some(1), "{}", self.text);
        &self.json["hosts"][0]
    }

    fn lines(&self, of: &str) -> Vec<String> {
        let lines = self.host()[of].as_array().cloned().unwrap_or_default();
        lines.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    fn word(&self, of: &str) -> &str {
        self.host()[of].as_str().unwrap_or_default()
    }

    /// It was reached, and its figures make sense.
    #[track_caller]
    fn assert_reached(&self) {
        let latency = &self.host()["latency_seconds"];
        let connect = latency["connect"].as_f64().unwrap_or_default();
        let median = latency["median"].as_f64().unwrap_or_default();
        assert!(connect > 0.0 && median > 0.0 && median < connect * 10.0, "{}", self.text);
        assert!(self.text.contains("latency  connect "), "{}", self.text);
    }
}

#[test]
fn a_resource_that_is_not_in_the_document_is_said_so() -> Result<()> {
    let place = Place::new("type: redis\nurl: memory://m", &[])?;
    let said = output(place.folder.path(), &["resource", "test", "x", "--config", "agw.yaml"])?;
    assert_eq!(said.status.code(), Some(1));
    assert_eq!(String::from_utf8(said.stderr)?, "no resource is named \"x\". There are: r\n");
    place.write("type: redis\nurl: memory://m\nnonsense: 1")?;
    let said = output(place.folder.path(), &["resource", "test", "r", "--config", "agw.yaml"])?;
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8(said.stderr)?.contains("resources[0].nonsense: "));
    Ok(())
}
