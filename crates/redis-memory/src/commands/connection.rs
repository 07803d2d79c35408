//! PING, ECHO, TIME.

use super::{Grows, Spec, spec};
use crate::failure::{Done, Failure};
use crate::keyspace::Keyspace;
use crate::reply::Reply;

pub(super) const COMMANDS: &[Spec] =
    &[spec("echo", 2, Grows::No, echo), spec("ping", -1, Grows::No, ping), spec("time", 1, Grows::No, time)];

fn ping(_: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    match args {
        [_] => reply.simple("PONG"),
        [_, message] => reply.bulk(message),
        _ => return Err(Failure::arity("ping")),
    }
    Ok(())
}

fn echo(_: &mut Keyspace, args: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    reply.bulk(args[1]);
    Ok(())
}

/// Seconds and microseconds; the store's clock has milliseconds.
fn time(db: &mut Keyspace, _: &[&[u8]], reply: &mut Reply<'_>) -> Done {
    reply.array(2);
    reply.bulk((db.now() / 1000).to_string().as_bytes());
    reply.bulk((db.now() % 1000 * 1000).to_string().as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::shell::Shell;

    #[test]
    fn time_is_that_of_the_caller() {
        Shell::new().expect(&[
            ("TIME", "[1800000000 0]"),
            ("PING", "+PONG"),
            ("PING hello", "hello"),
            ("PING a b", "-ERR wrong number of arguments for 'ping' command"),
            ("ECHO x", "x"),
        ]);
    }
}
