//! The document, by what changes in it.

use std::net::SocketAddr;

use super::servers::Servers;

/// What the limit is more than the number.
pub(super) const LIMIT: u64 = 1_000_000_000;

pub(super) struct Document {
    redis: String,
    sql: String,
    /// What the four places have.
    pub(super) number: u64,
    /// Connections of the database's pool.
    pub(super) pool: u32,
    /// A second listener.
    pub(super) extra: Option<SocketAddr>,
}

impl Document {
    pub(super) fn new(servers: &Servers) -> Self {
        Document { redis: servers.redis_url(), sql: servers.sql_url(), number: 1, pool: 4, extra: None }
    }

    pub(super) fn yaml(&self) -> String {
        let Document { redis, sql, number, pool, .. } = self;
        let extra = self.extra.map(|address| format!("\n- {{ name: extra, address: \"{address}\" }}"));
        format!(
            "version: 1
listeners:
- {{ name: main, address: \"127.0.0.1:0\" }}{extra}
routes:
- {{ name: light, match: {{ prefix: /light }}, respond: {{ body: \"{number}\" }}, plugins: [first, last] }}
- {{ name: limited, match: {{ prefix: /limited }}, respond: {{ body: \"{number}\" }}, plugins: [first, limit, last] }}
- {{ name: account, match: {{ prefix: /account }}, respond: {{ body: \"{number}\" }}, plugins: [first, keys, last] }}
plugins:
- {{ name: first, module: {{ file: first.wasm }}, configuration: \"response-set x-first {number}\" }}
- {{ name: last, module: {{ file: first.wasm }}, configuration: \"response-set x-last {number}\" }}
- name: limit
  module: {{ builtin: rate-limit }}
  vm: {{ mode: shared }}
  configuration: {{ limit: {limit}, window: 3600, on_error: closed }}
- name: keys
  module: {{ builtin: api-key-auth }}
  vm: {{ mode: shared }}
  configuration: {{ header: x-api-key, resource: users, statement: find, on_error: closed }}
resources:
- name: limits
  type: redis
  url: {redis}
  username: agw
  password: {{ file: redis.secret }}
  pool: {{ max: {pool}, leased: 1 }}
  limits: {{ call_timeout: 5s }}
  grants: [{{ plugin: limit, commands: [set, incr, pttl], key_prefix: \"l:\" }}]
- name: users
  type: postgres
  url: {sql}
  username: agw
  password: {{ file: sql.secret }}
  pool: {{ min: {pool}, max: {pool}, acquire_timeout: 5s }}
  limits: {{ call_timeout: 5s }}
  statements: {{ find: \"SELECT user_id, tier FROM api_keys WHERE key_hash = $1\" }}
  grants: [{{ plugin: keys, statements: [find], read_only: true }}]
",
            extra = extra.unwrap_or_default(),
            limit = LIMIT + number,
        )
    }
}
