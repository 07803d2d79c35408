//! The typed commands: one table, from which both [`Redis`] and [`Batch`] get their methods.

use crate::arguments::Commands;
use crate::{Batch, Error, FromReply, Redis};

/// The type of an argument of this kind.
macro_rules! kind {
    (bytes) => { impl AsRef<[u8]> };
    (int) => { i64 };
    (float) => { f64 };
    (list) => { &[impl AsRef<[u8]>] };
    (pairs) => { &[(impl AsRef<[u8]>, impl AsRef<[u8]>)] };
    (scored) => { &[(f64, impl AsRef<[u8]>)] };
}

/// Writes an argument of this kind.
macro_rules! put {
    ($commands:expr, $arg:ident, bytes) => {
        $commands.bytes($arg.as_ref())
    };
    ($commands:expr, $arg:ident, $kind:ident) => {
        $commands.$kind($arg)
    };
}

/// Each line: what it does, its name in Redis, method, arguments with their kinds, the reply's type, and the
/// arguments of the example.
macro_rules! commands {
    ($($(#[doc = $doc:literal])+
        $wire:literal $name:ident($($arg:ident: $kind:ident),*) -> $reply:ty, $example:literal;)*) => {
        impl Redis<'_> {
            $(
                $(#[doc = $doc])+
                ///
                #[doc = concat!("Sends `", $wire, "`.")]
                ///
                #[doc = concat!(
                    "```no_run\n# fn f() -> Result<(), agw_sdk::Error> {\n",
                    "let reply: ", stringify!($reply), " =\n",
                    "    agw_sdk::redis(\"resource\")?.", stringify!($name), $example, "?;\n",
                    "# Ok(())\n# }\n```"
                )]
                pub fn $name(&self, $($arg: kind!($kind)),*) -> Result<$reply, Error> {
                    let mut commands = Commands::default();
                    commands.begin($wire.as_bytes());
                    $(put!(commands, $arg, $kind);)*
                    self.run(&commands)
                }
            )*
        }

        impl Batch<'_> {
            $(
                #[doc = concat!("Adds `", $wire, "`; see [`Redis::", stringify!($name), "`].")]
                ///
                #[doc = concat!(
                    "```no_run\n# fn f() -> Result<(), agw_sdk::Error> {\n",
                    "let (reply,): (", stringify!($reply), ",) =\n",
                    "    agw_sdk::redis(\"resource\")?.pipeline().", stringify!($name), $example, ".run()?;\n",
                    "# Ok(())\n# }\n```"
                )]
                pub fn $name(mut self, $($arg: kind!($kind)),*) -> Self {
                    self.commands.begin($wire.as_bytes());
                    $(put!(self.commands, $arg, $kind);)*
                    self
                }
            )*
        }
    };
}

commands! {
    /// Adds one to a counter and answers its new value. A counter that was not there starts at 0, and has no
    /// expiry.
    "INCR" incr(key: bytes) -> i64, "(\"visits\")";
    /// Adds `by` to a counter, as [`Redis::incr`].
    "INCRBY" incr_by(key: bytes, by: int) -> i64, "(\"visits\", 10)";
    /// Takes one from a counter, as [`Redis::incr`].
    "DECR" decr(key: bytes) -> i64, "(\"left\")";
    /// Takes `by` from a counter, as [`Redis::incr`].
    "DECRBY" decr_by(key: bytes, by: int) -> i64, "(\"left\", 10)";
    /// The value of a key; `None` if it is not there.
    "GET" get(key: bytes) -> Option<Vec<u8>>, "(\"session:42\")";
    /// Stores a value and takes any expiry away. See [`Redis::set_with`] for more.
    "SET" set(key: bytes, value: bytes) -> (), "(\"session:42\", \"alice\")";
    /// The values of several keys, in order.
    "MGET" mget(keys: list) -> Vec<Option<Vec<u8>>>, "(&[\"a\", \"b\"])";
    /// Stores several values at once.
    "MSET" mset(pairs: pairs) -> (), "(&[(\"a\", \"1\"), (\"b\", \"2\")])";
    /// Removes keys and answers how many there were.
    "DEL" del(keys: list) -> i64, "(&[\"a\", \"b\"])";
    /// How many of the keys are there; one named twice counts twice.
    "EXISTS" exists(keys: list) -> i64, "(&[\"a\", \"b\"])";
    /// Lets a key expire after so many seconds; false if it is not there.
    "EXPIRE" expire(key: bytes, seconds: int) -> bool, "(\"session:42\", 600)";
    /// Lets a key expire after so many milliseconds; false if it is not there.
    "PEXPIRE" pexpire(key: bytes, milliseconds: int) -> bool, "(\"lock\", 1500)";
    /// Seconds until a key expires; -1 if it does not, -2 if it is not there.
    "TTL" ttl(key: bytes) -> i64, "(\"session:42\")";
    /// Milliseconds until a key expires; -1 if it does not, -2 if it is not there.
    "PTTL" pttl(key: bytes) -> i64, "(\"lock\")";
    /// Takes a key's expiry away; false if it had none or is not there.
    "PERSIST" persist(key: bytes) -> bool, "(\"session:42\")";

    /// One field of a hash; `None` if hash or field is not there.
    "HGET" hget(key: bytes, field: bytes) -> Option<Vec<u8>>, "(\"user:42\", \"plan\")";
    /// Sets fields of a hash and answers how many of them are new.
    "HSET" hset(key: bytes, fields: pairs) -> i64, "(\"user:42\", &[(\"plan\", \"gold\")])";
    /// All fields of a hash with their values; empty if it is not there.
    "HGETALL" hgetall(key: bytes) -> Vec<(Vec<u8>, Vec<u8>)>, "(\"user:42\")";
    /// Several fields of a hash, in order.
    "HMGET" hmget(key: bytes, fields: list) -> Vec<Option<Vec<u8>>>, "(\"user:42\", &[\"plan\", \"name\"])";
    /// Removes fields of a hash and answers how many there were.
    "HDEL" hdel(key: bytes, fields: list) -> i64, "(\"user:42\", &[\"plan\"])";
    /// Adds `by` to a field of a hash and answers its new value.
    "HINCRBY" hincr_by(key: bytes, field: bytes, by: int) -> i64, "(\"user:42\", \"visits\", 1)";
    /// Whether a hash has a field.
    "HEXISTS" hexists(key: bytes, field: bytes) -> bool, "(\"user:42\", \"plan\")";
    /// The number of fields of a hash.
    "HLEN" hlen(key: bytes) -> i64, "(\"user:42\")";

    /// Adds members to a set and answers how many of them are new.
    "SADD" sadd(key: bytes, members: list) -> i64, "(\"blocked\", &[\"mallory\"])";
    /// Removes members of a set and answers how many there were.
    "SREM" srem(key: bytes, members: list) -> i64, "(\"blocked\", &[\"mallory\"])";
    /// Whether a set has a member.
    "SISMEMBER" sismember(key: bytes, member: bytes) -> bool, "(\"blocked\", \"mallory\")";
    /// All members of a set, in no order.
    "SMEMBERS" smembers(key: bytes) -> Vec<Vec<u8>>, "(\"blocked\")";
    /// The number of members of a set.
    "SCARD" scard(key: bytes) -> i64, "(\"blocked\")";

    /// Adds members with scores to a sorted set, or gives them new scores; answers how many are new.
    "ZADD" zadd(key: bytes, members: scored) -> i64, "(\"board\", &[(1.5, \"alice\"), (2.0, \"bob\")])";
    /// Removes members of a sorted set and answers how many there were.
    "ZREM" zrem(key: bytes, members: list) -> i64, "(\"board\", &[\"alice\"])";
    /// The score of a member; `None` if it is not there.
    "ZSCORE" zscore(key: bytes, member: bytes) -> Option<f64>, "(\"board\", \"alice\")";
    /// Adds `by` to a member's score and answers the new one.
    "ZINCRBY" zincr_by(key: bytes, by: float, member: bytes) -> f64, "(\"board\", 0.5, \"alice\")";
    /// Members by rank, lowest score first, from `start` to `stop` inclusive; -1 is the last.
    "ZRANGE" zrange(key: bytes, start: int, stop: int) -> Vec<Vec<u8>>, "(\"board\", 0, -1)";
    /// Members by score, lowest first. Bounds as Redis writes them: `5`, `(5` (exclusive), `-inf`, `+inf`.
    "ZRANGEBYSCORE" zrange_by_score(key: bytes, min: bytes, max: bytes) -> Vec<Vec<u8>>,
        "(\"board\", \"-inf\", \"(100\")";
    /// The number of members of a sorted set.
    "ZCARD" zcard(key: bytes) -> i64, "(\"board\")";
    /// The rank of a member, the lowest score being 0; `None` if it is not there.
    "ZRANK" zrank(key: bytes, member: bytes) -> Option<i64>, "(\"board\", \"alice\")";

    /// Puts values at the head of a list, one after the other, and answers its length.
    "LPUSH" lpush(key: bytes, values: list) -> i64, "(\"jobs\", &[\"a\", \"b\"])";
    /// Puts values at the tail of a list, one after the other, and answers its length.
    "RPUSH" rpush(key: bytes, values: list) -> i64, "(\"jobs\", &[\"a\", \"b\"])";
    /// Takes the head of a list; `None` if it is empty.
    "LPOP" lpop(key: bytes) -> Option<Vec<u8>>, "(\"jobs\")";
    /// Takes the tail of a list; `None` if it is empty.
    "RPOP" rpop(key: bytes) -> Option<Vec<u8>>, "(\"jobs\")";
    /// The length of a list.
    "LLEN" llen(key: bytes) -> i64, "(\"jobs\")";
    /// Values of a list from `start` to `stop` inclusive; -1 is the last.
    "LRANGE" lrange(key: bytes, start: int, stop: int) -> Vec<Vec<u8>>, "(\"jobs\", 0, -1)";
    /// Keeps only the values from `start` to `stop` inclusive.
    "LTRIM" ltrim(key: bytes, start: int, stop: int) -> (), "(\"jobs\", 0, 99)";
}

/// Options of [`Redis::set_with`]. The server refuses those that exclude each other.
///
/// ```no_run
/// use agw_sdk::SetOptions;
///
/// # fn f() -> Result<(), agw_sdk::Error> {
/// let lock = SetOptions { nx: true, px: Some(1500), ..SetOptions::default() };
/// let taken: bool = agw_sdk::redis("locks")?.set_with("lock", "me", lock)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetOptions {
    /// Expire after so many seconds.
    pub ex: Option<u64>,
    /// Expire after so many milliseconds.
    pub px: Option<u64>,
    /// Only if the key is not there.
    pub nx: bool,
    /// Only if the key is there.
    pub xx: bool,
    /// Keep the expiry that the key has.
    pub keep_ttl: bool,
    /// Answer the old value.
    pub get: bool,
}

impl SetOptions {
    fn put(self, commands: &mut Commands, key: &[u8], value: &[u8]) {
        commands.begin(b"SET");
        commands.bytes(key);
        commands.bytes(value);
        for (name, time) in [(b"EX", self.ex), (b"PX", self.px)] {
            if let Some(time) = time {
                commands.bytes(name);
                commands.int(i64::try_from(time).unwrap_or(i64::MAX));
            }
        }
        for (name, given) in
            [(&b"NX"[..], self.nx), (b"XX", self.xx), (b"KEEPTTL", self.keep_ttl), (b"GET", self.get)]
        {
            if given {
                commands.bytes(name);
            }
        }
    }
}

impl Redis<'_> {
    /// Stores a value with options. Read the reply as `bool` (whether it was stored) with `nx` or `xx`, as
    /// `Option<Vec<u8>>` (the old value) with `get`, else as `()`.
    ///
    /// Sends `SET`.
    ///
    /// ```no_run
    /// use agw_sdk::SetOptions;
    ///
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let sessions = agw_sdk::redis("sessions")?;
    /// let ten_minutes = SetOptions { ex: Some(600), ..SetOptions::default() };
    /// sessions.set_with::<()>("session:42", "alice", ten_minutes)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_with<T: FromReply>(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        options: SetOptions,
    ) -> Result<T, Error> {
        let mut commands = Commands::default();
        options.put(&mut commands, key.as_ref(), value.as_ref());
        self.run(&commands)
    }
}

impl Batch<'_> {
    /// Adds `SET` with options; see [`Redis::set_with`].
    ///
    /// ```no_run
    /// use agw_sdk::SetOptions;
    ///
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let start = SetOptions { ex: Some(60), nx: true, ..SetOptions::default() };
    /// let (fresh, count): (bool, i64) =
    ///     agw_sdk::redis("limits")?.atomic().set_with("visits", "0", start).incr("visits").run()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_with(mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, options: SetOptions) -> Self {
        options.put(&mut self.commands, key.as_ref(), value.as_ref());
        self
    }
}
