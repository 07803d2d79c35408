//! What is legal but unwise.

use super::{lines, load_with, usual_files, with_resource};

fn warnings(text: &str) -> Vec<String> {
    match load_with(text, &usual_files()) {
        Ok(loaded) => lines(&loaded.warnings),
        Err(found) => panic!("{:#?}", lines(&found)),
    }
}

#[test]
fn a_grant_without_a_key_prefix_earns_a_warning_unless_it_says_so() {
    let document = |grant: &str| {
        with_resource(&format!("name: r\ntype: redis\nurl: redis://localhost\ngrants: [{{ {grant} }}]"))
    };
    assert_eq!(
        warnings(&document("plugin: p, commands: [get]")),
        ["agw.yaml:10: resources[0].grants[0]: the plugin may touch every key. \
          Write key_prefix: \"NAME:\" to confine it, or key_prefix: \"\" to say so on purpose"]
    );
    assert_eq!(warnings(&document("plugin: p, commands: [get], key_prefix: ''")), Vec::<String>::new());
}

#[test]
fn plaintext_that_leaves_the_machine_earns_a_warning() {
    let document = |place: &str| {
        with_resource(&format!(
            "name: r\ntype: redis\n{place}\ngrants: [{{ plugin: p, commands: [get], key_prefix: 'p:' }}]"
        ))
    };
    for place in ["url: redis://10.0.0.1", "endpoint: 'redis.internal:6379'", "url: 'redis://[2001:db8::1]'"]
    {
        let found = warnings(&document(place));
        assert!(
            found.len() == 1 && found[0].contains("leaves this machine in plaintext"),
            "{place}: {found:#?}"
        );
    }
    for place in
        ["url: redis://127.0.0.1", "endpoint: 'localhost:1'", "url: 'redis://[::1]'", "url: memory://m"]
    {
        assert_eq!(warnings(&document(place)), Vec::<String>::new(), "{place}");
    }
}

#[test]
fn what_nothing_uses_earns_a_warning() {
    let found = warnings(
        "version: 1\n\
         listeners: [{ name: a, address: '[::1]:1' }]\n\
         clusters: [{ name: c, builtin: echo }]\n\
         plugins: [{ name: p, module: { builtin: rate-limit } }]\n\
         resources: [{ name: r, type: redis, url: 'memory://m' }]\n",
    );
    let paths: Vec<_> =
        found.iter().map(|line| line.splitn(3, ": ").take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        paths,
        ["agw.yaml:1 document", "agw.yaml:3 clusters[0]", "agw.yaml:4 plugins[0]", "agw.yaml:5 resources[0]"]
    );
}

#[test]
fn a_plugin_with_a_grant_in_shared_vms_earns_a_warning() {
    let resource =
        "name: r\ntype: redis\nurl: memory://m\ngrants: [{ plugin: p, commands: [get], key_prefix: 'p:' }]";
    let text = with_resource(resource).replace("rate-limit }", "rate-limit }, vm: { mode: shared }");
    let found = warnings(&text);
    assert!(found.len() == 1 && found[0].starts_with("agw.yaml:5: plugins[0].vm.mode: "), "{found:#?}");
}
