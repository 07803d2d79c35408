//! YAML text to a tree of nodes that know their line.
//!
//! Built from parser events on a stack of its own: no document, however nested, can exhaust the thread's stack.
//! Scalars are read by the YAML 1.2 core schema. The tree keeps every entry of a mapping, doubles included, so that
//! the reader can report all of them.

mod scalar;

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};

/// Bytes of a document; more is refused before it is parsed.
pub const DOCUMENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Levels of nesting, aliases written out.
const DEPTH_MAX: usize = 48;
/// What a node weighs beside its text.
const NODE_WEIGHT: usize = 64;
/// Weight of all nodes, aliases written out and anchors counted twice: a small document must not grow large.
const WEIGHT_MAX: usize = 16 * 1024 * 1024;

/// A value of the document.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Counted from 1. Inside an alias, the line of its anchor.
    pub(crate) line: Option<u32>,
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Boolean(bool),
    Integer(i128),
    /// Finite.
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// One entry of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// As it is written: keys have no type.
    pub(crate) key: String,
    pub(crate) line: Option<u32>,
    pub(crate) node: Node,
}

/// Nodes are equal when their values are.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Value {
    /// The kind, with its article, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Boolean(_) => "a boolean",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a number with a fraction",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }
}

/// Why text is not a document. The message never quotes the text, which may hold anything.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) line: Option<u32>,
}

/// Parses one document. Empty text is [`Value::Null`].
pub(crate) fn parse(text: &str) -> Result<Node, Refusal> {
    if text.len() > DOCUMENT_BYTES_MAX {
        let message = format!("the document has {} bytes, the most is {DOCUMENT_BYTES_MAX}", text.len());
        return Err(Refusal { message, line: None });
    }
    let mut builder = Builder::default();
    let options = granit_parser::options! {
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| Refusal {
            message: format!("this is not YAML: {}", error.info()),
            line: line_of(error.marker().line()),
        })?;
        builder.take(event, line_of(span.start.line())).map_err(|message| refusal_at(message, &span))?;
    }
    Ok(builder.root.unwrap_or(Node { line: None, value: Value::Null }))
}

fn refusal_at(message: &str, span: &Span) -> Refusal {
    Refusal { message: message.to_owned(), line: line_of(span.start.line()) }
}

fn line_of(line: usize) -> Option<u32> {
    u32::try_from(line).ok().filter(|line| *line > 0)
}

/// A finished node, with what it counts.
#[derive(Clone)]
struct Built {
    node: Node,
    weight: usize,
    height: usize,
}

/// A list or mapping whose end has not come yet.
struct Open {
    line: Option<u32>,
    anchor: usize,
    weight: usize,
    height: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Mapping { entries: Vec<Entry>, key: Option<(String, Option<u32>)> },
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    /// By the parser's anchor id, which is never 0 here.
    anchors: HashMap<usize, Built>,
    weight: usize,
    documents: usize,
    root: Option<Node>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, line: Option<u32>) -> Result<(), &'static str> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err("a second document begins here; a file holds one");
                }
            }
            Event::Alias(id) => {
                let built = self.anchors.get(&id).ok_or("an alias stands inside its own anchor")?.clone();
                self.add(built, 0)?;
            }
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(tag.as_deref())?;
                let plain = matches!(style, ScalarStyle::Plain);
                self.scalar(&text, plain, anchor, line)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                refuse_tag(tag.as_deref())?;
                self.begin(Content::List(Vec::new()), anchor, line)?;
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_tag(tag.as_deref())?;
                self.begin(Content::Mapping { entries: Vec::new(), key: None }, anchor, line)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end()?,
            _ => {}
        }
        Ok(())
    }

    fn scalar(
        &mut self,
        text: &str,
        plain: bool,
        anchor: usize,
        line: Option<u32>,
    ) -> Result<(), &'static str> {
        let weight = NODE_WEIGHT + text.len();
        if let Some(Open { content: Content::Mapping { key: key @ None, .. }, weight: sum, .. }) =
            self.open.last_mut()
        {
            if plain && text == "<<" {
                return Err("merge keys (<<) are not part of YAML 1.2; write the fields out");
            }
            if anchor != 0 {
                return Err("a key has an anchor");
            }
            *key = Some((text.to_owned(), line));
            *sum += weight;
            return self.charge(weight);
        }
        let value = if plain { scalar::resolve(text)? } else { Value::Text(text.to_owned()) };
        self.add(Built { node: Node { line, value }, weight, height: 0 }, anchor)
    }

    fn begin(&mut self, content: Content, anchor: usize, line: Option<u32>) -> Result<(), &'static str> {
        if let Some(Open { content: Content::Mapping { key: None, .. }, .. }) = self.open.last() {
            return Err("a key is a list or a mapping; keys are strings");
        }
        if self.open.len() >= DEPTH_MAX {
            return Err("lists and mappings are nested too deeply");
        }
        self.open.push(Open { line, anchor, weight: NODE_WEIGHT, height: 1, content });
        self.charge(NODE_WEIGHT)
    }

    fn end(&mut self) -> Result<(), &'static str> {
        let Some(open) = self.open.pop() else { return Err("a list or mapping ends that never began") };
        let value = match open.content {
            Content::List(items) => Value::List(items),
            Content::Mapping { entries, .. } => Value::Mapping(entries),
        };
        // What is inside has been charged already.
        self.weight = self.weight.saturating_sub(open.weight);
        self.add(
            Built { node: Node { line: open.line, value }, weight: open.weight, height: open.height },
            open.anchor,
        )
    }

    /// Puts a finished node where it belongs, and a copy aside if it has an anchor.
    fn add(&mut self, built: Built, anchor: usize) -> Result<(), &'static str> {
        self.charge(built.weight)?;
        if anchor != 0 {
            self.charge(built.weight)?;
            self.anchors.insert(anchor, built.clone());
        }
        if self.open.len() + built.height > DEPTH_MAX {
            return Err("lists and mappings are nested too deeply, with aliases written out");
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(built.node);
            return Ok(());
        };
        parent.weight += built.weight;
        parent.height = parent.height.max(built.height + 1);
        match &mut parent.content {
            Content::List(items) => items.push(built.node),
            Content::Mapping { entries, key } => {
                let (key, line) = key.take().ok_or("an alias stands for a key; keys are strings")?;
                entries.push(Entry { key, line, node: built.node });
            }
        }
        Ok(())
    }

    fn charge(&mut self, weight: usize) -> Result<(), &'static str> {
        self.weight = self.weight.saturating_add(weight);
        if self.weight > WEIGHT_MAX {
            return Err("the document is too large with aliases written out");
        }
        Ok(())
    }
}

fn refuse_tag(tag: Option<&Tag>) -> Result<(), &'static str> {
    match tag {
        Some(_) => Err("tags (!name) are not used here; quote a value to make it a string"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
