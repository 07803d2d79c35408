//! Scripts that the operator has named.

use crate::arguments::Commands;
use crate::{Error, FromReply, Redis};

/// One call of a named script: [`Redis::script`].
///
/// ```no_run
/// # fn f() -> Result<(), agw_sdk::Error> {
/// let limits = agw_sdk::redis("limits")?;
/// let left: i64 = limits.script("take_tokens").key("bucket:42").arg("3").run()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a script does nothing until `run`"]
pub struct Script<'a> {
    redis: Redis<'a>,
    name: &'a str,
    keys: Vec<Vec<u8>>,
    args: Vec<Vec<u8>>,
}

impl<'a> Script<'a> {
    pub(crate) fn new(redis: Redis<'a>, name: &'a str) -> Self {
        Script { redis, name, keys: Vec::new(), args: Vec::new() }
    }

    /// Adds a key: `KEYS[1]` is the first. The host puts the grant's prefix before it.
    ///
    /// ```no_run
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let moved: bool = agw_sdk::redis("jobs")?.script("move").key("from").key("to").run()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.keys.push(key.as_ref().to_vec());
        self
    }

    /// Adds an argument: `ARGV[1]` is the first.
    ///
    /// ```no_run
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let left: i64 = agw_sdk::redis("limits")?.script("take").key("bucket").arg(b"3").run()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn arg(mut self, arg: impl AsRef<[u8]>) -> Self {
        self.args.push(arg.as_ref().to_vec());
        self
    }

    /// Runs it and reads its result.
    ///
    /// # Errors
    /// [`Error::Denied`] when the grant does not name the script.
    ///
    /// ```no_run
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let (allowed, left): (bool, i64) = agw_sdk::redis("limits")?.script("take").key("bucket").run()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn run<T: FromReply>(self) -> Result<T, Error> {
        if self.name.is_empty() {
            return Err(Error::invalid("the script's name is empty"));
        }
        let mut commands = Commands::default();
        commands.begin_script(self.name, self.keys.len());
        commands.list(&self.keys);
        commands.list(&self.args);
        self.redis.run(&commands)
    }
}

#[cfg(test)]
mod tests {
    use agw_wire::Request;

    use super::*;
    use crate::transport::fake;

    #[test]
    fn keys_come_before_arguments_in_whatever_order_they_were_given() {
        fake::will_reply(b"*2\r\n:1\r\n:4\r\n");
        let limits = crate::redis("limits").unwrap();
        let reply = limits.script("take").arg("3").key("a").arg("4").key("b").run();
        assert_eq!(reply, Ok((true, 4i64)));
        let bytes = fake::take_requests().remove(0);
        let batch = Request::decode(&bytes).unwrap().redis.unwrap();
        assert_eq!(batch.commands[0].script, "take");
        assert_eq!(batch.commands[0].script_keys, 2);
        assert_eq!(batch.commands[0].args, [b"a", b"b", b"3", b"4"]);
    }

    #[test]
    fn a_script_without_a_name_is_not_sent() {
        let reply: Result<(), Error> = crate::redis("limits").unwrap().script("").key("a").run();
        assert!(matches!(reply, Err(Error::Invalid(_))));
        assert!(fake::take_requests().is_empty());
    }
}
