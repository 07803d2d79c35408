//! Objects whose fields are taken out one by one, with the path to each, so that a mistake can be named.

use std::fmt;
use std::ops::RangeInclusive;

use super::{Json, parse};

/// An object of a configuration. What is asked for is taken out; what is left at the end is a mistake.
///
/// ```
/// use agw_sdk::json::{Fields, Mistake};
///
/// #[derive(Clone, Copy, Debug, PartialEq)]
/// enum OnError {
///     Open,
///     Closed,
/// }
///
/// fn read(configuration: &[u8]) -> Result<(u64, String, OnError), Mistake> {
///     let mut fields = Fields::parse(configuration, "{\"limit\": 5}")?;
///     let config = (
///         fields.required("limit")?.whole(1..=1000)?,
///         fields.header_or("header", "x-api-key")?,
///         fields.choice_or("on_error", &[("open", OnError::Open), ("closed", OnError::Closed)], OnError::Open)?,
///     );
///     fields.finish()?;
///     Ok(config)
/// }
///
/// assert_eq!(read(br#"{"limit": 7}"#), Ok((7, "x-api-key".into(), OnError::Open)));
/// let mistake = |configuration: &str| read(configuration.as_bytes()).unwrap_err().to_string();
/// assert_eq!(mistake("{}"), "configuration: limit: it is missing");
/// assert_eq!(mistake(r#"{"limit": 0}"#), "configuration: limit: write a whole number from 1 to 1000");
/// assert_eq!(mistake(r#"{"limit": 1, "headr": "x"}"#), "configuration: headr: there is no such field");
/// assert_eq!(mistake(r#"{"limit": 1, "on_error": 5}"#), "configuration: on_error: write open or closed");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    path: String,
    left: Vec<(String, Json)>,
}

/// A value and the path to it, such as `key[1].header`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    path: String,
    value: Json,
}

/// What is wrong with a configuration, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Empty if it is the whole of it.
    path: String,
    what: String,
}

// === impl Fields ===

impl Fields {
    /// Reads a plugin's whole configuration; an empty one has no fields. `example` is what to write instead of anything
    /// that is no object.
    ///
    /// # Errors
    /// If it is not JSON, or no object.
    pub fn parse(configuration: &[u8], example: &str) -> Result<Self, Mistake> {
        let empty = configuration.trim_ascii().is_empty();
        let value = parse(if empty { b"{}" } else { configuration });
        let value = value.map_err(|problem| Mistake::new("", format!("not JSON: {problem}")))?;
        Field { path: String::new(), value }.fields(example)
    }

    /// The field, if it is there.
    pub fn optional(&mut self, name: &str) -> Option<Field> {
        let at = self.left.iter().position(|(found, _)| found == name)?;
        Some(Field { path: self.path_of(name), value: self.left.remove(at).1 })
    }

    /// The field.
    ///
    /// # Errors
    /// If it is missing.
    pub fn required(&mut self, name: &str) -> Result<Field, Mistake> {
        self.optional(name).ok_or_else(|| self.mistake(name, "it is missing"))
    }

    /// [`Field::text`], or this if the field is not there.
    ///
    /// # Errors
    /// As there; so for the others.
    pub fn text_or(&mut self, name: &str, default: &str) -> Result<String, Mistake> {
        self.optional(name).map_or_else(|| Ok(default.into()), Field::text)
    }

    /// [`Field::header`], or this.
    ///
    /// # Errors
    /// As there.
    pub fn header_or(&mut self, name: &str, default: &str) -> Result<String, Mistake> {
        self.optional(name).map_or_else(|| Ok(default.into()), Field::header)
    }

    /// [`Field::whole`], or this.
    ///
    /// # Errors
    /// As there.
    pub fn whole_or(
        &mut self,
        name: &str,
        bounds: RangeInclusive<u64>,
        default: u64,
    ) -> Result<u64, Mistake> {
        self.optional(name).map_or(Ok(default), |field| field.whole(bounds))
    }

    /// [`Field::flag`], or this.
    ///
    /// # Errors
    /// As there.
    pub fn flag_or(&mut self, name: &str, default: bool) -> Result<bool, Mistake> {
        self.optional(name).map_or(Ok(default), Field::flag)
    }

    /// [`Field::choice`], or this.
    ///
    /// # Errors
    /// As there.
    pub fn choice_or<T: Copy>(&mut self, name: &str, of: &[(&str, T)], default: T) -> Result<T, Mistake> {
        self.optional(name).map_or(Ok(default), |field| field.choice(of))
    }

    /// All fields have been asked for.
    ///
    /// # Errors
    /// If one is left: nobody would ever read it.
    pub fn finish(self) -> Result<(), Mistake> {
        match self.left.first() {
            None => Ok(()),
            Some((unknown, _)) => Err(self.mistake(unknown, "there is no such field")),
        }
    }

    /// A mistake in the field of this name, whether it is there or not.
    pub fn mistake(&self, name: &str, what: impl Into<String>) -> Mistake {
        Mistake::new(self.path_of(name), what)
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.into() } else { [&self.path, ".", name].concat() }
    }
}

// === impl Field ===

impl Field {
    /// A text that is not empty.
    ///
    /// # Errors
    /// If it is none.
    pub fn text(self) -> Result<String, Mistake> {
        match self.value {
            Json::String(text) if !text.is_empty() => Ok(text),
            _ => Err(self.mistake("write a text that is not empty")),
        }
    }

    /// A name as headers and cookies have them (RFC 9110, 5.6.2), as it is written.
    ///
    /// # Errors
    /// If it is none.
    pub fn token(self) -> Result<String, Mistake> {
        let mistake = self.mistake("this is not a name that a header or cookie can have");
        let name = self.text()?;
        let belongs = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.bytes().all(belongs) { Ok(name) } else { Err(mistake) }
    }

    /// A header's name, in lower case as filters see it.
    ///
    /// # Errors
    /// If it is none.
    pub fn header(self) -> Result<String, Mistake> {
        self.token().map(|name| name.to_ascii_lowercase())
    }

    /// A whole number within bounds, written without point and exponent.
    ///
    /// # Errors
    /// If it is none.
    pub fn whole(self, bounds: RangeInclusive<u64>) -> Result<u64, Mistake> {
        let number = self.value.whole().and_then(|number| u64::try_from(number).ok());
        number.filter(|number| bounds.contains(number)).ok_or_else(|| {
            self.mistake(format!("write a whole number from {} to {}", bounds.start(), bounds.end()))
        })
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// If it is neither.
    pub fn flag(self) -> Result<bool, Mistake> {
        match self.value {
            Json::Bool(flag) => Ok(flag),
            _ => Err(self.mistake("write true or false")),
        }
    }

    /// What stands for one of these words.
    ///
    /// # Errors
    /// If it is none of them.
    pub fn choice<T: Copy>(self, of: &[(&str, T)]) -> Result<T, Mistake> {
        let chosen = match &self.value {
            Json::String(text) => of.iter().find(|(word, _)| word == text),
            _ => None,
        };
        chosen.map(|(_, choice)| *choice).ok_or_else(|| {
            let words: Vec<_> = of.iter().map(|(word, _)| *word).collect();
            self.mistake(["write ", &words.join(" or ")].concat())
        })
    }

    /// The members of a list that is not empty; `example` is what to write instead.
    ///
    /// # Errors
    /// If it is none.
    pub fn list(self, example: &str) -> Result<Vec<Field>, Mistake> {
        match self.value {
            Json::Array(values) if !values.is_empty() => {
                let field = |(index, value)| Field { path: format!("{}[{index}]", self.path), value };
                Ok(values.into_iter().enumerate().map(field).collect())
            }
            _ => Err(self.mistake(["write a list, such as ", example].concat())),
        }
    }

    /// The fields of an object; `example` is what to write instead.
    ///
    /// # Errors
    /// If it is none.
    pub fn fields(self, example: &str) -> Result<Fields, Mistake> {
        match self.value {
            Json::Object(left) => Ok(Fields { path: self.path, left }),
            _ => Err(self.mistake(["write an object, such as ", example].concat())),
        }
    }

    /// A mistake in this field.
    pub fn mistake(&self, what: impl Into<String>) -> Mistake {
        Mistake::new(self.path.clone(), what)
    }
}

// === impl Mistake ===

impl Mistake {
    fn new(path: impl Into<String>, what: impl Into<String>) -> Self {
        Mistake { path: path.into(), what: what.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("configuration: ")?;
        if !self.path.is_empty() {
            f.write_str(&self.path)?;
            f.write_str(": ")?;
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for Mistake {}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::parse(text.as_bytes(), "{\"a\": 1}").unwrap()
    }

    fn of<T: fmt::Debug>(text: &str, read: impl FnOnce(Field) -> Result<T, Mistake>) -> String {
        let mut fields = fields(&format!("{{\"a\": {text}}}"));
        match fields.required("a").and_then(read) {
            Ok(value) => format!("{value:?}"),
            Err(mistake) => mistake.to_string(),
        }
    }

    #[test]
    fn a_configuration_is_an_object_or_nothing() {
        assert_eq!(Fields::parse(b" \n", "{}"), Ok(fields("{}")));
        let mistake = |text: &[u8]| Fields::parse(text, "{\"a\": 1}").unwrap_err().to_string();
        assert_eq!(mistake(b"[]"), "configuration: write an object, such as {\"a\": 1}");
        assert!(mistake(b"{").starts_with("configuration: not JSON: line 1"), "{}", mistake(b"{"));
        assert!(mistake(b"\xff").starts_with("configuration: not JSON"));
    }

    #[test]
    fn each_kind_takes_its_own_and_says_what_to_write() {
        assert_eq!(of("\"x\"", Field::text), "\"x\"");
        assert_eq!(of("\"\"", Field::text), "configuration: a: write a text that is not empty");
        assert_eq!(of("\"X-Key\"", Field::header), "\"x-key\"");
        assert_eq!(of("\"Sid\"", Field::token), "\"Sid\"");
        for no_name in ["\"a b\"", "\":path\"", "\"\u{e4}\""] {
            assert!(
                of(no_name, Field::header).starts_with("configuration: a: this is not a name"),
                "{no_name}"
            );
        }
        assert_eq!(of("true", Field::flag), "true");
        assert_eq!(of("1", Field::flag), "configuration: a: write true or false");
        for (number, expected) in [("2", "2"), ("5", "5")] {
            assert_eq!(of(number, |field| field.whole(2..=5)), expected);
        }
        for number in ["1", "6", "-2", "2.0", "2e0", "\"2\"", "99999999999999999999", "null"] {
            let said = of(number, |field| field.whole(2..=5));
            assert_eq!(said, "configuration: a: write a whole number from 2 to 5", "{number}");
        }
        assert_eq!(of("\"b\"", |field| field.choice(&[("a", 1), ("b", 2)])), "2");
        assert_eq!(of("2", |field| field.choice(&[("a", 1), ("b", 2)])), "configuration: a: write a or b");
    }

    #[test]
    fn paths_lead_into_lists_and_objects() {
        let inside = |text: &str| {
            of(text, |field| {
                let mut list = field.list("[{\"b\": 1}]")?;
                let mut inner = list.remove(list.len() - 1).fields("{\"b\": 1}")?;
                let number = inner.required("b")?.whole(1..=9)?;
                inner.finish()?;
                Ok(number)
            })
        };
        assert_eq!(inside("[1, {\"b\": 7}]"), "7");
        assert_eq!(inside("[]"), "configuration: a: write a list, such as [{\"b\": 1}]");
        assert_eq!(inside("[0, 1]"), "configuration: a[1]: write an object, such as {\"b\": 1}");
        assert_eq!(inside("[{}]"), "configuration: a[0].b: it is missing");
        assert_eq!(inside("[{\"b\": 1, \"c\": 1}]"), "configuration: a[0].c: there is no such field");
        assert_eq!(inside("[{\"b\": 0}]"), "configuration: a[0].b: write a whole number from 1 to 9");
    }

    #[test]
    fn what_is_not_there_has_its_default() {
        let mut fields = fields("{}");
        assert_eq!(fields.text_or("t", "x").as_deref(), Ok("x"));
        assert_eq!(fields.header_or("h", "y").as_deref(), Ok("y"));
        assert_eq!(fields.whole_or("w", 5..=6, 1), Ok(1));
        assert_eq!(fields.flag_or("f", true), Ok(true));
        assert_eq!(fields.choice_or("c", &[("a", 1)], 3), Ok(3));
        assert_eq!(fields.finish(), Ok(()));
    }
}
