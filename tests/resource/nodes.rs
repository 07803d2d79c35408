//! Resources of several servers: behind sentinels, and clusters. Each is looked at by itself.

use agw_tests::{RedisCluster, RedisSentinels};
use anyhow::{Context, Result};
use serde_json::Value;

use super::{Place, Said};

const GRANTS: &str = "grants: [{ plugin: p, commands: [set, get], key_prefix: 'p:' }]";

/// The place as `Place` wants it: it indents by itself.
fn place_of(cluster: &RedisCluster) -> String {
    cluster.place().replace("\n    ", "\n")
}

impl Said {
    /// Of the host with this name.
    fn of(&self, host: &str) -> Result<&Value> {
        let hosts = self.json["hosts"].as_array().context("hosts")?;
        let found = hosts.iter().find(|one| one["host"] == host);
        found.with_context(|| format!("{host} is not looked at: {}", self.text))
    }

    fn names(&self) -> Vec<&str> {
        let hosts = self.json["hosts"].as_array().map(Vec::as_slice).unwrap_or_default();
        hosts.iter().filter_map(|host| host["host"].as_str()).collect()
    }
}

#[test]
fn every_node_of_a_cluster_is_looked_at_and_one_that_is_dead_is_said() -> Result<()> {
    let mut cluster = RedisCluster::start()?;
    let place = Place::new(&format!("type: redis\n{}\n{GRANTS}", place_of(&cluster)), &[])?;
    let said = place.test()?;
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert_eq!(said.names().len(), 6, "{}", said.text);
    for (at, host) in cluster.endpoints().iter().enumerate() {
        let node = said.of(host)?;
        assert_eq!(node["role"], if at < 3 { "primary" } else { "replica" }, "{}", said.text);
        assert!(node["server"].as_str().is_some_and(|server| server.starts_with("Redis ")), "{}", said.text);
        assert!(node["latency_seconds"]["median"].as_f64().is_some_and(|median| median > 0.0));
        assert_eq!(node["missing"].as_array().map(Vec::len), Some(0), "{}", said.text);
    }
    // What holds of all is printed once.
    assert_eq!(said.text.matches("    ACL SETUSER ").count(), 1, "{}", said.text);
    assert_eq!(said.text.matches("no more: as at ").count(), 5, "{}", said.text);

    // A user that one node does not know, and one that may too little there.
    let user = ["ACL", "SETUSER", "agw", "reset", "on", "nopass", "~p:*", "+@all"];
    for node in 0..6 {
        cluster.ask::<String>(node, &user)?;
    }
    cluster.ask::<String>(1, &["ACL", "SETUSER", "agw", "-set"])?;
    cluster.ask::<i64>(5, &["ACL", "DELUSER", "agw"])?;
    place.write(&format!("type: redis\n{}\nusername: agw\n{GRANTS}", place_of(&cluster)))?;
    let said = place.test()?;
    assert_eq!(said.code, Some(1), "{}", said.text);
    let hosts = cluster.endpoints();
    assert_eq!(said.of(&hosts[1])?["missing"][0], "commands: set", "{}", said.text);
    let refused = said.of(&hosts[5])?["error"].as_str().unwrap_or_default();
    assert_eq!(refused, "no connection: the server refused the login (WRONGPASS)");
    assert_eq!(said.of(&hosts[0])?["missing"].as_array().map(Vec::len), Some(0));

    // A replica that is dead: one that the others list until they forget it.
    cluster.kill(4)?;
    place.write(&format!("type: redis\n{}\n{GRANTS}", place_of(&cluster)))?;
    let said = place.test()?;
    assert_eq!((said.code, said.names().len()), (Some(1), 6), "{}", said.text);
    let gone = said.of(&hosts[4])?["error"].as_str().unwrap_or_default();
    assert!(gone.starts_with("no connection: the server cannot be reached: "), "{gone}");
    Ok(())
}

#[test]
fn sentinels_are_looked_at_with_the_primary_and_its_replica_and_their_certificates() -> Result<()> {
    let mut redis = RedisSentinels::start_tls()?;
    let ca = redis.tls()?.authority().pem();
    let tls = "tls: { ca: { file: ca.pem } }";
    let resource = |sentinels: &str| {
        let place = redis.place(&format!(", {sentinels}"));
        format!("type: redis\n{}\n{tls}\n{GRANTS}", place.replace("\n    ", "\n"))
    };
    let (with_tls, without) = (resource(tls), resource("username: nobody"));
    let place = Place::new(&with_tls, &[("ca.pem", &ca)])?;
    let said = place.test()?;
    assert_eq!(said.code, Some(0), "{}", said.text);
    let (primary, replica) = (redis.address(0)?, redis.address(1)?);
    let names = said.names();
    assert_eq!((names.len(), names[3], names[4]), (5, &*primary, &*replica), "{}", said.text);
    for (at, role) in ["sentinel", "sentinel", "sentinel", "primary", "replica"].into_iter().enumerate() {
        let host = &said.json["hosts"][at];
        assert_eq!(host["role"], role, "{}", said.text);
        assert!(host["tls"]["chain"][0]["days_left"].as_i64().is_some(), "{}", said.text);
    }
    let note = said.json["hosts"][0]["notes"][0].as_str().unwrap_or_default();
    assert_eq!(note, format!("the primary that it names: {primary}"));

    // Sentinels that are not spoken to as they want it.
    place.write(&without)?;
    let said = place.test()?;
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert_eq!(said.names()[3], "the primary \"mymaster\" of sentinels");
    assert!(
        said.json["hosts"].as_array().is_some_and(|hosts| hosts.iter().all(|host| host["error"].is_string()))
    );

    redis.kill_sentinel(2);
    redis.servers[1].kill()?;
    place.write(&with_tls)?;
    let said = place.test()?;
    assert_eq!((said.code, said.names().len()), (Some(1), 5), "{}", said.text);
    for (at, reached) in [true, true, false, true, false].into_iter().enumerate() {
        assert_eq!(said.json["hosts"][at]["error"].is_null(), reached, "{}", said.text);
    }
    Ok(())
}

#[test]
fn without_any_node_that_answers_each_endpoint_is_said() -> Result<()> {
    let ports = [agw_tests::port::free_port()?, agw_tests::port::free_port()?];
    let at = format!("mode: cluster\nendpoints: ['127.0.0.1:{}', '127.0.0.1:{}']", ports[0], ports[1]);
    let said = Place::new(&format!("type: redis\n{at}\n{GRANTS}"), &[])?.test()?;
    assert_eq!((said.code, said.names().len()), (Some(1), 2), "{}", said.text);

    let standalone = agw_tests::RedisServer::start()?;
    let at = format!("mode: cluster\nendpoints: ['{}']", standalone.address());
    let said = Place::new(&format!("type: redis\n{at}\n{GRANTS}"), &[])?.test()?;
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert!(said.word("error").contains("no node of a cluster"), "{}", said.text);
    Ok(())
}
