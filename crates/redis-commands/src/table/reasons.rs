//! Why commands are refused, each with the way out. They complete the sentence "NAME is refused: it …".

pub(super) const STATE: &str = "it changes the state of a connection that other calls share; \
     set the user, the database and the protocol on the resource";
pub(super) const SUBSCRIPTION: &str = "it turns the connection into an endless stream of messages; \
     keep messages in a list or a stream and read them with LPOP or XREAD";
pub(super) const MONITOR: &str = "it shows what every other client sends; there is no substitute for plugins";
pub(super) const CHANNELS: &str =
    "its answer shows channels outside the grant; PUBLISH says how many received";
pub(super) const TRANSACTION: &str = "it would span calls on a shared connection; \
     send the commands in one call as an atomic batch";
pub(super) const SCRIPT: &str = "its code could reach any key; \
     have the operator add the script to the resource and call it by its name";
pub(super) const DATABASE: &str = "it reaches another database; \
     have the operator add a resource for that database";
pub(super) const FOREIGN: &str =
    "its answer tells about keys outside the grant; walk your own keys with SCAN";
pub(super) const RESTORE: &str = "it makes the server decode bytes that nobody has checked; \
     use COPY, or write the value with its own commands";
pub(super) const MIGRATE: &str =
    "it makes the server connect to an address; copy keys with the server's own tools";
pub(super) const ADMIN: &str = "it administers the server or tells about it; use an operator's own client";
pub(super) const INTERNAL: &str = "it serves people and tests, not plugins; leave it out";

pub(super) const OTHER_DATABASE: &str = "reaches another database; leave it out";
pub(super) const COMPUTED_KEYS: &str = "reads keys that the server computes; \
     read those keys with MGET or HMGET instead";
