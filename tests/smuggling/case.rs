//! The cases, read from `cases/*.txt`.
//!
//! A case is a paragraph: `case NAME`, `from SOURCE`, `want OUTCOME`, the bytes in lines that begin with `> `, and
//! what else shall hold. `@id@` stands for the case's number, of as many bytes, by which the upstream knows whose
//! request it got. Escapes are `\r \n \t \0 \\ \xNN` and `\{N*TEXT}` for repetition. `template NAME` gives a beginning
//! that lines `>NAME ` share.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

/// What stands for the number in the bytes.
pub(crate) const MARK: &str = "@id@";

/// Bytes to send, and what shall come of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) source: String,
    pub(crate) want: Want,
    pub(crate) bytes: Vec<u8>,
    /// The first request's body, if it is forwarded.
    pub(crate) body: Option<Vec<u8>>,
    /// Its Host.
    pub(crate) host: Option<String>,
    /// Headers that it has, and has not.
    pub(crate) present: Vec<String>,
    pub(crate) absent: Vec<String>,
    /// Why the gateway may forward what nginx does not.
    pub(crate) lax: Option<String>,
}

/// How many whole requests reach the upstream, and what the client is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Want {
    /// Whatever breaks no rule that holds for all.
    #[default]
    Any,
    /// None, and an error of the client's or a closed connection.
    Refuse,
    /// None is whole: the client is still to send when its time is up.
    NeverWhole,
    /// So many, each answered; then possibly a refusal.
    Forward { requests: usize, then_refuse: bool },
    /// So many, or a refusal before all of them have come.
    ForwardOrRefuse(usize),
}

// === impl Case ===

impl Case {
    /// The bytes with the mark replaced by the case's number.
    pub(crate) fn numbered(&self, id: &str) -> Vec<u8> {
        replace(&self.bytes, id)
    }

    /// The body that the upstream shall see.
    pub(crate) fn numbered_body(&self, id: &str) -> Option<Vec<u8>> {
        self.body.as_deref().map(|body| replace(body, id))
    }
}

fn replace(bytes: &[u8], id: &str) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let mut at = 0;
    while let Some(window) = out.get_mut(at..at + MARK.len()) {
        if window == MARK.as_bytes() {
            window.copy_from_slice(id.as_bytes());
        }
        at += 1;
    }
    out
}

/// All of the collected cases.
pub(crate) fn collected() -> Result<Vec<Case>> {
    let files = [
        ("content-length", include_str!("cases/content-length.txt")),
        ("transfer-encoding", include_str!("cases/transfer-encoding.txt")),
        ("chunks", include_str!("cases/chunks.txt")),
        ("heads", include_str!("cases/heads.txt")),
        ("hosts", include_str!("cases/hosts.txt")),
        ("connection", include_str!("cases/connection.txt")),
    ];
    let mut cases = Vec::new();
    for (file, text) in files {
        cases.extend(parse(text).with_context(|| format!("cases/{file}.txt"))?);
    }
    Ok(cases)
}

fn parse(text: &str) -> Result<Vec<Case>> {
    let mut templates = BTreeMap::new();
    let mut cases: Vec<Case> = Vec::new();
    for paragraph in text.split("\n\n") {
        let lines: Vec<_> =
            paragraph.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        let Some(first) = lines.first() else { continue };
        if let Some(name) = first.strip_prefix("template ") {
            let bytes =
                lines.get(1).and_then(|line| line.strip_prefix("> ")).context("a template's bytes")?;
            templates.insert(name.to_owned(), unescape(bytes)?);
            continue;
        }
        let case = case(&lines, &templates).with_context(|| format!("in {first:?}"))?;
        ensure!(
            !case.name.is_empty() && !case.source.is_empty() && !case.bytes.is_empty(),
            "incomplete: {first}"
        );
        cases.push(case);
    }
    Ok(cases)
}

fn case(lines: &[&str], templates: &BTreeMap<String, Vec<u8>>) -> Result<Case> {
    let mut case = Case::default();
    for line in lines {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "case" => rest.clone_into(&mut case.name),
            "from" => rest.clone_into(&mut case.source),
            "want" => case.want = want(rest)?,
            "body" => case.body = Some(unescape(rest)?),
            "host" => case.host = Some(rest.to_owned()),
            "present" => case.present.push(rest.to_owned()),
            "absent" => case.absent.push(rest.to_owned()),
            "lax" => case.lax = Some(rest.to_owned()),
            _ => {
                let template = word.strip_prefix('>').with_context(|| format!("unknown line {line:?}"))?;
                if !template.is_empty() {
                    case.bytes
                        .extend(templates.get(template).with_context(|| format!("template {template}"))?);
                }
                case.bytes.extend(unescape(rest)?);
            }
        }
    }
    Ok(case)
}

fn want(text: &str) -> Result<Want> {
    let words: Vec<_> = text.split_whitespace().collect();
    Ok(match words.as_slice() {
        ["any"] => Want::Any,
        ["refuse"] => Want::Refuse,
        ["never-whole"] => Want::NeverWhole,
        ["forward", n] => Want::Forward { requests: n.parse()?, then_refuse: false },
        ["forward", n, "then", "refuse"] => Want::Forward { requests: n.parse()?, then_refuse: true },
        ["forward-or-refuse", n] => Want::ForwardOrRefuse(n.parse()?),
        _ => bail!("unknown outcome {text:?}"),
    })
}

fn unescape(text: &str) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        out.extend_from_slice(plain.as_bytes());
        let (kind, after) = escaped.split_at_checked(1).context("a lone backslash at the end")?;
        rest = after;
        match kind {
            "r" => out.push(b'\r'),
            "n" => out.push(b'\n'),
            "t" => out.push(b'\t'),
            "0" => out.push(0),
            "\\" => out.push(b'\\'),
            "x" => {
                let (digits, after) = after.split_at_checked(2).context("\\x needs two digits")?;
                out.push(u8::from_str_radix(digits, 16)?);
                rest = after;
            }
            "{" => {
                let (repeated, after) = after.split_once('}').context("\\{ without }")?;
                let (count, what) = repeated.split_once('*').context("\\{ without *")?;
                out.extend(unescape(what)?.repeat(count.parse()?));
                rest = after;
            }
            _ => bail!("unknown escape \\{kind}"),
        }
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

#[test]
fn escapes_and_templates_are_read() -> Result<()> {
    let cases = parse("template t\n> A\\r\n\ncase c\nfrom s\nwant refuse\n>t @id@\\n\\x00\\{3*ab}\\\\\n")?;
    let [case] = cases.as_slice() else { bail!("{cases:?}") };
    assert_eq!(case.numbered("c001"), b"A\rc001\n\0ababab\\");
    assert_eq!(case.want, Want::Refuse);
    assert!(parse("case c\nfrom s\nwant nothing\n> x").is_err());
    Ok(())
}
