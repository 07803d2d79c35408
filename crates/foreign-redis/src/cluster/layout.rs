//! What nodes answer to `CLUSTER SLOTS`, and what is made of several answers.
//!
//! Read with bounds: a node may lie. Of several answers that of the most counts, slot by slot, so that one node alone
//! cannot draw keys to itself.

use agw_config::RedisHost;
use agw_redis_commands::HASH_SLOTS;
use agw_wire::resp::{Cursor, Head};

use crate::connect::address_of;
use crate::error::ConnectError;

/// Nodes of one cluster; its specification speaks of a thousand.
pub(crate) const NODES_MAX: usize = 1000;
/// Bytes of an answer: a line for each of as many ranges as there are slots, with a replica each.
pub(crate) const REPLY_BYTES_MAX: usize = 4 << 20;
/// In place of a node: nobody has the slot.
pub(super) const NOBODY: u16 = u16::MAX;

/// Who has which slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// By hash slot, a place in `hosts`, or [`NOBODY`].
    pub(super) owners: Vec<u16>,
    /// Primaries.
    pub(super) hosts: Vec<RedisHost>,
}

// === impl Layout ===

impl Layout {
    fn empty() -> Self {
        Layout { owners: vec![NOBODY; usize::from(HASH_SLOTS)], hosts: Vec::new() }
    }

    /// Reads the reply that the node `asked` gave to `CLUSTER SLOTS`.
    ///
    /// # Errors
    /// [`ConnectError::Nonsense`] for one that is not whole and free of contradictions; the server's refusal.
    pub(super) fn read(reply: &[u8], asked: &RedisHost) -> Result<Self, ConnectError> {
        let mut cursor = Cursor::new(reply);
        let ranges = match head(&mut cursor)? {
            Head::Array(ranges) if ranges <= usize::from(HASH_SLOTS) => ranges,
            Head::Error(text) => return Err(refused(text)),
            _ => return Err(ConnectError::Nonsense),
        };
        let mut layout = Layout::empty();
        for _ in 0..ranges {
            layout.read_range(&mut cursor, asked)?;
        }
        Ok(layout)
    }

    /// `[first, last, [host, port, ...], replicas ...]`
    fn read_range(&mut self, cursor: &mut Cursor<'_>, asked: &RedisHost) -> Result<(), ConnectError> {
        let Head::Array(parts @ 3..=NODES_MAX) = head(cursor)? else { return Err(ConnectError::Nonsense) };
        let (first, last) = (slot(cursor)?, slot(cursor)?);
        let owner = self.place(read_node(cursor, asked)?)?;
        for _ in 3..parts {
            cursor.skip().map_err(|_| ConnectError::Nonsense)?;
        }
        let range = self.owners.get_mut(first..=last).ok_or(ConnectError::Nonsense)?;
        if range.is_empty() || range.iter().any(|taken| *taken != NOBODY) {
            return Err(ConnectError::Nonsense);
        }
        range.fill(owner);
        Ok(())
    }

    fn place(&mut self, at: RedisHost) -> Result<u16, ConnectError> {
        let place = self.hosts.iter().position(|known| *known == at).unwrap_or(self.hosts.len());
        if place == self.hosts.len() {
            if place >= NODES_MAX {
                return Err(ConnectError::Nonsense);
            }
            self.hosts.push(at);
        }
        u16::try_from(place).map_err(|_| ConnectError::Nonsense)
    }

    /// For each slot what the most of `layouts` say; where as many say otherwise, what the first of them says.
    pub(super) fn agreed(layouts: &[Layout]) -> Self {
        let mut agreed = Layout::empty();
        // Places in the hosts of all.
        let places: Vec<Vec<u16>> = layouts
            .iter()
            .map(|layout| layout.hosts.iter().map(|at| agreed.place(at.clone()).unwrap_or(NOBODY)).collect())
            .collect();
        let said = |(layout, places): (&Layout, &Vec<u16>), slot: usize| {
            let owner = layout.owners.get(slot).copied().unwrap_or(NOBODY);
            places.get(usize::from(owner)).copied().unwrap_or(NOBODY)
        };
        for slot in 0..agreed.owners.len() {
            let all: Vec<u16> = layouts.iter().zip(&places).map(|one| said(one, slot)).collect();
            let votes = |owner: u16| all.iter().filter(|other| **other == owner).count();
            // The last of the greatest is what max_by_key gives, hence the reverse.
            let most = all.iter().rev().max_by_key(|owner| votes(**owner));
            if let (Some(most), Some(owner)) = (most, agreed.owners.get_mut(slot)) {
                *owner = *most;
            }
        }
        agreed.without_idle()
    }

    /// Without hosts that have no slot: nobody needs a connection there.
    fn without_idle(self) -> Self {
        let mut busy = Layout::empty();
        let mut places = vec![None; self.hosts.len()];
        for (slot, owner) in self.owners.iter().enumerate() {
            let place = usize::from(*owner);
            let (Some(at), Some(known)) = (self.hosts.get(place), places.get_mut(place)) else { continue };
            let owner = *known.get_or_insert_with(|| busy.place(at.clone()).unwrap_or(NOBODY));
            if let Some(slot) = busy.owners.get_mut(slot) {
                *slot = owner;
            }
        }
        busy
    }
}

pub(super) fn head<'a>(cursor: &mut Cursor<'a>) -> Result<Head<'a>, ConnectError> {
    cursor.head().map_err(|_| ConnectError::Nonsense)
}

fn slot(cursor: &mut Cursor<'_>) -> Result<usize, ConnectError> {
    match head(cursor)? {
        Head::Int(slot) => usize::try_from(slot).map_err(|_| ConnectError::Nonsense),
        _ => Err(ConnectError::Nonsense),
    }
}

/// A node without a host is at the one that was asked.
pub(super) fn read_node(cursor: &mut Cursor<'_>, asked: &RedisHost) -> Result<RedisHost, ConnectError> {
    let Head::Array(parts @ 2..=16) = head(cursor)? else { return Err(ConnectError::Nonsense) };
    let host = match head(cursor)? {
        Head::Bulk(b"" | b"?") | Head::Null => asked.host.as_bytes(),
        Head::Bulk(host) => host,
        _ => return Err(ConnectError::Nonsense),
    };
    let Head::Int(port) = head(cursor)? else { return Err(ConnectError::Nonsense) };
    for _ in 2..parts {
        cursor.skip().map_err(|_| ConnectError::Nonsense)?;
    }
    address_of(host, port.to_string().as_bytes()).ok_or(ConnectError::Nonsense)
}

pub(super) fn refused(text: &[u8]) -> ConnectError {
    let code = crate::reply::error_code(text);
    match code.as_str() {
        "NOAUTH" | "WRONGPASS" | "NOPERM" => ConnectError::Auth(code),
        "ERR" => ConnectError::NoCluster,
        _ => ConnectError::Refused(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> RedisHost {
        RedisHost { host: "10.0.0.1".into(), port }
    }

    fn range(first: i64, last: i64, host: &str, port: i64) -> String {
        let len = host.len();
        format!("*3\r\n:{first}\r\n:{last}\r\n*3\r\n${len}\r\n{host}\r\n:{port}\r\n$2\r\nid\r\n")
    }

    fn read(ranges: &[String]) -> Result<Layout, ConnectError> {
        Layout::read(format!("*{}\r\n{}", ranges.len(), ranges.concat()).as_bytes(), &at(1))
    }

    fn whole(port: i64) -> Layout {
        read(&[range(0, 16383, "10.0.0.1", port)]).unwrap()
    }

    #[test]
    fn ranges_say_who_has_which_slot() {
        let layout = read(&[range(0, 99, "10.0.0.1", 7), range(100, 16383, "", 8), range(0, -1, "x", 1)]);
        assert!(layout.is_err(), "one that ends before it begins");
        let layout = read(&[range(0, 99, "10.0.0.1", 7), range(200, 16383, "", 8)]).unwrap();
        assert_eq!(layout.hosts, [at(7), at(8)]);
        assert_eq!((layout.owners[0], layout.owners[99], layout.owners[100]), (0, 0, NOBODY));
        assert_eq!((layout.owners[200], layout.owners[16383]), (1, 1));
    }

    #[test]
    fn replicas_and_further_words_of_a_node_are_passed_over() {
        let reply = "*1\r\n*4\r\n:5\r\n:5\r\n*4\r\n$1\r\na\r\n:7\r\n$2\r\nid\r\n*2\r\n$8\r\nhostname\r\n$1\r\nb\r\n\
                     *3\r\n$1\r\nc\r\n:8\r\n$2\r\nid\r\n";
        let layout = Layout::read(reply.as_bytes(), &at(1)).unwrap();
        assert_eq!((layout.hosts.len(), layout.owners[5]), (1, 0));
    }

    #[test]
    fn an_answer_that_contradicts_itself_or_has_no_end_is_refused() {
        for ranges in [
            vec![range(0, 16384, "a", 1)],
            vec![range(-1, 5, "a", 1)],
            vec![range(0, 5, "a", 1), range(5, 6, "b", 1)],
            vec![range(0, 5, "a", 0)],
            vec![range(0, 5, "a", 65536)],
            vec![range(0, 5, "a b", 1)],
            vec![range(0, 5, &"a".repeat(300), 1)],
            (0..1001).map(|slot| range(slot, slot, "a", slot + 1)).collect(),
        ] {
            assert!(matches!(read(&ranges), Err(ConnectError::Nonsense)), "{:?}", ranges.first());
        }
        for reply in [
            "*16385\r\n",
            "*1\r\n",
            "+OK\r\n",
            "*1\r\n*2\r\n:1\r\n:2\r\n",
            "",
            "*1\r\n*3\r\n:1\r\n:2\r\n*1\r\n:1\r\n",
        ] {
            assert!(matches!(Layout::read(reply.as_bytes(), &at(1)), Err(ConnectError::Nonsense)), "{reply}");
        }
        let refusal = b"-ERR This instance has cluster support disabled\r\n";
        assert!(matches!(Layout::read(refusal, &at(1)), Err(ConnectError::NoCluster)));
        assert!(matches!(Layout::read(b"-NOPERM x\r\n", &at(1)), Err(ConnectError::Auth(_))));
    }

    #[test]
    fn one_node_alone_draws_no_key_to_itself() {
        let agreed = Layout::agreed(&[whole(666), whole(7), whole(7)]);
        assert_eq!(agreed, whole(7), "and its host is forgotten");
        let nothing = read(&[]).unwrap();
        assert_eq!(Layout::agreed(&[nothing.clone(), whole(7), whole(7)]), whole(7));
        assert_eq!(Layout::agreed(std::slice::from_ref(&nothing)), nothing);
    }

    #[test]
    fn a_slot_that_some_have_not_heard_of_is_where_the_most_say_that_it_is() {
        let moved = |slot: i64| {
            let ranges = [
                range(0, slot - 1, "10.0.0.1", 7),
                range(slot, slot, "10.0.0.1", 8),
                range(slot + 1, 16383, "10.0.0.1", 7),
            ];
            read(&ranges).unwrap()
        };
        let agreed = Layout::agreed(&[moved(5), whole(7), moved(5)]);
        assert_eq!(agreed.hosts[usize::from(agreed.owners[5])], at(8));
        assert_eq!(agreed.hosts[usize::from(agreed.owners[6])], at(7));
        let agreed = Layout::agreed(&[moved(5), whole(7)]);
        assert_eq!(agreed.hosts[usize::from(agreed.owners[5])], at(8), "of as many the first");
    }
}
