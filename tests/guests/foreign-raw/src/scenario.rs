//! From a path to calls.

use crate::request::{Batch, Command, head, redis};
use crate::sql;

/// One call: the function's name and its arguments.
pub(crate) struct Call {
    pub(crate) function: &'static str,
    pub(crate) payload: Vec<u8>,
}

/// What a path asks for.
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) callback: bool,
    pub(crate) key: Vec<u8>,
}

impl Scenario {
    /// Reads `/STYLE/NAME?KEY`.
    pub(crate) fn parse(path: &str) -> Option<Scenario> {
        let (path, key) = path.split_once('?').unwrap_or((path, ""));
        let (style, name) = path.strip_prefix('/')?.split_once('/')?;
        let callback = match style {
            "blocking" => false,
            "callback" => true,
            _ => return None,
        };
        Some(Scenario { name: name.to_owned(), callback, key: key.as_bytes().to_vec() })
    }

    /// The calls, in their order; `None` if there is no such scenario.
    pub(crate) fn calls(&self) -> Option<Vec<Call>> {
        let key = self.key.as_slice();
        let get: Command<'_> = &[b"GET", key];
        let incr: Command<'_> = &[b"INCR", key];
        let one: Command<'_> = &[b"SET", key, b"1"];
        let raw = |payload: Vec<u8>| vec![Call { function: "agw_redis", payload }];
        let run = |commands: &[Command<'_>]| raw(self.batch(commands, false));
        Some(match self.name.as_str() {
            "get" | "resume" => run(&[get]),
            "set" => run(&[&[b"SET", key, b"a\0\xff\r\nb"]]),
            "incr" => run(&[incr]),
            "pipeline" => run(&[one, incr, &[b"LPUSH", key, b"x"], get]),
            "atomic" => raw(self.batch(&[one, incr, get], true)),
            "denied" => run(&[&[b"FLUSHALL"]]),
            "unknown-command" => run(&[&[b"NOSUCH", key]]),
            "unknown-resource" => raw(redis(Batch { resource: "nowhere", ..self.plain(&[get]) })),
            "nothing" => raw(head("store", self.callback)),
            "undecodable" => raw(vec![0xff, 0xff]),
            "unknown-field" => raw([head("store", self.callback), vec![0x98, 0x06, 0x01]].concat()),
            "unknown-function" => vec![Call { function: "agw_nothing", payload: head("store", false) }],
            "deadline" => raw(redis(Batch { deadline_ms: 100, ..self.plain(&[get]) })),
            // The second one is refused at once.
            "many" => [run(&[one]), run(&[&[b"FLUSHALL"]]), run(&[incr]), run(&[incr]), run(&[get])]
                .into_iter()
                .flatten()
                .collect(),
            // Every beginning of a request, the empty one first.
            "cut" => {
                let whole = self.batch(&[one, get], true);
                let cut = |end| Call { function: "agw_redis", payload: whole[..end].to_vec() };
                (0..whole.len()).map(cut).collect()
            }
            "too-large" => run(&[&[b"SET", key, &vec![b'x'; 300 * 1024]]]),
            // Its call comes when the stream is over.
            "log" => Vec::new(),
            "cancel" => [run(&[get]), run(&[incr])].into_iter().flatten().collect(),
            name => return sql::calls(name, self.callback, key),
        })
    }

    /// The call to make when the stream is over.
    pub(crate) fn at_the_end(&self) -> Option<Call> {
        let payload = self.batch(&[&[b"INCR", &self.key]], false);
        (self.name == "log").then_some(Call { function: "agw_redis", payload })
    }

    /// A last call, for what comes before it to show.
    pub(crate) fn fence(&self) -> Vec<u8> {
        self.batch(&[&[b"GET", &self.key]], false)
    }

    fn batch(&self, commands: &[Command<'_>], atomic: bool) -> Vec<u8> {
        redis(Batch { atomic, ..self.plain(commands) })
    }

    fn plain<'a>(&self, commands: &'a [Command<'a>]) -> Batch<'a> {
        Batch { resource: "store", callback: self.callback, deadline_ms: 0, commands, atomic: false }
    }
}
