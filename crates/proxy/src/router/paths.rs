//! The routes of one host, by path.

use std::collections::HashMap;

use agw_config::{PathMatch, Route, whole_pattern};
use regex::bytes::Regex;

use super::{Asked, Candidate};
use crate::error::RuntimeError;

/// The routes of one host.
#[derive(Debug, Default)]
pub(super) struct Paths {
    exact: HashMap<Box<str>, Candidates>,
    /// In the order of the document.
    patterns: Vec<Pattern>,
    /// Sorted by bytes.
    prefixes: Vec<Prefix>,
}

/// Routes with the same path: those that ask for more come first. Never empty.
type Candidates = Vec<Candidate>;

#[derive(Debug)]
struct Pattern {
    text: Box<str>,
    regex: Regex,
    candidates: Candidates,
}

#[derive(Debug)]
struct Prefix {
    text: Box<str>,
    candidates: Candidates,
    /// The longest other prefix that this one begins with.
    parent: Option<usize>,
}

impl Paths {
    /// Adds a route, which has that candidate.
    pub(super) fn add(&mut self, route: &Route, candidate: Candidate) -> Result<(), RuntimeError> {
        match &route.matching.path {
            PathMatch::Exact(text) => self.exact.entry(text.as_str().into()).or_default().push(candidate),
            PathMatch::Prefix(text) => match self.prefixes.iter_mut().find(|known| *known.text == **text) {
                Some(known) => known.candidates.push(candidate),
                None => {
                    let candidates = vec![candidate];
                    self.prefixes.push(Prefix { text: text.as_str().into(), candidates, parent: None });
                }
            },
            PathMatch::Regex(text) => match self.patterns.iter_mut().find(|known| *known.text == **text) {
                Some(known) => known.candidates.push(candidate),
                None => {
                    let regex = whole_pattern(text).map_err(|source| RuntimeError::pattern(route, source))?;
                    let candidates = vec![candidate];
                    self.patterns.push(Pattern { text: text.as_str().into(), regex, candidates });
                }
            },
        }
        Ok(())
    }

    /// Sorts everything, and lets each prefix know the next shorter one. Nothing is added afterwards.
    pub(super) fn link(&mut self) {
        self.exact.values_mut().for_each(order);
        self.patterns.iter_mut().for_each(|pattern| order(&mut pattern.candidates));
        self.prefixes.iter_mut().for_each(|prefix| order(&mut prefix.candidates));
        self.prefixes.sort_by(|a, b| a.text.cmp(&b.text));
        let mut open: Vec<usize> = Vec::new();
        for index in 0..self.prefixes.len() {
            let text = &self.prefixes[index].text;
            while open.last().is_some_and(|&outer| !text.starts_with(&*self.prefixes[outer].text)) {
                open.pop();
            }
            let parent = open.last().copied();
            self.prefixes[index].parent = parent;
            open.push(index);
        }
    }

    /// The most specific route that takes the request.
    pub(super) fn find(&self, asked: Asked<'_>) -> Option<usize> {
        let path = asked.path.path();
        let exact = self.exact.get(path).and_then(|candidates| choose(candidates, asked));
        if exact.is_some() {
            return exact;
        }
        for pattern in &self.patterns {
            if pattern.regex.is_match(path.as_bytes())
                && let Some(route) = choose(&pattern.candidates, asked)
            {
                return Some(route);
            }
        }
        self.find_prefix(path, asked)
    }

    fn find_prefix(&self, path: &str, asked: Asked<'_>) -> Option<usize> {
        // The last prefix that sorts at or before the path either begins the path, or begins with the one that does:
        // everything between a prefix of the path and the path itself starts with that prefix.
        let after = self.prefixes.partition_point(|prefix| &*prefix.text <= path);
        let mut next = after.checked_sub(1);
        while let Some(prefix) = next.and_then(|index| self.prefixes.get(index)) {
            if path.starts_with(&*prefix.text)
                && let Some(route) = choose(&prefix.candidates, asked)
            {
                return Some(route);
            }
            next = prefix.parent;
        }
        None
    }
}

/// Puts those first that ask for more, and drops those that are never reached.
fn order(candidates: &mut Candidates) {
    candidates.sort_by_key(Candidate::rank);
    if let Some(last) = candidates.iter().position(|candidate| candidate.conditions.is_none()) {
        candidates.truncate(last + 1);
    }
}

fn choose(candidates: &[Candidate], asked: Asked<'_>) -> Option<usize> {
    candidates.iter().find(|candidate| candidate.takes(asked)).map(|candidate| candidate.route)
}
