//! What is logged on the current thread while a test runs.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Every line so far.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<Line>>>);

#[derive(Clone, Debug)]
struct Line {
    guest: bool,
    text: String,
}

impl Lines {
    /// What guests said, in order.
    pub(crate) fn guest(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().filter(|line| line.guest).map(|line| line.text.clone()).collect()
    }

    /// What guests said since this was asked last; everything else is forgotten as well.
    pub(crate) fn take(&self) -> Vec<String> {
        let lines = std::mem::take(&mut *self.0.lock().unwrap());
        lines.into_iter().filter(|line| line.guest).map(|line| line.text).collect()
    }

    /// What the host itself said.
    pub(crate) fn host(&self) -> String {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|line| !line.guest).map(|line| line.text.clone() + "\n").collect()
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("agw")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let guest = event.metadata().target() == "agw::guest";
        let text = if guest { text.message } else { format!("{}{}", text.message, text.fields) };
        self.0.lock().unwrap().push(Line { guest, text });
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
