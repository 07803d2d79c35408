//! What a route asks of a request.

/// All of it must hold. Among routes that match, the most specific one serves, whatever their order: an exact host
/// before a wildcard, a longer wildcard before a shorter, and either before any host; then an exact path before a
/// regex (the first in the document), and that before a prefix, a longer prefix before a shorter; then one that names methods, then more
/// headers, then more query parameters, then the order of the document.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteMatch {
    /// Empty matches every host.
    pub hosts: Vec<HostMatch>,
    /// The path.
    pub path: PathMatch,
    /// Upper-case methods; empty matches every one. `GET` does not cover `HEAD`.
    pub methods: Vec<String>,
    /// Lower-case header names. Several values of one header are joined by `, `.
    pub headers: Vec<FieldMatch>,
    /// Names of query parameters, percent-decoded; of a parameter that is there twice the first counts.
    pub query: Vec<FieldMatch>,
}

impl RouteMatch {
    /// Every request with such a path.
    pub fn path(path: PathMatch) -> Self {
        RouteMatch { hosts: Vec::new(), path, methods: Vec::new(), headers: Vec::new(), query: Vec::new() }
    }
}

/// A host name, without port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostMatch {
    /// In lower case.
    Exact(String),
    /// `*.example.com` is `.example.com` here, in lower case; one label or more stands before it.
    Suffix(String),
}

/// How a route matches the path, without its query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Its beginning, byte by byte: `/a` matches `/ab`; write `/a/` for the folder.
    Prefix(String),
    /// The whole path: a regular expression for [`whole_pattern`](crate::whole_pattern). It compiles.
    Regex(String),
}

/// A condition on a header or a query parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldMatch {
    /// Its name.
    pub name: String,
    /// What it has to be.
    pub value: ValueMatch,
}

/// What a value has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatch {
    /// There, with whatever value.
    Present,
    /// Not there.
    Absent,
    /// Exactly this.
    Exact(String),
    /// Beginning with this.
    Prefix(String),
    /// Matched as a whole by this, a regular expression for [`whole_pattern`](crate::whole_pattern). It compiles.
    Regex(String),
}
