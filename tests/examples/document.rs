//! An example's own `agw.yaml`, made to run here.

use std::fs;

use agw_tests::{Gateway, cargo, guest};
use anyhow::{Context, Result, ensure};

/// The document of an example, with changes, each of which must apply.
pub(crate) struct Document(String);

impl Document {
    /// The example's document, on port 0 and with the module where the harness built it.
    pub(crate) fn of(example: &str) -> Result<Document> {
        let file = cargo::workspace().join("examples").join(example).join("agw.yaml");
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let module = format!("../../target/wasm32-wasip1/guest/{}.wasm", example.replace('-', "_"));
        Document(text)
            .with("127.0.0.1:8080", "127.0.0.1:0")?
            .with(&module, &guest(example)?.display().to_string())
    }

    pub(crate) fn with(self, old: &str, new: &str) -> Result<Document> {
        ensure!(self.0.contains(old), "the document has no {old:?} to replace:\n{}", self.0);
        Ok(Document(self.0.replace(old, new)))
    }

    pub(crate) fn start(&self) -> Result<Gateway> {
        Gateway::start(&self.0)
    }

    /// What the gateway says when it refuses to start with this document.
    pub(crate) fn refusal(&self) -> Result<String> {
        match Gateway::start(&self.0) {
            Ok(_) => anyhow::bail!("it started with:\n{}", self.0),
            Err(error) => Ok(format!("{error:#}")),
        }
    }
}
