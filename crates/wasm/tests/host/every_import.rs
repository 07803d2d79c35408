//! The ABI's functions link under their names with their types.

use crate::support::{Guest, in_worker, plugin, shared};

#[test]
fn a_guest_that_imports_all_39_functions_links_in_both_modes() {
    in_worker(async |worker| {
        worker.load(plugin(), Guest::new()).await;
        worker.load(shared(), Guest::new()).await;
    });
}

#[test]
fn the_names_of_0_2_0_and_both_names_of_wasi_link() {
    in_worker(async |worker| {
        let guest = Guest::new()
            .marker("proxy_abi_version_0_2_0")
            .import(r#"(import "wasi_unstable" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))"#)
            .import(r#"(import "wasi_unstable" "proc_exit" (func $e (param i32)))"#)
            .import(r#"(import "env" "emscripten_notify_memory_growth" (func $g (param i32)))"#)
            .import(r#"(import "env" "pthread_equal" (func $p (param i32 i32) (result i32)))"#);
        worker.load(plugin(), guest).await;
    });
}
