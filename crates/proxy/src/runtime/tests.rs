use std::collections::BTreeMap;

use agw_config::{ClusterTarget, Forward, PathMatch, RouteMatch};

use super::*;

fn snapshot(cluster: &str, plugins: &[&str]) -> Arc<Snapshot> {
    let matching = RouteMatch::path(PathMatch::Prefix("/".into()));
    let plugins = plugins.iter().map(|name| (*name).to_owned()).collect();
    let route = Route { plugins, ..Route::new("r", matching, Forward::to(cluster)) };
    let cluster = Cluster::new("c", ClusterTarget::BuiltinEcho);
    Arc::new(Snapshot {
        digest: String::new(),
        listeners: Vec::new(),
        routes: vec![Arc::new(route)],
        clusters: BTreeMap::from([("c".to_owned(), Arc::new(cluster))]),
        plugins: BTreeMap::new(),
        resources: BTreeMap::new(),
        sql_resources: BTreeMap::new(),
        tracing: None,
    })
}

#[test]
fn a_route_needs_its_cluster_and_its_plugins() {
    let error =
        |cluster, plugins| Runtime::new(1, snapshot(cluster, plugins), &HashMap::new(), None).unwrap_err();
    assert_eq!(error("x", &[]).to_string(), "route `r` names the cluster `x`, which does not exist");
    assert_eq!(error("c", &["p"]).to_string(), "route `r` names the plugin `p`, which is not loaded");
    assert!(Runtime::new(1, snapshot("c", &[]), &HashMap::new(), None).is_ok());
}
