//! What sentinels and servers answer, read with bounds: one of them may lie.

use agw_config::RedisHost;
use agw_wire::resp::{self, Value};

use crate::connect::address_of;
use crate::error::ConnectError;

/// Whom one sentinel names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) at: RedisHost,
    /// Of the election that made it the primary; 0 if the sentinel does not tell.
    pub(super) epoch: u64,
}

/// The answers of the sentinels so far.
pub(super) struct Votes {
    asked: usize,
    /// With how many name each.
    named: Vec<(Named, usize)>,
}

// === impl Votes ===

impl Votes {
    /// Of so many that are asked.
    pub(super) fn new(asked: usize) -> Self {
        Votes { asked, named: Vec::new() }
    }

    /// Whether more than half of those asked agree.
    pub(super) fn add(&mut self, named: Named) -> bool {
        let count = match self.named.iter_mut().find(|(known, _)| known.at == named.at) {
            Some((known, count)) => {
                known.epoch = known.epoch.max(named.epoch);
                *count += 1;
                *count
            }
            None => {
                self.named.push((named, 1));
                1
            }
        };
        count > self.asked / 2
    }

    /// Those that as many name as any other: the latest election first.
    pub(super) fn most(self) -> Vec<RedisHost> {
        let most = self.named.iter().map(|(_, count)| *count).max().unwrap_or(0);
        let mut named: Vec<Named> =
            self.named.into_iter().filter(|(_, count)| *count == most).map(|(named, _)| named).collect();
        named.sort_by_key(|named| std::cmp::Reverse(named.epoch));
        named.into_iter().map(|named| named.at).collect()
    }
}

/// Reads the replies to `SENTINEL GET-MASTER-ADDR-BY-NAME` and `SENTINEL MASTER`. `None`: it does not know the name.
///
/// # Errors
/// [`ConnectError::Refused`] and [`ConnectError::Auth`] with the code of an error; [`ConnectError::Nonsense`].
pub(crate) fn named(replies: &[u8]) -> Result<Option<Named>, ConnectError> {
    let values = resp::parse_all(replies, 2).map_err(|_| ConnectError::Nonsense)?;
    let Some((address, more)) = values.split_first() else { return Err(ConnectError::Nonsense) };
    match address {
        Value::Null => Ok(None),
        Value::Error(text) => Err(refused(text)),
        Value::Array(parts) => match parts.as_slice() {
            [Value::Bulk(host), Value::Bulk(port)] => {
                let at = address_of(host, port).ok_or(ConnectError::Nonsense)?;
                Ok(Some(Named { at, epoch: more.first().map_or(0, epoch) }))
            }
            _ => Err(ConnectError::Nonsense),
        },
        _ => Err(ConnectError::Nonsense),
    }
}

/// From a list of names and values.
fn epoch(reply: &Value<'_>) -> u64 {
    let Value::Array(fields) = reply else { return 0 };
    let epoch = fields.chunks_exact(2).find_map(|pair| match pair {
        [Value::Bulk(b"config-epoch"), Value::Bulk(digits)] => std::str::from_utf8(digits).ok()?.parse().ok(),
        _ => None,
    });
    epoch.unwrap_or(0)
}

/// Whether the reply to `ROLE` is a primary's.
///
/// # Errors
/// [`ConnectError::NoPrimary`] if it is another's; [`ConnectError::Refused`] if the server does not say.
pub(super) fn check_role(reply: &[u8]) -> Result<(), ConnectError> {
    match resp::parse(reply) {
        Ok((Value::Error(text), _)) => Err(refused(text)),
        Ok((Value::Array(parts), _)) => match parts.first() {
            Some(Value::Bulk(b"master")) => Ok(()),
            Some(Value::Bulk(_)) => Err(ConnectError::NoPrimary),
            _ => Err(ConnectError::Nonsense),
        },
        _ => Err(ConnectError::Nonsense),
    }
}

fn refused(text: &[u8]) -> ConnectError {
    let code = crate::reply::error_code(text);
    match code.as_str() {
        "NOAUTH" | "WRONGPASS" | "NOPERM" => ConnectError::Auth(code),
        _ => ConnectError::Refused(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> RedisHost {
        RedisHost { host: "10.0.0.1".into(), port }
    }

    fn most(asked: usize, answers: &[(u16, u64)]) -> Vec<u16> {
        let mut votes = Votes::new(asked);
        for (port, epoch) in answers {
            votes.add(Named { at: at(*port), epoch: *epoch });
        }
        votes.most().into_iter().map(|at| at.port).collect()
    }

    #[test]
    fn the_answer_of_the_most_counts_and_of_as_many_the_latest_election() {
        assert_eq!(most(3, &[(1, 9), (2, 1), (2, 1)]), [2], "one that is alone may claim any epoch");
        assert_eq!(most(3, &[(1, 3), (2, 4)]), [2, 1]);
        assert_eq!(most(3, &[]), [0; 0]);
    }

    #[test]
    fn half_of_those_asked_is_not_enough_to_stop_asking() {
        let mut votes = Votes::new(2);
        assert!(!votes.add(Named { at: at(1), epoch: 0 }));
        assert!(votes.add(Named { at: at(1), epoch: 0 }));
        assert!(Votes::new(1).add(Named { at: at(1), epoch: 0 }));
    }

    #[test]
    fn an_answer_is_a_host_and_a_port_with_the_epoch_of_its_election() {
        let reply = b"*2\r\n$8\r\n10.0.0.1\r\n$4\r\n6379\r\n*4\r\n$2\r\nip\r\n$1\r\nx\r\n$12\r\nconfig-epoch\r\n$1\r\n7\r\n";
        assert_eq!(named(reply).unwrap(), Some(Named { at: at(6379), epoch: 7 }));
        let reply = b"*2\r\n$8\r\n10.0.0.1\r\n$4\r\n6379\r\n-ERR x\r\n";
        assert_eq!(named(reply).unwrap().unwrap().epoch, 0);
        assert_eq!(named(b"*-1\r\n-ERR No such master with that name\r\n").unwrap(), None);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for address in [
            "*2\r\n$0\r\n\r\n$4\r\n6379\r\n",
            "*2\r\n$8\r\n10.0.0.1\r\n$1\r\n0\r\n",
            "*2\r\n$8\r\n10.0.0.1\r\n$5\r\n65536\r\n",
            "*2\r\n$8\r\n10 0.0.1\r\n$4\r\n6379\r\n",
            "*2\r\n$8\r\n10\n0.0.1\r\n$4\r\n6379\r\n",
            "*1\r\n$8\r\n10.0.0.1\r\n",
            ":1\r\n",
            "$1\r\nx\r\n",
        ] {
            let replies = format!("{address}*0\r\n");
            assert!(matches!(named(replies.as_bytes()), Err(ConnectError::Nonsense)), "{address}");
        }
        assert!(
            matches!(named(b"-NOAUTH x\r\n-NOAUTH x\r\n"), Err(ConnectError::Auth(code)) if code == "NOAUTH")
        );
        assert!(matches!(named(b"-ERR x\r\n-ERR x\r\n"), Err(ConnectError::Refused(_))));
    }

    #[test]
    fn only_who_says_so_is_a_primary() {
        assert!(check_role(b"*3\r\n$6\r\nmaster\r\n:1\r\n*0\r\n").is_ok());
        for role in ["*5\r\n$5\r\nslave\r\n$1\r\nx\r\n:1\r\n$4\r\nsync\r\n:1\r\n", "*1\r\n$8\r\nsentinel\r\n"]
        {
            assert!(matches!(check_role(role.as_bytes()), Err(ConnectError::NoPrimary)), "{role}");
        }
        assert!(matches!(check_role(b"-NOPERM x\r\n"), Err(ConnectError::Auth(_))));
        assert!(check_role(b"*0\r\n").is_err());
    }
}
