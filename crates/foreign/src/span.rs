//! The span of a call whose request is recorded.

use std::borrow::Cow;
use std::sync::Arc;

use agw_telemetry::{Attributes, CallTrace, Value};
use agw_wire::CallError;
use tokio::time::Instant;

use crate::grant::{Grant, PluginGate};

/// What a call asks for, as its span tells it: words of fixed sets and names of the configuration. Never a key, a value,
/// SQL, a user or an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operation {
    /// `db.system.name`: `redis`, `postgresql`, `mysql` or `sqlite`.
    pub system: &'static str,
    /// `db.namespace`: the database's name or number.
    pub namespace: Option<Arc<str>>,
    /// `db.operation.name`: such as `GET`; empty if there is no word for it.
    pub name: Cow<'static, str>,
    /// `db.query.summary`: the name of a statement that the operator has named.
    pub summary: Option<Arc<str>>,
    /// `db.stored_procedure.name`: the name of a script that the operator has named.
    pub procedure: Option<Arc<str>>,
    /// Commands or statements in the call.
    pub batch: usize,
}

/// A call that has a span.
pub(crate) struct Traced {
    pub(crate) call: CallTrace,
    pub(crate) operation: Operation,
}

impl Traced {
    /// The call that began at `started` has ended.
    pub(crate) fn end(self, gate: &PluginGate, grant: &Grant, started: Instant, error: Option<&CallError>) {
        let Traced { call, operation } = self;
        let resource = grant.resource.name();
        call.end(started.elapsed(), |span| {
            span.name = operation.span_name(resource);
            span.attributes.put("agw.resource", resource.to_owned());
            span.attributes.put("agw.plugin", gate.plugin.clone());
            if let Some(error) = error {
                if operation.is_sql() && is_sqlstate(&error.server_code) {
                    span.attributes.put("db.response.status_code", error.server_code.to_string());
                }
                span.fail(error.code.as_str());
            }
            operation.put(&mut span.attributes);
        });
    }
}

impl Operation {
    fn is_sql(&self) -> bool {
        self.system != "redis"
    }

    /// By the conventions: the summary, or what is done and with what.
    fn span_name(&self, resource: &str) -> Cow<'static, str> {
        match (&self.summary, &*self.name) {
            (Some(summary), _) => Cow::Owned(summary.to_string()),
            (None, "") => Cow::Owned(format!("{} {resource}", self.system)),
            (None, name) => Cow::Owned(format!("{name} {resource}")),
        }
    }

    fn put(self, attributes: &mut Attributes) {
        let Operation { system, namespace, name, summary, procedure, batch } = self;
        attributes.put("db.system.name", system);
        if !name.is_empty() {
            attributes.put("db.operation.name", Value::Text(name));
        }
        let names = [
            ("db.namespace", namespace),
            ("db.query.summary", summary),
            ("db.stored_procedure.name", procedure),
        ];
        for (attribute, name) in names {
            if let Some(name) = name {
                attributes.put(attribute, name);
            }
        }
        if batch > 1 {
            attributes.put("db.operation.batch.size", i64::try_from(batch).unwrap_or(i64::MAX));
        }
    }
}

/// Five digits and letters. Anything else that a server calls its code is left out.
fn is_sqlstate(code: &str) -> bool {
    code.len() == 5 && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}
