//! The disk cache of compiled code.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agw_config::Plugin;
use agw_telemetry::Metrics;
use agw_wasm::{Access, HostOptions, PluginHost, VmPools};
use bytes::Bytes;
use tokio::task::LocalSet;

use crate::support::{Guest, Lines, engine, filter, plugin, stream};

/// What a guest says after it was loaded by a new host with this cache.
fn load(dir: &Path, module: &Bytes) -> String {
    let lines = Lines::default();
    let _logging = tracing::subscriber::set_default(lines.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let options =
        HostOptions { engine: engine(), cache_dir: Some(dir.into()), metrics: Arc::new(Metrics::new()) };
    let host = PluginHost::new(options).unwrap();
    LocalSet::new().block_on(&runtime, async {
        let plugin = host.load(Arc::new(plugin()), module.clone(), Access::empty("p")).await.unwrap();
        let pools = VmPools::new(0);
        filter(pools.open(&plugin, &stream()).await).request_headers(true).await;
        pools.shutdown().await;
    });
    lines.guest().concat()
}

fn saying(text: &str) -> Bytes {
    Guest::new().on("request_headers", &format!("(call $say <<{text}>>) (i32.const 0)")).build()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Puts the compiled code of `module` where that of another is looked for.
fn replace(file: &Path, module: &Bytes) {
    let other = tempfile::tempdir().unwrap();
    fs::set_permissions(other.path(), Permissions::from_mode(0o700)).unwrap();
    load(other.path(), module);
    fs::copy(&files(other.path())[0], file).unwrap();
}

#[test]
fn the_second_load_takes_the_compiled_code() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("made/by/the/host");
    let module = saying("compiled");
    assert_eq!(load(&dir, &module), "compiled");
    let [file] = &files(&dir)[..] else { panic!("one file") };
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    replace(file, &saying("from the cache"));
    assert_eq!(load(&dir, &module), "from the cache");
    assert_eq!(load(&dir, &saying("another")), "another");
    assert_eq!(files(&dir).len(), 2);
}

#[test]
fn a_module_that_a_plugin_has_is_not_compiled_again_for_another_configuration() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("cache");
    let module = saying("once");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let options =
        HostOptions { engine: engine(), cache_dir: Some(dir.clone()), metrics: Arc::new(Metrics::new()) };
    let host = PluginHost::new(options).unwrap();
    let load = |configuration: &str| {
        let config = Plugin { configuration: configuration.into(), ..plugin() };
        runtime.block_on(host.load(Arc::new(config), module.clone(), Access::empty("p"))).unwrap()
    };
    let before = load("a limit");
    fs::remove_file(&files(&dir)[0]).unwrap();
    let after = load("another limit");
    assert_eq!(files(&dir), Vec::<PathBuf>::new(), "it was compiled again");
    // The control: once nobody has it, it is.
    drop((before, after));
    load("another limit");
    assert_eq!(files(&dir).len(), 1);
}

#[test]
fn a_damaged_file_is_compiled_anew_and_replaced() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("cache");
    let module = saying("good");
    load(&dir, &module);
    let file = files(&dir).remove(0);
    let good = fs::read(&file).unwrap();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let damaged = [
        Vec::new(),
        b"short".to_vec(),
        good[..good.len() / 2].to_vec(),
        good[..good.len() - 1].to_vec(),
        flipped(0),
        flipped(good.len() / 2),
        flipped(good.len() - 1),
        [&good[..], b"more"].concat(),
        vec![0; good.len()],
    ];
    for (index, bytes) in damaged.into_iter().enumerate() {
        fs::write(&file, bytes).unwrap();
        assert_eq!(load(&dir, &module), "good", "{index}");
        assert_eq!(fs::read(&file).unwrap().len(), good.len(), "{index}");
        assert_eq!(files(&dir).len(), 1, "{index}: nothing else is left");
    }
}

#[test]
fn a_folder_that_others_can_write_is_left_alone() {
    for mode in [0o777, 0o770, 0o702, 0o1777] {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("cache");
        let module = saying("compiled");
        load(&dir, &module);
        let file = files(&dir).remove(0);
        replace(&file, &saying("planted"));
        fs::set_permissions(&dir, Permissions::from_mode(mode)).unwrap();
        assert_eq!(load(&dir, &module), "compiled", "{mode:o}");
        load(&dir, &saying("another"));
        assert_eq!(files(&dir).len(), 1, "nothing is written either");
    }
}

#[test]
fn a_folder_that_cannot_be_made_costs_the_cache_only() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("a file");
    fs::write(&file, "x").unwrap();
    for dir in [file.clone(), file.join("below"), PathBuf::from("/proc/no/such/folder")] {
        assert_eq!(load(&dir, &saying("compiled")), "compiled");
    }
}
