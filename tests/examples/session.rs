use agw_tests::{Client, Gateway, RedisServer, Reply, Script, Upstream};
use anyhow::{Context, Result};
use redis::Connection;

use crate::document::Document;

const ID: &str = "0123456789abcdef0123456789abcdef";

struct World {
    redis: RedisServer,
    upstream: Upstream,
    gateway: Gateway,
}

impl World {
    /// The example's own document with changes; the upstream logs in whoever asks for `/login`.
    fn start(changes: &[(&str, &str)]) -> Result<World> {
        let redis = RedisServer::start()?;
        let upstream = Upstream::start(|request| match request.path.as_str() {
            "/login" => Script::ok("welcome").header("x-session-start", "alice"),
            _ => Script::ok("hello"),
        })?;
        let mut document = Document::of("session")?
            .with("redis://127.0.0.1:6379/0", &redis.url())?
            .with("builtin: echo", &format!("endpoints: [\"{}\"]", upstream.address()))?;
        for (old, new) in changes {
            document = document.with(old, new)?;
        }
        let gateway = document.start()?;
        Ok(World { redis, upstream, gateway })
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Reply> {
        Client::new(self.gateway.address()?).get_with(path, headers).await
    }

    /// Whom the upstream took the last request to be from.
    fn user(&self) -> Result<Option<String>> {
        let seen = self.upstream.last()?;
        seen.headers.get("x-session-user").map(|user| Ok(user.to_str()?.to_owned())).transpose()
    }

    /// Calls of Redis so far.
    fn calls(&self) -> Result<f64> {
        let metrics = self.gateway.metrics()?;
        Ok(metrics.value("agw_resource_operation_duration_seconds_count", &[]).unwrap_or(0.0))
    }
}

fn run<T: redis::FromRedisValue>(redis: &mut Connection, command: &[&str]) -> Result<T> {
    let (name, args) = command.split_first().context("a command")?;
    Ok(redis::cmd(name).arg(args).query(redis)?)
}

#[tokio::test]
async fn bad_configurations_are_refused_by_the_fields_name() -> Result<()> {
    for (bad, field) in
        [("ttl: 0", "configuration: ttl:"), ("tll: 5", "configuration: tll: there is no such")]
    {
        let refusal = Document::of("session")?.with("ttl: 1800", bad)?.refusal()?;
        assert!(refusal.contains(field), "{refusal}");
    }
    Ok(())
}

#[tokio::test]
async fn nobody_becomes_a_user_without_a_session() -> Result<()> {
    let world = World::start(&[])?;
    let mut redis = world.redis.connection()?;
    run::<()>(&mut redis, &["SET", &format!("session:{ID}"), "outside the prefix", "EX", "60"])?;
    let cookie = format!("sid={ID}");
    let cases: [&[(&str, &str)]; 4] = [
        &[("x-session-user", "root")],
        &[("x-session-user", "root"), ("x-session-user", "root too"), ("cookie", &cookie)],
        &[("cookie", "sid=short; sid2=0123456789abcdef")],
        &[("cookie", "sid=*?[a]{b}0123456789abcdef"), ("x-session-start", "root")],
    ];
    for headers in cases {
        assert_eq!(world.get("/", headers).await?.status, 200);
        assert_eq!(world.user()?, None, "{headers:?}");
    }
    assert_eq!(world.calls()?, 1.0, "only what can be an id is looked up");
    assert_eq!(run::<Vec<String>>(&mut redis, &["KEYS", "app:*"])?, [""; 0], "an unknown id leaves no trace");
    Ok(())
}

#[tokio::test]
async fn a_value_that_no_header_can_carry_is_no_user() -> Result<()> {
    let world = World::start(&[])?;
    let mut redis = world.redis.connection()?;
    let cookie = format!("sid={ID}");
    for value in ["a\r\nx-admin: 1", "", "\u{7f}"] {
        run::<()>(&mut redis, &["SET", &format!("app:session:{ID}"), value, "EX", "60"])?;
        assert_eq!(world.get("/", &[("cookie", &cookie)]).await?.status, 200);
        assert_eq!(world.user()?, None, "{value:?}");
        assert!(!world.upstream.last()?.headers.contains_key("x-admin"));
    }
    Ok(())
}

#[tokio::test]
async fn a_session_is_found_and_lives_on() -> Result<()> {
    let world = World::start(&[])?;
    let mut redis = world.redis.connection()?;
    let key = format!("app:session:{ID}");
    run::<()>(&mut redis, &["SET", &key, "alice", "EX", "60"])?;
    let cookie = format!("theme=dark; sid={ID}; a=b");
    world.get("/", &[("cookie", &cookie), ("x-session-user", "root")]).await?;
    assert_eq!(world.user()?.as_deref(), Some("alice"));
    let seconds: i64 = run(&mut redis, &["TTL", &key])?;
    assert!((1700..=1800).contains(&seconds), "{seconds}: from 60 to the configuration's 1800");
    assert_eq!(world.calls()?, 1.0, "one round trip");
    Ok(())
}

#[tokio::test]
async fn a_login_starts_a_session_that_the_next_request_has() -> Result<()> {
    let world = World::start(&[])?;
    let mut redis = world.redis.connection()?;
    let reply = world.get("/login", &[]).await?;
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "welcome"));
    assert!(!reply.headers.contains_key("x-session-start"), "between upstream and filter only");

    let (pair, attributes) = reply.header("set-cookie").split_once(';').context("no set-cookie")?;
    assert_eq!(attributes, " Path=/; Max-Age=1800; HttpOnly; Secure; SameSite=Lax");
    let id = pair.strip_prefix("sid=").context("the cookie's name")?;
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    let keys: Vec<String> = run(&mut redis, &["KEYS", "*"])?;
    assert_eq!(keys, [format!("app:session:{id}")]);
    let seconds: i64 = run(&mut redis, &["TTL", &keys[0]])?;
    assert!((1700..=1800).contains(&seconds), "{seconds}");

    world.get("/", &[("cookie", pair)]).await?;
    assert_eq!(world.user()?.as_deref(), Some("alice"));
    let again = world.get("/login", &[]).await?;
    assert_ne!(again.header("set-cookie").split(';').next(), Some(pair), "every login has an id of its own");
    Ok(())
}

#[tokio::test]
async fn the_id_may_stand_in_a_header() -> Result<()> {
    let world = World::start(&[("cookie: sid", "header: X-Session")])?;
    let reply = world.get("/login", &[]).await?;
    let id = reply.header("x-session").to_owned();
    assert_eq!((id.len(), reply.header("set-cookie")), (32, ""));
    world.get("/", &[("x-session", &id)]).await?;
    assert_eq!(world.user()?.as_deref(), Some("alice"));
    Ok(())
}

#[tokio::test]
async fn without_redis_fail_closed_is_a_503_and_no_login() -> Result<()> {
    let mut world = World::start(&[])?;
    world.redis.kill()?;
    let cookie = format!("sid={ID}");
    let reply = world.get("/", &[("cookie", &cookie)]).await?;
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (503, "sessions are unavailable\n"));
    assert!(world.upstream.recorded().is_empty(), "the upstream never sees it");

    assert_eq!(world.get("/", &[]).await?.status, 200, "who has no session needs no Redis");
    let login = world.get("/login", &[]).await?;
    assert_eq!(login.status, 503);
    assert!(!login.headers.contains_key("set-cookie") && !login.headers.contains_key("x-session-start"));
    Ok(())
}

#[tokio::test]
async fn without_redis_fail_open_goes_on_without_a_user() -> Result<()> {
    let mut world = World::start(&[("on_error: closed", "on_error: open")])?;
    world.redis.kill()?;
    let cookie = format!("sid={ID}");
    for _ in 0..3 {
        let reply = world.get("/", &[("cookie", &cookie), ("x-session-user", "root")]).await?;
        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "hello"));
        assert_eq!(world.user()?, None);
    }
    assert_eq!(world.get("/login", &[]).await?.status, 503, "a login cannot be pretended");
    Ok(())
}
