//! Other people's keys: beside the prefix, and looking much like it.

use std::collections::{BTreeMap, BTreeSet};

use super::server::Connection;

/// Of the grant under test. Its bytes mean something to `MATCH`, so that a missing escape shows.
pub(crate) const PREFIX: &str = "tenant[7]:";

/// Starts every value, field and member outside; the guest never sends it.
const SECRET: &str = "S3CR3T";
/// Is in every name outside that the guest does not know.
const SECRET_NAME: &str = "H1DD3N";

/// Names outside that the guest knows, and plants into arguments. The last ones match the prefix as a pattern.
pub(crate) const KNOWN: &[&str] = &[
    "outside:s",
    "outside:n",
    "outside:h",
    "outside:l",
    "outside:e",
    "outside:z",
    "outside:x",
    "outside:g",
    "outside:p",
    "",
    "tenant",
    "tenant[7]",
    "tenant[7",
    "TENANT[7]:s0",
    "xtenant[7]:s0",
    "tenant[70]:s0",
    "tenant7:s0",
    "tenant7:h0",
];

const HIDDEN: &[&str] = &["H1DD3N:s", "outside:H1DD3N", "tenant7:H1DD3N", "tenant[7]H1DD3N", "a-H1DD3N"];

pub(crate) struct Planted {
    names: BTreeSet<Vec<u8>>,
    dumps: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Planted {
    pub(crate) fn plant(connection: &mut Connection) -> Planted {
        for name in KNOWN.iter().chain(HIDDEN) {
            plant_one(connection, name);
        }
        connection.ask(&[b"PEXPIREAT", b"outside:s", b"99999999999999"]);
        let names: BTreeSet<_> = connection.strings(&[b"KEYS", b"*"]).unwrap().into_iter().collect();
        assert_eq!(names.len(), KNOWN.len() + HIDDEN.len());
        let dumps = names.iter().map(|name| (name.clone(), state(connection, name))).collect();
        Planted { names, dumps }
    }

    pub(crate) fn assert_untouched(&self, connection: &mut Connection) {
        let now: BTreeSet<_> = connection.strings(&[b"KEYS", b"*"]).unwrap().into_iter().collect();
        let foreign: BTreeSet<_> =
            now.into_iter().filter(|name| !name.starts_with(PREFIX.as_bytes())).collect();
        assert_eq!(foreign, self.names, "keys outside the prefix came or went");
        for (name, dump) in &self.dumps {
            assert_eq!(&state(connection, name), dump, "{:?} has changed", String::from_utf8_lossy(name));
        }
        let info = connection.ask(&[b"INFO", b"keyspace"]);
        let databases = String::from_utf8_lossy(&info).matches(":keys=").count();
        assert_eq!(databases, 1, "a key went to another database");
    }

    pub(crate) fn assert_not_shown(&self, reply: &[u8], line: &[Vec<u8>]) {
        for token in [SECRET, SECRET_NAME] {
            let shown = reply.windows(token.len()).any(|window| window == token.as_bytes());
            assert!(!shown, "{line:?} was answered {:?}", String::from_utf8_lossy(reply));
        }
    }

    /// What the guest finds of its own; the answer is the state of these keys.
    pub(crate) fn plant_own(connection: &mut Connection) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut own = BTreeMap::new();
        for suffix in super::hostile::own_names() {
            let name = [PREFIX.as_bytes(), &suffix].concat();
            let kind = suffix.first().copied().unwrap_or(b's');
            fill(connection, &name, kind, "mine");
            // PFCOUNT is no write to the server, but keeps its result in the value.
            if kind != b'p' {
                own.insert(name.clone(), state(connection, &name));
            }
        }
        own
    }

    pub(crate) fn assert_own_untouched(own: &BTreeMap<Vec<u8>, Vec<u8>>, connection: &mut Connection) {
        for (name, before) in own {
            let now = state(connection, name);
            assert_eq!(
                &now,
                before,
                "{:?} has changed under a read-only grant",
                String::from_utf8_lossy(name)
            );
        }
    }

    /// Drops the guest's keys and plants a few again.
    pub(crate) fn renew_own(connection: &mut Connection) {
        for name in connection.strings(&[b"KEYS", b"tenant\\[7\\]:*"]).unwrap() {
            connection.ask(&[b"DEL", &name]);
        }
        Planted::plant_own(connection);
    }
}

fn state(connection: &mut Connection, name: &[u8]) -> Vec<u8> {
    let mut state = connection.ask(&[b"DUMP", name]);
    state.extend(connection.ask(&[b"PEXPIRETIME", name]));
    state
}

fn plant_one(connection: &mut Connection, name: &str) {
    let kind = name.strip_prefix("outside:").and_then(|rest| rest.bytes().next()).unwrap_or(b's');
    fill(connection, name.as_bytes(), kind, SECRET);
}

fn fill(connection: &mut Connection, name: &[u8], kind: u8, token: &str) {
    let one = format!("{token}-1");
    let two = format!("{token}-2");
    let (one, two) = (one.as_bytes(), two.as_bytes());
    match kind {
        b'h' => connection.ask(&[b"HSET", name, one, two, two, one]),
        b'l' => connection.ask(&[b"RPUSH", name, one, two]),
        b'e' => connection.ask(&[b"SADD", name, one, two]),
        b'z' => connection.ask(&[b"ZADD", name, b"1", one, b"2", two]),
        b'x' => {
            connection.ask(&[b"XADD", name, b"1-1", one, two]);
            connection.ask(&[b"XGROUP", b"CREATE", name, b"g1", b"0"])
        }
        b'g' => connection.ask(&[b"GEOADD", name, b"13.36", b"38.11", one, b"15.08", b"37.50", two]),
        b'p' => connection.ask(&[b"PFADD", name, one, two]),
        b'n' => connection.ask(&[b"SET", name, b"7391"]),
        _ => connection.ask(&[b"SET", name, one]),
    };
}
