//! The JSON Schema admits every document that ships. The tests of changed documents hold it to the reader.

use std::path::Path;

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::{Value, json};

use super::mutations::{complete, json_of};
use crate::json_schema;

pub(super) struct Validator {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Validator {
    pub(super) fn new() -> Self {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("agw.json", json_schema()).expect("a resource");
        let index = compiler.compile("agw.json", &mut schemas).expect("it is a schema of its draft");
        Validator { schemas, index }
    }

    pub(super) fn check(&self, document: &Value) -> Result<(), String> {
        self.schemas.validate(document, self.index).map_err(|error| error.to_string())
    }
}

#[test]
fn every_document_that_ships_is_valid() {
    let validator = Validator::new();
    let least = json!({ "version": 1, "listeners": [{ "name": "a", "address": "[::1]:0" }] });
    let mut documents = vec![complete(), least, json_of(include_str!("quickstart.yaml"))];
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    documents.push(read(&examples.join("gateway.yaml")));
    let folders = std::fs::read_dir(&examples).expect("the examples");
    let folders = folders.map(|entry| entry.expect("a folder").path().join("agw.yaml"));
    documents.extend(folders.filter(|path| path.exists()).map(|path| read(&path)));
    assert_eq!(documents.len(), 10);
    for document in documents {
        validator.check(&document).unwrap_or_else(|error| panic!("{error}\nof {document:#}"));
    }
}

fn read(path: &Path) -> Value {
    json_of(&std::fs::read_to_string(path).expect("a document"))
}
