//! The configuration: one rule a line.

use std::fmt;

/// What the filter does, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    /// For requests.
    pub(crate) request: Vec<Rule>,
    /// For responses.
    pub(crate) response: Vec<Rule>,
}

/// One change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// The header has this value, and no other.
    Set {
        /// In lower case.
        name: String,
        /// As it is.
        value: String,
    },
    /// The header is gone.
    Remove {
        /// In lower case.
        name: String,
    },
}

/// What is wrong in which line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    line: usize,
    what: &'static str,
}

impl Rules {
    /// Reads the configuration: `request-set NAME VALUE`, `response-set NAME VALUE`, `request-remove NAME`,
    /// `response-remove NAME`. Empty lines and those that begin with `#` are passed over.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Rules, Problem> {
        let text = std::str::from_utf8(bytes).map_err(|_| Problem { line: 1, what: "this is not UTF-8" })?;
        let mut rules = Rules::default();
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if !line.is_empty() && !line.starts_with('#') {
                rules.add(line).map_err(|what| Problem { line: index + 1, what })?;
            }
        }
        Ok(rules)
    }

    fn add(&mut self, line: &str) -> Result<(), &'static str> {
        let (action, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let (name, value) =
            rest.trim_start().split_once(char::is_whitespace).unwrap_or((rest.trim_start(), ""));
        let (rules, change) = match action.split_once('-') {
            Some(("request", change)) => (&mut self.request, change),
            Some(("response", change)) => (&mut self.response, change),
            _ => return Err(ACTIONS),
        };
        let name = header_name(name)?;
        let value = value.trim();
        match change {
            "set" if value.is_empty() => Err("the value is missing"),
            "set" if value.chars().any(char::is_control) => Err("the value has a control character"),
            "set" => {
                rules.push(Rule::Set { name, value: value.into() });
                Ok(())
            }
            "remove" if !value.is_empty() => Err("there is more than a name"),
            "remove" => {
                rules.push(Rule::Remove { name });
                Ok(())
            }
            _ => Err(ACTIONS),
        }
    }
}

const ACTIONS: &str = "write request-set, request-remove, response-set or response-remove";

/// The characters of RFC 9110, 5.6.2. What frames a message is not a filter's to change.
fn header_name(name: &str) -> Result<String, &'static str> {
    let belongs = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let name = name.to_ascii_lowercase();
    if name.is_empty() || !name.bytes().all(belongs) {
        return Err("a header's name is missing, or is none");
    }
    if matches!(name.as_str(), "connection" | "content-length" | "transfer-encoding" | "upgrade") {
        return Err("this header frames the message and cannot be changed");
    }
    Ok(name)
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configuration, line {}: {}", self.line, self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mistake_is_named_with_its_line() {
        let cases = [
            ("what", 1, ACTIONS),
            ("\n# ok\nrequest-add a b", 3, ACTIONS),
            ("body-set a b", 1, ACTIONS),
            ("request-set", 1, "a header's name is missing, or is none"),
            ("request-set a:b c", 1, "a header's name is missing, or is none"),
            ("request-set a", 1, "the value is missing"),
            ("request-set a b\x07c", 1, "the value has a control character"),
            ("response-remove a b", 1, "there is more than a name"),
            ("response-set Content-Length 5", 1, "this header frames the message and cannot be changed"),
        ];
        for (text, line, what) in cases {
            assert_eq!(Rules::parse(text.as_bytes()), Err(Problem { line, what }), "{text:?}");
        }
        assert!(Rules::parse(b"\xff").is_err());
    }

    #[test]
    fn rules_are_read_in_order() {
        let text =
            "# edge\n\nrequest-set X-Team  edge one \r\nrequest-remove x-debug\nresponse-remove Server";
        let rules = Rules::parse(text.as_bytes()).unwrap();
        let set = Rule::Set { name: "x-team".into(), value: "edge one".into() };
        assert_eq!(rules.request, [set, Rule::Remove { name: "x-debug".into() }]);
        assert_eq!(rules.response, [Rule::Remove { name: "server".into() }]);
        assert_eq!(Rules::parse(b""), Ok(Rules::default()));
    }
}
