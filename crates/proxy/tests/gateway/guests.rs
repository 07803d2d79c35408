//! Filters written in WebAssembly text: each does one thing, so that a test shows what the gateway makes of it.
#![allow(unreachable_pub)]

use std::sync::Arc;
use std::time::Duration;

use agw_config::{FailurePolicy, ModuleSource, Plugin, PluginLimits, VmMode, VmPolicy};
use agw_telemetry::Metrics;
use agw_wasm::Access;
use agw_wasm::{EngineOptions, HostOptions, LoadedPlugin, PluginHost};

/// Callbacks of a filter, and the texts they use.
pub struct Guest {
    callbacks: String,
    data: String,
    next: usize,
    on_failure: FailurePolicy,
}

pub const REQUEST: u32 = 0;
pub const RESPONSE: u32 = 2;
pub const REQUEST_BODY: u32 = 0;
pub const RESPONSE_BODY: u32 = 1;

impl Guest {
    pub fn new() -> Self {
        let on_failure = FailurePolicy::FailClosed;
        Guest { callbacks: String::new(), data: String::new(), next: 1024, on_failure }
    }

    pub fn fail_open(mut self) -> Self {
        self.on_failure = FailurePolicy::FailOpen;
        self
    }

    /// Address and length of `text`, as two operands.
    fn text(&mut self, text: &str) -> String {
        let at = self.next;
        self.next += text.len();
        let escaped: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
        self.data.push_str(&format!("(data (i32.const {at}) \"{escaped}\")\n"));
        format!("(i32.const {at}) (i32.const {})", text.len())
    }

    /// A callback with its code, which must leave an action. `$eos` is whether the stream ends here.
    fn callback(mut self, name: &str, code: &str) -> Self {
        let callback = format!(
            "(func (export \"proxy_on_{name}\") (param $context i32) (param $size i32) (param $eos i32) (result i32)\n\
             {code})\n"
        );
        self.callbacks.push_str(&callback);
        self
    }

    /// In `name` adds a header to the map and goes on.
    pub fn adds(mut self, name: &str, map: u32, key: &str, value: &str) -> Self {
        let (key, value) = (self.text(key), self.text(value));
        self.callback(name, &format!("(drop (call $add (i32.const {map}) {key} {value})) (i32.const 0)"))
    }

    /// In `name` replaces a header of the map and goes on.
    pub fn replaces(mut self, name: &str, map: u32, key: &str, value: &str) -> Self {
        let (key, value) = (self.text(key), self.text(value));
        self.callback(name, &format!("(drop (call $replace (i32.const {map}) {key} {value})) (i32.const 0)"))
    }

    /// In `name` answers locally.
    pub fn answers(mut self, name: &str, status: u16, details: &str, body: &str) -> Self {
        let (details, body) = (self.text(details), self.text(body));
        let reply = format!(
            "(drop (call $reply (i32.const {status}) {details} {body} (i32.const 0) (i32.const 0) (i32.const -1)))"
        );
        self.callback(name, &format!("{reply} (i32.const 1)"))
    }

    /// In `name` says Pause, and nothing ever resumes it.
    pub fn pauses(self, name: &str) -> Self {
        self.callback(name, "(i32.const 1)")
    }

    /// In the headers callback `name` says Pause; a timer resumes it.
    pub fn pauses_a_while(mut self, name: &str, stream: u32) -> Self {
        let tick = format!(
            "(func (export \"proxy_on_tick\") (param i32)
               (if (global.get $waiting) (then
                 (drop (call $effective (global.get $waiting)))
                 (drop (call $continue (i32.const {stream})))
                 (global.set $waiting (i32.const 0)))))
             (func (export \"proxy_on_configure\") (param i32 i32) (result i32)
               (drop (call $tick (i32.const 20))) (i32.const 1))"
        );
        self.callbacks.push_str(&tick);
        self.callback(name, "(global.set $waiting (local.get $context)) (i32.const 1)")
    }

    /// In the body callback `name` holds everything until the end.
    pub fn gathers(self, name: &str) -> Self {
        self.callback(name, "(i32.eqz (local.get $eos))")
    }

    /// In the body callback `name` holds everything until the end, and replaces it then.
    pub fn gathers_and_replaces(mut self, name: &str, buffer: u32, body: &str) -> Self {
        let body = self.text(body);
        let set = format!(
            "(drop (call $set_buffer (i32.const {buffer}) (i32.const 0) (local.get $size) {body})) (i32.const 0)"
        );
        let code = format!("(if (result i32) (local.get $eos) (then {set}) (else (i32.const 1)))");
        self.callback(name, &code)
    }

    /// In `name` traps.
    pub fn traps(self, name: &str) -> Self {
        self.callback(name, "(unreachable)")
    }

    fn module(&self) -> Vec<u8> {
        let Guest { callbacks, data, .. } = self;
        let text = format!(
            r#"(module
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_replace_header_map_value" (func $replace (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_buffer_bytes" (func $set_buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))
  (memory (export "memory") 1)
  (global $waiting (mut i32) (i32.const 0))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 32768))
  {callbacks}
  {data})"#
        );
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }
}

/// Loads `guests` as plugins named `p0`, `p1` and so on.
pub async fn load(guests: Vec<Guest>) -> Vec<Arc<LoadedPlugin>> {
    let engine = EngineOptions { vms_max: 100, memory_bytes_max: 1 << 20, table_elements_max: 1000 };
    let metrics = Arc::new(Metrics::new());
    let host = PluginHost::new(HostOptions { engine, cache_dir: None, metrics }).unwrap();
    let mut loaded = Vec::new();
    for (index, guest) in guests.into_iter().enumerate() {
        let name = format!("p{index}");
        let plugin = Plugin {
            name: name.clone(),
            module: ModuleSource::Builtin(name.clone()),
            root_id: String::new(),
            configuration: Vec::new(),
            vm_configuration: Vec::new(),
            vm: VmPolicy { mode: VmMode::Shared, max: 10, wait: Duration::from_secs(1) },
            limits: PluginLimits {
                memory_bytes_max: 1 << 20,
                table_elements_max: 1000,
                cpu_time: Duration::from_secs(1),
            },
            on_failure: guest.on_failure,
            reload_backoff: Duration::from_millis(10),
            reload_backoff_max: Duration::from_millis(100),
            foreign_calls_max: 10,
            calls_per_request_max: 64,
        };
        let module = guest.module().into();
        loaded.push(host.load(Arc::new(plugin), module, Access::empty(&name)).await.unwrap());
    }
    loaded
}
