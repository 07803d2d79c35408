//! All nodes of a cluster, for an operator who asks: primaries, replicas, and those that the others take for dead.

use agw_config::RedisHost;
use agw_redis_commands::HASH_SLOTS;
use agw_wire::resp::{Cursor, Head};

use super::layout::{NODES_MAX, head, read_node, refused};
use crate::connect::address_of;
use crate::error::ConnectError;

/// A node as the line of it in `CLUSTER NODES` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// By its address.
    pub(crate) at: RedisHost,
    /// By its host name, if it announces one.
    pub(crate) named: Option<RedisHost>,
}

/// Every node in the reply that the node `asked` gave to `CLUSTER SLOTS`, each once: those with slots, and the replicas that
/// they have. Replicas that are dead are not in it.
///
/// # Errors
/// [`ConnectError::Nonsense`] for a reply that is not whole; the server's refusal.
pub(crate) fn of_slots(reply: &[u8], asked: &RedisHost) -> Result<Vec<RedisHost>, ConnectError> {
    let mut cursor = Cursor::new(reply);
    let ranges = match head(&mut cursor)? {
        Head::Array(ranges) if ranges <= usize::from(HASH_SLOTS) => ranges,
        Head::Error(text) => return Err(refused(text)),
        _ => return Err(ConnectError::Nonsense),
    };
    let mut found: Vec<RedisHost> = Vec::new();
    for _ in 0..ranges {
        let Head::Array(parts @ 3..=NODES_MAX) = head(&mut cursor)? else {
            return Err(ConnectError::Nonsense);
        };
        for _ in 0..2 {
            cursor.skip().map_err(|_| ConnectError::Nonsense)?;
        }
        for _ in 2..parts {
            let at = read_node(&mut cursor, asked)?;
            if !found.contains(&at) {
                found.push(at);
            }
            if found.len() > NODES_MAX {
                return Err(ConnectError::Nonsense);
            }
        }
    }
    Ok(found)
}

/// The nodes in the text of `CLUSTER NODES`, dead ones included; those without an address are left out.
pub(crate) fn of_nodes(text: &str) -> Vec<Member> {
    text.lines().filter_map(member).take(NODES_MAX).collect()
}

/// `ID 10.0.0.1:6379@16379,name slave,fail ...`
fn member(line: &str) -> Option<Member> {
    let mut words = line.split(' ').skip(1);
    let (place, flags) = (words.next()?, words.next()?);
    if flags.split(',').any(|flag| matches!(flag, "noaddr" | "handshake")) {
        return None;
    }
    let mut parts = place.split(',');
    let (host, ports) = parts.next()?.rsplit_once(':')?;
    let port = ports.split('@').next()?;
    let at = address_of(host.as_bytes(), port.as_bytes())?;
    // Further parts, such as `shard-id=...`, have a name of their own.
    let name = parts.next().filter(|name| !name.contains('='));
    let named = name.and_then(|name| address_of(name.as_bytes(), port.as_bytes()));
    Some(Member { at, named })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> RedisHost {
        RedisHost { host: host.into(), port }
    }

    #[test]
    fn primaries_and_replicas_are_found_and_each_once() {
        let node =
            |host: &str, port: u16| format!("*3\r\n${}\r\n{host}\r\n:{port}\r\n$2\r\nid\r\n", host.len());
        let range = |first: u16, nodes: &[String]| {
            format!("*{}\r\n:{first}\r\n:{first}\r\n{}", nodes.len() + 2, nodes.concat())
        };
        let (a, b, c) = (node("a", 1), node("", 2), node("c", 3));
        let reply = format!("*2\r\n{}{}", range(5, &[a.clone(), b]), range(7, &[a, c]));
        assert_eq!(of_slots(reply.as_bytes(), &at("x", 9)).unwrap(), [at("a", 1), at("x", 2), at("c", 3)]);
        assert_eq!(of_slots(b"*0\r\n", &at("x", 9)).unwrap(), []);
    }

    #[test]
    fn an_answer_that_is_not_whole_or_has_too_many_nodes_is_refused() {
        for reply in ["*16385\r\n", "*1\r\n", "*1\r\n*2\r\n:1\r\n:1\r\n", "*1\r\n*1001\r\n", "+OK\r\n", ""] {
            assert!(
                matches!(of_slots(reply.as_bytes(), &at("x", 9)), Err(ConnectError::Nonsense)),
                "{reply}"
            );
        }
        let many: String =
            (0..1001).map(|port| format!("*3\r\n:1\r\n:1\r\n*2\r\n$1\r\na\r\n:{}\r\n", port + 1)).collect();
        let many = format!("*1001\r\n{many}");
        assert!(matches!(of_slots(many.as_bytes(), &at("x", 9)), Err(ConnectError::Nonsense)));
        let disabled = b"-ERR This instance has cluster support disabled\r\n";
        assert!(matches!(of_slots(disabled, &at("x", 9)), Err(ConnectError::NoCluster)));
    }

    #[test]
    fn dead_nodes_have_a_line_and_those_without_an_address_none() {
        let text = "i1 10.0.0.1:7@17 myself,master - 0 0 1 connected 0-16383\n\
                    i2 10.0.0.2:7@17,two.internal slave,fail i1 0 0 1 disconnected\n\
                    i3 10.0.0.3:7@17,,shard-id=x slave i1 0 0 1 connected\n\
                    i4 :0@0 master,noaddr - 0 0 1 disconnected\ni5 ::1:7@17 handshake - 0 0 1 connected\n\
                    nonsense\ni6 ::1:7@17 master - 0 0 1 connected\n";
        let member =
            |host: &str, name: Option<&str>| Member { at: at(host, 7), named: name.map(|name| at(name, 7)) };
        let (one, two) = (member("10.0.0.1", None), member("10.0.0.2", Some("two.internal")));
        assert_eq!(of_nodes(text), [one, two, member("10.0.0.3", None), member("::1", None)]);
    }
}
