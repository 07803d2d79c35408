//! Sessions in Redis: `session:ID` holds the user's name and expires.

use agw_sdk::{Error, Redis, SetOptions};

fn key(id: &[u8]) -> Vec<u8> {
    [b"session:", id].concat()
}

/// The session's user; a session that is there lives on for `seconds` from now. One round trip.
pub(crate) fn find(redis: &Redis<'_>, id: &[u8], seconds: u32) -> Result<Option<Vec<u8>>, Error> {
    let key = key(id);
    // EXPIRE creates nothing: an unknown id leaves no trace.
    let (user, _): (Option<Vec<u8>>, bool) = redis.pipeline().get(&key).expire(&key, seconds.into()).run()?;
    Ok(user)
}

/// Stores a new session; false if the id is taken.
pub(crate) fn create(redis: &Redis<'_>, id: &[u8], user: &[u8], seconds: u32) -> Result<bool, Error> {
    let options = SetOptions { ex: Some(seconds.into()), nx: true, ..SetOptions::default() };
    redis.set_with(key(id), user, options)
}
