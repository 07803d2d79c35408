//! Passwords and keys that tests give to gateways, and the search for them in all that a gateway says.
//!
//! Every password of the harness and of the suites begins with [`MARKER`]; private keys, which cannot, are
//! [noted](note) when they are made. The harness looks for both in every line that a gateway prints, in every answer
//! that [`Client`](crate::Client) gets and every frame that [`H2Client`](crate::H2Client) does, and in the admin pages of every gateway at its end.

use std::sync::{PoisonError, RwLock};

use anyhow::{Result, bail};

/// What every password of a test begins with. Nothing else has it.
pub const MARKER: &str = "planted-";

/// Admin pages that are searched when a gateway ends.
pub(crate) const PAGES: [&str; 5] =
    ["/metrics", "/v1/config", "/v1/plugins", "/v1/resources", "/v1/revisions"];

/// Secrets without the marker.
static NOTED: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// A private key as PEM: from now on the first line of its text counts as a secret.
pub fn note(pem: &str) {
    if let Some(line) = pem.lines().nth(1) {
        NOTED.write().unwrap_or_else(PoisonError::into_inner).push(line.to_owned());
    }
}

/// Looks for a secret in a part of an answer.
///
/// # Errors
/// When there is one.
pub(crate) fn check(answer: &[u8]) -> Result<()> {
    match find(&String::from_utf8_lossy(answer)) {
        Some(leak) => bail!("the answer has a secret of the test: {leak:?}"),
        None => Ok(()),
    }
}

/// The first secret in a text, with some of what is around it.
pub fn find(text: &str) -> Option<String> {
    let noted = NOTED.read().unwrap_or_else(PoisonError::into_inner);
    let at = text.find(MARKER).or_else(|| noted.iter().find_map(|secret| text.find(secret.as_str())))?;
    let (from, to) = (text.floor_char_boundary(at.saturating_sub(80)), text.ceil_char_boundary(at + 80));
    Some(text[from..to].to_owned())
}
