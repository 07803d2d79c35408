//! Configurations that several suites use.

/// A gateway with the embedded rate limit on three routes to the built-in echo: `/open/` lets requests pass when Redis
/// gives no answer, `/closed/` answers 503, and `/plain/` has no plugin. Keys come from the header `x-api-key`.
#[derive(Clone, Debug)]
pub struct RateLimits {
    /// The fields that say where its Redis is.
    place: String,
    limit: u64,
    window: u64,
    resource: String,
    plugin: String,
    listener: String,
}

// === impl RateLimits ===

impl RateLimits {
    /// With this Redis, a limit of a million requests per hour, and the defaults of everything else.
    pub fn new(redis_url: impl AsRef<str>) -> Self {
        Self::at(format!("url: {}", redis_url.as_ref()))
    }

    /// The same with a Redis whose place these fields of the resource say.
    pub fn at(place: impl Into<String>) -> Self {
        RateLimits {
            place: place.into(),
            limit: 1_000_000,
            window: 3600,
            resource: String::new(),
            plugin: String::new(),
            listener: String::new(),
        }
    }

    /// The same with this limit, per window of so many seconds.
    pub fn limit(mut self, limit: u64, window: u64) -> Self {
        (self.limit, self.window) = (limit, window);
        self
    }

    /// The same with another field of the resource, in YAML's flow style: `limits: { call_timeout: 1s }`.
    pub fn resource(mut self, field: &str) -> Self {
        self.resource.push_str(&format!("\n    {field}"));
        self
    }

    /// The same with another field of both plugins.
    pub fn plugin(mut self, field: &str) -> Self {
        self.plugin.push_str(&format!("\n    {field}"));
        self
    }

    /// The same with another field of the listener.
    pub fn listener(mut self, field: &str) -> Self {
        self.listener.push_str(&format!("\n    {field}"));
        self
    }

    /// The document, as it stands in a file.
    pub fn yaml(&self) -> String {
        let routes: String = ["open", "closed"].map(|name| self.route(name)).concat();
        let plugins: String = ["open", "closed"].map(|on_error| self.plugin_entry(on_error)).concat();
        let grants: String = ["open", "closed"].map(grant).concat();
        let RateLimits { place, resource, listener, .. } = self;
        format!(
            "version: 1
listeners:
  - name: main
    address: 127.0.0.1:0{listener}
routes:{routes}
  - name: plain
    match: {{ prefix: /plain/ }}
    cluster: echo
clusters:
  - name: echo
    builtin: echo
plugins:{plugins}
resources:
  - name: limits
    type: redis
    {place}{resource}
    grants:{grants}
"
        )
    }

    fn route(&self, name: &str) -> String {
        format!(
            "
  - name: {name}
    match: {{ prefix: /{name}/ }}
    cluster: echo
    plugins: [{name}]"
        )
    }

    fn plugin_entry(&self, on_error: &str) -> String {
        let RateLimits { limit, window, plugin, .. } = self;
        format!(
            "
  - name: {on_error}
    module: {{ builtin: rate-limit }}
    configuration: {{ limit: {limit}, window: {window}, key: [{{ header: x-api-key }}], on_error: {on_error} }}{plugin}"
        )
    }
}

fn grant(plugin: &str) -> String {
    format!(
        "
      - plugin: {plugin}
        commands: [set, incr, pttl, expire]
        key_prefix: \"test:\""
    )
}
