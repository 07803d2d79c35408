use std::collections::BTreeMap;
use std::time::Duration;

use agw_config::{ClusterTarget, PathMatch};

use super::*;

fn snapshot(cluster: &str, plugins: &[&str]) -> Arc<Snapshot> {
    let route = Route {
        name: "r".into(),
        hosts: Vec::new(),
        path: PathMatch::Prefix("/".into()),
        cluster: cluster.into(),
        timeout: Duration::from_secs(1),
        plugins: plugins.iter().map(|name| (*name).to_owned()).collect(),
        request_body_bytes_max: 0,
        buffer_bytes_max: 0,
    };
    let cluster = Cluster {
        name: "c".into(),
        target: ClusterTarget::BuiltinEcho,
        connect_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(1),
        idle_max: 1,
    };
    Arc::new(Snapshot {
        digest: String::new(),
        listeners: Vec::new(),
        routes: vec![Arc::new(route)],
        clusters: BTreeMap::from([("c".to_owned(), Arc::new(cluster))]),
        plugins: BTreeMap::new(),
        resources: BTreeMap::new(),
    })
}

#[test]
fn a_route_needs_its_cluster_and_its_plugins() {
    let error = |cluster, plugins| {
        Runtime::new(snapshot(cluster, plugins), &HashMap::new(), VmPools::new).unwrap_err()
    };
    assert_eq!(error("x", &[]), RuntimeError::NoSuchCluster { route: "r".into(), cluster: "x".into() });
    assert_eq!(error("c", &["p"]), RuntimeError::PluginNotLoaded { route: "r".into(), plugin: "p".into() });
    assert!(Runtime::new(snapshot("c", &[]), &HashMap::new(), VmPools::new).is_ok());
}
