//! The document's form as a JSON Schema, for editors and other tools.

use serde_json::{Map, Value, json};

use crate::field::{ANY, Field, Kind, Presence};
use crate::schema;
use crate::units::{Bounds, Unit};

/// A JSON Schema (draft 2020-12) of configuration documents. Whatever loads is valid by it. What is valid may still be
/// refused: bounds of durations, names that lead nowhere and fields that exclude each other are beyond it.
pub fn json_schema() -> Value {
    let mut schema = object(schema::FIELDS);
    if let Value::Object(fields) = &mut schema {
        fields.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        fields.insert("title".to_owned(), json!("AGW configuration"));
        fields.insert("$defs".to_owned(), json!({ "reference": reference() }));
    }
    schema
}

fn object(fields: &[Field]) -> Value {
    let named = |presence: Presence| fields.iter().filter(move |field| field.presence == presence);
    let properties: Map<_, _> = fields.iter().map(|field| (field.name.to_owned(), property(field))).collect();
    let required: Vec<_> = named(Presence::Required).map(|field| field.name).collect();
    let one_of: Vec<_> = named(Presence::OneOf).map(|field| json!({ "required": [field.name] })).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if !one_of.is_empty() {
        schema["oneOf"] = json!(one_of);
    }
    schema
}

fn property(field: &Field) -> Value {
    let mut schema = of_kind(field.kind);
    let mut description = format!("{}.", field.meaning);
    let bounds = field.bounds();
    if !bounds.is_empty() {
        description.push_str(&format!(" Bounds: {bounds}."));
    }
    match field.default_number() {
        Some(Bounds { default, unit: Unit::Count, .. }) => schema["default"] = json!(default),
        Some(Bounds { default, unit, .. }) => schema["default"] = json!(unit.show(default)),
        None => {
            let default = field.default();
            if !default.is_empty() {
                description.push_str(&format!(" Default: {default}."));
            }
        }
    }
    schema["description"] = json!(description);
    schema
}

fn of_kind(kind: Kind) -> Value {
    match kind {
        Kind::Text => json!({ "type": "string", "minLength": 1 }),
        Kind::AnyText => json!({ "type": "string" }),
        Kind::Name => json!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Number(bounds) => number(bounds),
        Kind::Integers(numbers) => json!({ "enum": numbers }),
        Kind::Choice(words) => json!({ "enum": words }),
        Kind::Reference => json!({ "$ref": "#/$defs/reference" }),
        Kind::Group(fields) => object(fields),
        Kind::List(of, least, most) => list(of_kind(*of), least, most),
        Kind::Map(of) => json!({ "type": "object", "additionalProperties": of_kind(*of) }),
        Kind::Either(one, other) => json!({ "anyOf": [of_kind(*one), of_kind(*other)] }),
        Kind::Typed(lists) => {
            json!({ "oneOf": lists.iter().map(|fields| object(fields)).collect::<Vec<_>>() })
        }
        Kind::Free => json!({ "type": "object" }),
    }
}

fn number(bounds: Bounds) -> Value {
    let integer = json!({ "type": "integer", "minimum": bounds.min, "maximum": bounds.max });
    match bounds.unit {
        Unit::Count => integer,
        Unit::Bytes => {
            json!({ "anyOf": [integer, { "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)?$" }] })
        }
        Unit::Time => json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h)$" }),
    }
}

fn list(items: Value, least: usize, most: usize) -> Value {
    let mut schema = json!({ "type": "array", "items": items });
    if least > 0 {
        schema["minItems"] = json!(least);
    }
    if most != ANY {
        schema["maxItems"] = json!(most);
    }
    schema
}

/// See [`schema::REFERENCE`].
fn reference() -> Value {
    let file =
        json!({ "type": "string", "minLength": 1, "description": "Path of the file that holds the value." });
    let env = json!({
        "type": "string",
        "pattern": "^[A-Za-z_][A-Za-z0-9_]*$",
        "description": "Name of the environment variable that holds the value.",
    });
    let form = |properties: Value, required: Value| {
        json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        })
    };
    let directory = json!({
        "type": "string",
        "minLength": 1,
        "description": "Path of a directory with a file for each secret, as Kubernetes mounts them.",
    });
    let key = json!({
        "type": "string",
        "pattern": "^[A-Za-z0-9._-]{1,253}$",
        "description": "Name of the file in the directory that holds the value.",
    });
    json!({ "oneOf": [
        form(json!({ "file": file }), json!(["file"])),
        form(json!({ "env": env }), json!(["env"])),
        form(json!({ "directory": directory, "key": key }), json!(["directory", "key"])),
    ] })
}
