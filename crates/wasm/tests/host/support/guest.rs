//! Small guests in text form.
//!
//! Every guest imports the whole ABI under short names (`$log` is `proxy_log`), and has these of its own:
//!
//! * `(call $print (i32))` logs a number, `(call $say (ptr len))` bytes, `(call $got)` the bytes that the last
//!   hostcall returned; a hostcall that returns bytes is given the cells `CELLS`, at addresses 8 and 12.
//! * `(call $answer)` logs a foreign call's `Response` in the cells: a short reply as it is, an error as 1000 plus its
//!   code, a call id as 2000 plus the id.
//! * `<<text>>` stands for address and length of that text; `\hh` in it is a byte.

use std::collections::HashMap;
use std::fmt::Write;

use bytes::Bytes;

/// The ABI of 0.2.1: every function without its `proxy_`, its parameters (`i` 32 bits, `l` 64). All return a status.
pub(crate) const ABI: [(&str, &str); 39] = [
    ("log", "iii"),
    ("get_log_level", "i"),
    ("get_current_time_nanoseconds", "i"),
    ("set_tick_period_milliseconds", "i"),
    ("set_effective_context", "i"),
    ("done", ""),
    ("get_status", "iii"),
    ("get_buffer_bytes", "iiiii"),
    ("get_buffer_status", "iii"),
    ("set_buffer_bytes", "iiiii"),
    ("get_header_map_size", "ii"),
    ("get_header_map_pairs", "iii"),
    ("set_header_map_pairs", "iii"),
    ("get_header_map_value", "iiiii"),
    ("add_header_map_value", "iiiii"),
    ("replace_header_map_value", "iiiii"),
    ("remove_header_map_value", "iii"),
    ("continue_stream", "i"),
    ("close_stream", "i"),
    ("send_local_response", "iiiiiiii"),
    ("http_call", "iiiiiiiiii"),
    ("grpc_call", "iiiiiiiiiiii"),
    ("grpc_stream", "iiiiiiiii"),
    ("grpc_send", "iiii"),
    ("grpc_cancel", "i"),
    ("grpc_close", "i"),
    ("get_shared_data", "iiiii"),
    ("set_shared_data", "iiiii"),
    ("register_shared_queue", "iii"),
    ("resolve_shared_queue", "iiiii"),
    ("enqueue_shared_queue", "iii"),
    ("dequeue_shared_queue", "iii"),
    ("define_metric", "iiii"),
    ("increment_metric", "il"),
    ("record_metric", "il"),
    ("get_metric", "ii"),
    ("get_property", "iiii"),
    ("set_property", "iiii"),
    ("call_foreign_function", "iiiiii"),
];

/// WASI's functions that guests in the tests use.
const WASI: [(&str, &str, &str); 5] = [
    ("fd_write", "iiii", "(result i32)"),
    ("clock_time_get", "ili", "(result i32)"),
    ("random_get", "ii", "(result i32)"),
    ("environ_sizes_get", "ii", "(result i32)"),
    ("proc_exit", "i", ""),
];

/// Callbacks: parameters and result.
const CALLBACKS: [(&str, &str, &str); 15] = [
    ("context_create", "(param $ctx i32) (param $parent i32)", ""),
    ("vm_start", "(param $ctx i32) (param $size i32)", "(result i32)"),
    ("configure", "(param $ctx i32) (param $size i32)", "(result i32)"),
    ("tick", "(param $ctx i32)", ""),
    ("request_headers", "(param $ctx i32) (param $n i32) (param $eos i32)", "(result i32)"),
    ("request_body", "(param $ctx i32) (param $size i32) (param $eos i32)", "(result i32)"),
    ("request_trailers", "(param $ctx i32) (param $n i32)", "(result i32)"),
    ("response_headers", "(param $ctx i32) (param $n i32) (param $eos i32)", "(result i32)"),
    ("response_body", "(param $ctx i32) (param $size i32) (param $eos i32)", "(result i32)"),
    ("response_trailers", "(param $ctx i32) (param $n i32)", "(result i32)"),
    ("foreign_function", "(param $ctx i32) (param $id i32) (param $size i32)", ""),
    ("done", "(param $ctx i32)", "(result i32)"),
    ("log", "(param $ctx i32)", ""),
    ("delete", "(param $ctx i32)", ""),
    ("queue_ready", "(param $ctx i32) (param $id i32)", ""),
];

const SUPPORT: &str = r#"
  (global $heap (mut i32) (i32.const 65536))
  (global $a (mut i32) (i32.const 0))
  (global $b (mut i32) (i32.const 0))
  (func $say (param $ptr i32) (param $len i32)
    (drop (call $log (i32.const 2) (local.get $ptr) (local.get $len))))
  (func $got
    (call $say (i32.load (i32.const 8)) (i32.load (i32.const 12))))
  (func $print (param $n i32)
    (local $at i32)
    (local.set $at (i32.const 64))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
      (local.set $n (i32.div_u (local.get $n) (i32.const 10)))
      (br_if $digit (local.get $n)))
    (call $say (local.get $at) (i32.sub (i32.const 64) (local.get $at))))
  (func $answer
    (local $at i32)
    (local $tag i32)
    (local.set $at (i32.load (i32.const 8)))
    (local.set $tag (i32.load8_u (local.get $at)))
    (if (i32.eq (local.get $tag) (i32.const 0x0a))
      (then (call $say (i32.add (local.get $at) (i32.const 2)) (i32.sub (i32.load (i32.const 12)) (i32.const 2)))))
    (if (i32.eq (local.get $tag) (i32.const 0x12))
      (then (call $print (i32.add (i32.const 1000) (i32.load8_u offset=3 (local.get $at))))))
    (if (i32.eq (local.get $tag) (i32.const 0x18))
      (then (call $print (i32.add (i32.const 2000) (i32.load8_u offset=1 (local.get $at)))))))
"#;

/// Grows the memory when it has to; 0 when it cannot.
const MALLOC: &str = r#"
  (func $malloc (export "malloc") (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $heap))
    (global.set $heap (i32.and (i32.add (i32.add (local.get $at) (local.get $size)) (i32.const 7)) (i32.const -8)))
    (if (i32.gt_u (global.get $heap) (i32.shl (memory.size) (i32.const 16)))
      (then
        (if (i32.eq (i32.const -1)
              (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get $size) (i32.const 16)))))
          (then (return (i32.const 0))))))
    (local.get $at))
"#;

/// A guest being written.
#[derive(Clone)]
pub(crate) struct Guest {
    marker: String,
    memory: String,
    malloc: String,
    imports: String,
    body: String,
}

impl Guest {
    /// One that does nothing.
    pub(crate) fn new() -> Guest {
        Guest {
            marker: "proxy_abi_version_0_2_1".into(),
            memory: r#"(memory (export "memory") 2)"#.into(),
            malloc: MALLOC.into(),
            imports: String::new(),
            body: String::new(),
        }
    }

    /// Another ABI marker; an empty one is none.
    pub(crate) fn marker(mut self, marker: &str) -> Guest {
        self.marker = marker.into();
        self
    }

    /// Another memory, or none.
    pub(crate) fn memory(mut self, memory: &str) -> Guest {
        self.memory = memory.into();
        self
    }

    /// Another allocator, or none.
    pub(crate) fn malloc(mut self, malloc: &str) -> Guest {
        self.malloc = malloc.into();
        self
    }

    /// One more import.
    pub(crate) fn import(mut self, import: &str) -> Guest {
        self.imports.push_str(import);
        self
    }

    /// Anything else.
    pub(crate) fn with(mut self, text: &str) -> Guest {
        self.body.push_str(text);
        self.body.push('\n');
        self
    }

    /// A callback `proxy_on_{name}`; its parameters are `$ctx` and, as they fit, `$n`, `$size`, `$eos`, `$id`.
    pub(crate) fn on(self, name: &str, body: &str) -> Guest {
        let (_, params, result) = CALLBACKS.iter().find(|(known, ..)| *known == name).expect("a callback");
        self.with(&format!(r#"(func (export "proxy_on_{name}") {params} {result} {body})"#))
    }

    /// A callback that logs its name and says 0.
    pub(crate) fn says(self, name: &str) -> Guest {
        let (_, _, result) = CALLBACKS.iter().find(|(known, ..)| *known == name).expect("a callback");
        let value = if result.is_empty() { "" } else { "(i32.const 0)" };
        self.on(name, &format!("(call $say <<{name}>>) {value}"))
    }

    /// The module.
    pub(crate) fn build(self) -> Bytes {
        let mut text = String::from("(module\n");
        for (name, params) in ABI {
            let _ = writeln!(
                text,
                r#"(import "env" "proxy_{name}" (func ${name} {} (result i32)))"#,
                self::params(params)
            );
        }
        for (name, params, result) in WASI {
            let _ = writeln!(
                text,
                r#"(import "wasi_snapshot_preview1" "{name}" (func ${name} {} {result}))"#,
                self::params(params)
            );
        }
        text.push_str(&self.imports);
        text.push_str(&self.memory);
        if !self.marker.is_empty() {
            let _ = writeln!(text, r#"(func (export "{}"))"#, self.marker);
        }
        if !self.memory.is_empty() {
            text.push_str(SUPPORT);
            text.push_str(&self.malloc);
        }
        text.push_str(&expand(&self.body));
        text.push(')');
        match wat::parse_str(&text) {
            Ok(module) => module.into(),
            Err(error) => panic!("{error}\n{text}"),
        }
    }
}

fn params(letters: &str) -> String {
    letters.chars().map(|letter| if letter == 'l' { "(param i64)" } else { "(param i32)" }).collect()
}

/// Puts texts into the memory, from address 1024 on, and names them by address and length.
fn expand(body: &str) -> String {
    let (mut out, mut data) = (String::new(), String::new());
    let mut known: HashMap<&str, usize> = HashMap::new();
    let mut next = 1024;
    let mut rest = body;
    while let Some((before, after)) = rest.split_once("<<") {
        let (text, after) = after.split_once(">>").expect("a closed text");
        let len = text.len() - 2 * text.matches('\\').count();
        let address = *known.entry(text).or_insert_with(|| {
            let _ = writeln!(data, r#"(data (i32.const {next}) "{text}")"#);
            let address = next;
            next += len;
            address
        });
        let _ = write!(out, "{before}(i32.const {address}) (i32.const {len})");
        rest = after;
    }
    assert!(next <= 65536, "the texts reach into the heap");
    (out + rest + &data).replace("CELLS", "(i32.const 8) (i32.const 12)")
}

/// Bytes as they are written in `<<...>>`.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "\\{byte:02x}");
        out
    })
}
