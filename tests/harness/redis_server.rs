use std::path::Path;
use std::time::{Duration, Instant};

use agw_tests::{RedisOptions, RedisServer};
use anyhow::{Context, Result};

fn ping(server: &RedisServer) -> Result<String> {
    let mut connection = server.connection()?;
    connection.set_read_timeout(Some(Duration::from_millis(200)))?;
    Ok(redis::cmd("PING").query(&mut connection)?)
}

#[test]
fn a_killed_server_refuses_and_a_restarted_one_is_back_on_the_same_port() -> Result<()> {
    let mut server = RedisServer::start()?;
    let address = server.address();
    assert_eq!(ping(&server)?, "PONG");

    server.kill()?;
    ping(&server).expect_err("nobody listens");

    server.restart()?;
    assert_eq!(server.address(), address);
    assert_eq!(ping(&server)?, "PONG");
    Ok(())
}

#[test]
fn a_stopped_server_keeps_its_connections_and_answers_when_it_goes_on() -> Result<()> {
    let mut server = RedisServer::start()?;
    let mut connection = server.connection()?;
    connection.set_read_timeout(Some(Duration::from_millis(200)))?;

    server.stop()?;
    let start = Instant::now();
    redis::cmd("PING").query::<String>(&mut connection).expect_err("it is stopped");
    assert!(start.elapsed() >= Duration::from_millis(150), "it was an error, not a silence");

    server.cont()?;
    assert_eq!(ping(&server)?, "PONG");
    Ok(())
}

#[test]
fn a_stopped_server_is_killed_with_its_owner() -> Result<()> {
    let mut server = RedisServer::start()?;
    let mut connection = server.connection()?;
    let info: String = redis::cmd("INFO").arg("server").query(&mut connection)?;
    let pid = info.lines().find_map(|line| line.strip_prefix("process_id:")).context("no process id")?;
    server.stop()?;
    drop(server);
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "process {pid} still lives");
    Ok(())
}

#[test]
fn a_password_is_asked_for_and_given() -> Result<()> {
    let options = RedisOptions { password: Some("secret".to_owned()), ..RedisOptions::default() };
    let server = RedisServer::start_with(options)?;
    assert_eq!(ping(&server)?, "PONG");

    let mut without = redis::Client::open(server.url())?.get_connection()?;
    let error = redis::cmd("PING").query::<String>(&mut without).expect_err("no password was given");
    assert_eq!(error.code(), Some("NOAUTH"));
    Ok(())
}

#[test]
fn an_acl_file_limits_a_user() -> Result<()> {
    let acl = "user default on nopass ~allowed:* +@all\n";
    let options = RedisOptions { acl: Some(acl.to_owned()), ..RedisOptions::default() };
    let server = RedisServer::start_with(options)?;
    let mut connection = server.connection()?;
    redis::cmd("SET").arg("allowed:x").arg(1).exec(&mut connection)?;
    let error = redis::cmd("SET").arg("x").arg(1).exec(&mut connection).expect_err("outside the pattern");
    assert_eq!(error.code(), Some("NOPERM"));
    Ok(())
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let options =
        RedisOptions { args: vec!["--no-such-option".to_owned(), "1".to_owned()], ..Default::default() };
    let error = RedisServer::start_with(options).expect_err("a bad option");
    assert!(format!("{error:#}").contains("no-such-option"), "{error:#}");
}
