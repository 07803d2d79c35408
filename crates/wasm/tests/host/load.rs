//! What is refused before any traffic meets it.

use std::time::{Duration, Instant};

use agw_wasm::LoadError;
use bytes::Bytes;

use crate::support::{Guest, Worker, in_worker, plugin, shared, words};

/// Why the guest is refused.
async fn refusal(worker: &Worker, guest: Guest) -> LoadError {
    refusal_of(worker, guest.build()).await
}

async fn refusal_of(worker: &Worker, module: Bytes) -> LoadError {
    match worker.try_load(plugin(), module).await {
        Ok(_) => panic!("the module was loaded"),
        Err(error) => error,
    }
}

#[test]
fn bytes_that_are_not_wasm_are_refused_by_that_name() {
    in_worker(async |worker| {
        for bytes in [&b""[..], b"\0as", b"MZ\x90", b"(module)"] {
            let error = refusal_of(&worker, Bytes::copy_from_slice(bytes)).await;
            assert!(matches!(error, LoadError::NotWasm), "{error}");
        }
    });
}

#[test]
fn a_module_cut_anywhere_is_refused() {
    in_worker(async |worker| {
        let module = Guest::new().build();
        for end in (4..module.len()).step_by(97) {
            let error = refusal_of(&worker, module.slice(..end)).await;
            assert!(!matches!(error, LoadError::NotWasm), "cut at {end}: {error}");
        }
    });
}

#[test]
fn a_module_over_the_size_limit_is_refused_before_it_is_compiled() {
    in_worker(async |worker| {
        let mut module = Guest::new().build().to_vec();
        module.resize(33 << 20, 0);
        let error = refusal_of(&worker, module.into()).await;
        assert!(matches!(error, LoadError::TooLarge { .. }), "{error}");
    });
}

#[test]
fn a_module_without_a_marker_or_with_an_old_one_is_refused() {
    in_worker(async |worker| {
        let error = refusal(&worker, Guest::new().marker("")).await;
        assert!(matches!(error, LoadError::NoAbiMarker), "{error}");
        let error = refusal(&worker, Guest::new().marker("proxy_abi_version_0_1_0")).await;
        assert!(matches!(&error, LoadError::UnsupportedAbi { found } if found == "0.1.0"), "{error}");
        let error = refusal(&worker, Guest::new().marker("proxy_abi_version_0_2_100")).await;
        assert!(matches!(&error, LoadError::UnsupportedAbi { found } if found == "0.2.100"), "{error}");
    });
}

#[test]
fn a_module_without_memory_or_allocator_is_refused() {
    in_worker(async |worker| {
        let error = refusal(&worker, Guest::new().memory("")).await;
        assert!(words(&error).contains("memory"), "{error}");
        let error = refusal(&worker, Guest::new().memory("(memory 2)")).await;
        assert!(words(&error).contains("memory"), "{error}");
        let error = refusal(&worker, Guest::new().malloc("")).await;
        assert!(words(&error).contains("malloc or proxy_on_memory_allocate"), "{error}");
        let wrong = r#"(func (export "malloc") (param i64) (result i32) (i32.const 0))"#;
        let error = refusal(&worker, Guest::new().malloc(wrong)).await;
        assert!(words(&error).contains("(i32) -> i32"), "{error}");
        let global = r#"(global (export "malloc") i32 (i32.const 0))"#;
        let error = refusal(&worker, Guest::new().malloc(global)).await;
        assert!(words(&error).contains("malloc"), "{error}");
    });
}

#[test]
fn the_newer_name_of_the_allocator_is_taken() {
    in_worker(async |worker| {
        let malloc =
            r#"(func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 70000))"#;
        let guest = Guest::new().malloc(malloc).on(
            "request_headers",
            "(call $print (call $get_header_map_value (i32.const 0) <<x-key>> CELLS)) (call $got)
             (call $print (i32.load (i32.const 8))) (i32.const 0)",
        );
        assert_eq!(worker.said(plugin(), guest).await, ["0", "value", "70000"]);
    });
}

#[test]
fn an_allocator_of_the_wrong_type_beside_a_good_one_is_not_used() {
    in_worker(async |worker| {
        let malloc = r#"(func (export "malloc") (param i32 i32) (result i32) (i32.const 1))
            (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 70000))"#;
        let guest = Guest::new().malloc(malloc).on(
            "request_headers",
            "(call $print (call $get_header_map_value (i32.const 0) <<x-key>> CELLS)) (call $got) (i32.const 0)",
        );
        assert_eq!(worker.said(plugin(), guest).await, ["0", "value"]);
    });
}

#[test]
fn a_callback_of_the_wrong_type_is_refused_by_name() {
    in_worker(async |worker| {
        let guest = Guest::new()
            .with(r#"(func (export "proxy_on_request_headers") (param i32) (result i32) (i32.const 0))"#);
        let error = refusal(&worker, guest).await;
        assert!(matches!(error, LoadError::ExportType { name: "proxy_on_request_headers", .. }), "{error}");
    });
}

#[test]
fn every_unknown_import_is_named() {
    in_worker(async |worker| {
        let guest = Guest::new()
            .import(r#"(import "env" "proxy_fly" (func $fly))"#)
            .import(r#"(import "sockets" "connect" (func $connect (param i32)))"#)
            .import(r#"(import "agw" "take" (func $take (param i32) (result i32)))"#);
        let error = refusal(&worker, guest).await;
        let LoadError::UnknownImports { names } = &error else { panic!("{error}") };
        assert_eq!(names[..2], ["env.proxy_fly", "sockets.connect"]);
        assert!(names[2].contains("take"), "the shim's own functions are not for guests");
        assert_eq!(names.len(), 3);
    });
}

#[test]
fn an_import_of_the_wrong_type_is_refused() {
    in_worker(async |worker| {
        let guest = Guest::new().import(r#"(import "env" "proxy_log" (func $log2 (param i64)))"#);
        let error = words(&refusal(&worker, guest).await);
        assert!(error.contains("incompatible import type"), "{error}");
    });
}

#[test]
fn memory_and_tables_over_the_plugins_limits_are_refused() {
    in_worker(async |worker| {
        let mut small = plugin();
        small.limits.memory_bytes_max = 3 << 16;
        let module = Guest::new().memory(r#"(memory (export "memory") 4)"#).build();
        let error = worker.try_load(small, module).await.err().unwrap();
        assert!(matches!(error, LoadError::OverLimit { limit: 196_608, .. }), "{error}");
        assert!(error.to_string().contains("262144 bytes"), "{error}");

        let module = Guest::new().with("(table 200 funcref)").build();
        let mut small = plugin();
        small.limits.table_elements_max = 100;
        let error = worker.try_load(small, module.clone()).await.err().unwrap();
        assert!(matches!(error, LoadError::OverLimit { limit: 100, .. }), "{error}");
        worker.try_load(plugin(), module).await.unwrap();
    });
}

#[test]
fn memory_over_what_the_engine_reserves_is_refused() {
    in_worker(async |worker| {
        let mut large = plugin();
        large.limits.memory_bytes_max = 1 << 30;
        let module = Guest::new().memory(r#"(memory (export "memory") 1000)"#).build();
        let error = words(&worker.try_load(large, module).await.err().unwrap());
        assert!(error.contains("memory"), "{error}");
    });
}

#[test]
fn a_guest_cannot_grow_over_its_limit_and_is_told_so() {
    in_worker(async |worker| {
        let mut small = plugin();
        small.limits.memory_bytes_max = 4 << 16;
        small.limits.table_elements_max = 20;
        let guest = Guest::new().with("(table $t 10 funcref)").on(
            "request_headers",
            "(call $print (memory.grow (i32.const 2)))
             (call $print (memory.grow (i32.const 1)))
             (call $print (table.grow $t (ref.null func) (i32.const 10)))
             (call $print (table.grow $t (ref.null func) (i32.const 1)))
             (i32.const 0)",
        );
        assert_eq!(worker.said(small, guest).await, ["2", "4294967295", "10", "4294967295"]);
    });
}

#[test]
fn a_guest_that_traps_while_it_starts_is_refused_with_the_phase() {
    in_worker(async |worker| {
        let start = Guest::new().with("(func $begin unreachable) (start $begin)");
        let error = refusal(&worker, start).await;
        assert!(words(&error).contains("unreachable"), "{}", words(&error));
        let initialize = Guest::new().with(r#"(func (export "_initialize") unreachable)"#);
        let error = refusal(&worker, initialize).await;
        assert!(matches!(error, LoadError::Trap { phase: "_initialize", .. }), "{error}");
        for phase in ["context_create", "vm_start", "configure"] {
            let error = refusal(&worker, Guest::new().on(phase, "unreachable")).await;
            let LoadError::Trap { phase: found, .. } = &error else { panic!("{error}") };
            assert_eq!(*found, format!("proxy_on_{phase}"));
        }
    });
}

#[test]
fn a_guest_that_says_no_is_refused() {
    in_worker(async |worker| {
        for phase in ["vm_start", "configure"] {
            let error = refusal(&worker, Guest::new().on(phase, "(i32.const 0)")).await;
            let LoadError::Refused { phase: found } = &error else { panic!("{error}") };
            assert_eq!(*found, format!("proxy_on_{phase}"));
        }
        // Any value but 0 is yes.
        worker.load(plugin(), Guest::new().on("configure", "(i32.const 256)")).await;
    });
}

#[test]
fn an_endless_loop_ends_at_the_cpu_limit_wherever_it_is() {
    in_worker(async |worker| {
        let endless = [
            Guest::new().with("(func $begin (loop $l (br $l))) (start $begin)"),
            Guest::new().with(r#"(func (export "_initialize") (loop $l (br $l)))"#),
            Guest::new().on("configure", "(loop $l (br $l)) (i32.const 1)"),
        ];
        for mode in [plugin(), shared()] {
            for (index, guest) in endless.iter().cloned().enumerate() {
                let mut plugin = mode.clone();
                plugin.limits.cpu_time = Duration::from_millis(30);
                let started = Instant::now();
                let error = worker.try_load(plugin, guest.build()).await.err().unwrap();
                assert!(words(&error).contains("interrupt"), "{index}: {}", words(&error));
                assert!(started.elapsed() < Duration::from_secs(2), "{index}");
            }
        }
    });
}

#[test]
fn the_start_up_runs_in_the_abis_order() {
    in_worker(async |worker| {
        let guest = Guest::new()
            .with("(func $begin (call $say <<start section>>)) (start $begin)")
            .with(r#"(func (export "_initialize") (call $say <<_initialize>>))"#)
            .with(r#"(func (export "main") (param i32 i32) (result i32) (call $say <<main>>) (i32.const 0))"#)
            .with(r#"(func (export "_start") (call $say <<_start>>))"#)
            .on("context_create", "(call $say <<context_create>>) (call $print (local.get $ctx)) (call $print (local.get $parent))")
            .on(
                "vm_start",
                "(call $print (call $get_buffer_bytes (i32.const 6) (i32.const 0) (local.get $size) CELLS)) (call $got) (i32.const 1)",
            )
            .on(
                "configure",
                "(call $print (call $get_buffer_bytes (i32.const 7) (i32.const 0) (local.get $size) CELLS)) (call $got) (i32.const 1)",
            );
        worker.load(plugin(), guest).await;
        let expected = [
            "start section",
            "_initialize",
            "main",
            "context_create",
            "1",
            "0",
            "0",
            "vm configuration",
            "0",
            "plugin configuration",
        ];
        assert_eq!(worker.lines.take(), expected);
    });
}

#[test]
fn start_runs_where_there_is_no_initialize() {
    in_worker(async |worker| {
        let guest = Guest::new()
            .with(r#"(func (export "main") (param i32 i32) (result i32) (call $say <<main>>) (i32.const 0))"#)
            .with(r#"(func (export "_start") (call $say <<_start>>))"#);
        worker.load(plugin(), guest).await;
        assert_eq!(worker.lines.take(), ["_start"]);
    });
}

#[test]
fn a_refused_guest_leaves_no_vm_behind() {
    in_worker(async |worker| {
        for _ in 0..100 {
            // More often than the engine has VMs.
            refusal(&worker, Guest::new().on("configure", "unreachable")).await;
        }
        let plugin = worker.load(plugin(), Guest::new()).await;
        assert_eq!(plugin.status().vms, 0, "the rehearsal's VM is gone");
        assert_eq!(plugin.status().memory_bytes, 0);
    });
}
