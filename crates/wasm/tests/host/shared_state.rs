//! What outlives a callback: shared data, metrics, properties.

use agw_telemetry::PluginMetricLabels;
use agw_wasm::ResponseHead;
use http::{HeaderMap, StatusCode, Version};

use crate::support::{Guest, in_worker, plugin, shared, stream};

#[test]
fn two_vms_share_data_by_compare_and_swap() {
    in_worker(async |worker| {
        // Reads, remembers the cas; the response writes under it.
        let guest = Guest::new()
            .on(
                "request_headers",
                "(call $print (call $get_shared_data <<k>> CELLS (i32.const 16)))
                 (global.set $a (i32.load (i32.const 16))) (i32.const 0)",
            )
            .on(
                "response_headers",
                "(call $print (call $set_shared_data <<k>> <<new>> (global.get $a))) (i32.const 0)",
            )
            .on(
                "request_body",
                "(call $print (call $set_shared_data <<k>> <<old>> (i32.const 0))) (i32.const 0)",
            )
            .on(
                "response_body",
                "(call $print (call $get_shared_data <<k>> CELLS (i32.const 16))) (call $got) (i32.const 0)",
            );
        let plugin = worker.load(plugin(), guest).await;
        // Each has a VM of its own.
        let (one, two) = (worker.open(&plugin, &stream()).await, worker.open(&plugin, &stream()).await);
        assert_eq!(plugin.status().vms, 2);
        one.request_headers(true).await;
        one.request_body(Default::default(), true).await;
        one.request_headers(true).await;
        two.request_headers(true).await;
        assert_eq!(worker.lines.take(), ["1", "0", "0", "0"]);
        one.response_headers(true).await;
        two.response_headers(true).await;
        two.response_body(Default::default(), true).await;
        assert_eq!(worker.lines.take(), ["0", "8", "0", "new"], "the second one lost the race");
    });
}

#[test]
fn plugins_do_not_share_data_with_each_other() {
    in_worker(async |worker| {
        let guest = Guest::new().on(
            "request_headers",
            "(call $print (call $get_shared_data <<k>> CELLS (i32.const 16)))
             (call $print (call $set_shared_data <<k>> <<v>> (i32.const 0))) (i32.const 0)",
        );
        let mut other = shared();
        other.name = "q".into();
        assert_eq!(worker.said(shared(), guest.clone()).await, ["1", "0"]);
        assert_eq!(worker.said(other, guest.clone()).await, ["1", "0"]);
        assert_eq!(worker.said(plugin(), guest).await, ["0", "0"], "same name, same data");
    });
}

#[test]
fn metrics_are_one_over_all_vms_of_a_plugin() {
    in_worker(async |worker| {
        let guest = Guest::new().on(
            "request_headers",
            "(call $print (call $define_metric (i32.const 0) <<c>> (i32.const 16)))
             (call $print (call $define_metric (i32.const 1) <<g>> (i32.const 20)))
             (call $print (call $define_metric (i32.const 2) <<h>> (i32.const 24)))
             (call $print (call $define_metric (i32.const 0) <<c>> (i32.const 28)))
             (call $print (i32.eq (i32.load (i32.const 16)) (i32.load (i32.const 28))))
             (call $print (call $increment_metric (i32.load (i32.const 16)) (i64.const 2)))
             (call $print (call $increment_metric (i32.load (i32.const 16)) (i64.const 0)))
             (call $print (call $increment_metric (i32.load (i32.const 16)) (i64.const -1)))
             (call $print (call $record_metric (i32.load (i32.const 16)) (i64.const 3)))
             (call $print (call $increment_metric (i32.load (i32.const 20)) (i64.const -4)))
             (call $print (call $record_metric (i32.load (i32.const 24)) (i64.const -1)))
             (call $print (call $increment_metric (i32.load (i32.const 24)) (i64.const 1)))
             (call $print (call $get_metric (i32.load (i32.const 24)) (i32.const 32)))
             (call $print (call $get_metric (i32.load (i32.const 16)) (i32.const 32)))
             (call $print (i32.load (i32.const 32)))
             (call $print (call $increment_metric (i32.add (i32.load (i32.const 16)) (i32.const 1)) (i64.const 1)))
             (i32.const 0)",
        );
        let plugin = worker.load(plugin(), guest).await;
        let (one, two) = (worker.open(&plugin, &stream()).await, worker.open(&plugin, &stream()).await);
        one.request_headers(true).await;
        two.request_headers(true).await;
        let said = worker.lines.take();
        let expected = ["0", "0", "0", "0", "1", "0", "2", "2", "0", "0", "0", "2", "2", "0", "5", "1"];
        assert_eq!(said[..16], expected);
        assert_eq!(said[30], "10");
        let labels = |name: &str| PluginMetricLabels { plugin: "p".into(), name: name.into() };
        assert_eq!(worker.metrics.plugin_counters.get_or_create(&labels("c")).get(), 10);
        assert_eq!(worker.metrics.plugin_gauges.get_or_create(&labels("g")).get(), -8);
    });
}

#[test]
fn a_plugin_cannot_define_more_metrics_than_its_bound_however_many_vms_it_has() {
    in_worker(async |worker| {
        // Names of four bytes: "m", the stream's VM, and a number.
        let guest = Guest::new()
            .on(
                "request_headers",
                "(local $i i32) (local $refused i32)
             (i32.store8 (i32.const 16) (i32.const 109))
             (i32.store8 (i32.const 17) (i32.add (i32.const 65) (global.get $b)))
             (loop $next
               (i32.store8 (i32.const 18) (i32.add (i32.const 32) (i32.rem_u (local.get $i) (i32.const 64))))
               (i32.store8 (i32.const 19) (i32.add (i32.const 32) (i32.div_u (local.get $i) (i32.const 64))))
               (if (call $define_metric (i32.const 0) (i32.const 16) (i32.const 4) (i32.const 24))
                 (then (local.set $refused (i32.add (local.get $refused) (i32.const 1)))))
               (local.set $i (i32.add (local.get $i) (i32.const 1)))
               (br_if $next (i32.lt_u (local.get $i) (i32.const 800))))
             (call $print (local.get $refused))
             (i32.const 0)",
            )
            .on("response_headers", "(global.set $b (i32.const 1)) (i32.const 0)");
        let mut slow = plugin();
        slow.limits.cpu_time = std::time::Duration::from_secs(20);
        let plugin = worker.load(slow, guest).await;
        let (one, two) = (worker.open(&plugin, &stream()).await, worker.open(&plugin, &stream()).await);
        two.response_headers(true).await;
        one.request_headers(true).await;
        two.request_headers(true).await;
        one.request_headers(true).await;
        assert_eq!(worker.lines.take(), ["0", "600", "0"], "1,000 in all; known ones stay known");
    });
}

fn read(paths: &[&str]) -> String {
    paths
        .iter()
        .map(|path| format!("(call $print (call $get_property <<{path}>> CELLS)) (call $got)\n"))
        .collect()
}

#[test]
fn properties_of_texts_are_as_envoys() {
    in_worker(async |worker| {
        let cases = [
            ("plugin_name", "p"),
            ("plugin_root_id", "root"),
            ("plugin_vm_id", ""),
            ("request\\00path", "/path?query"),
            ("request\\00path\\00", "/path?query"),
            ("request\\00url_path", "/path"),
            ("request\\00query", "query"),
            ("request\\00host", "a.example:80"),
            ("request\\00scheme", "http"),
            ("request\\00method", "GET"),
            ("request\\00protocol", "HTTP/1.1"),
            ("request\\00id", "id-1"),
            ("request\\00useragent", "tests"),
            ("request\\00headers\\00x-many", "one,two"),
            ("request\\00headers\\00X-Key", "value"),
            ("request\\00headers\\00:path", "/path?query"),
            ("request\\00headers\\00host", "a.example:80"),
            ("source\\00address", "10.0.0.1:1234"),
            ("destination\\00address", "10.0.0.2:80"),
            ("cluster_name", "c"),
            ("xds\\00cluster_name", "c"),
            ("route_name", "r"),
            ("xds\\00route_name", "r"),
            ("listener_name", "main"),
            ("response\\00code_details", "via_upstream"),
            ("response\\00headers\\00server", "up"),
        ];
        let paths: Vec<_> = cases.iter().map(|(path, _)| *path).collect();
        let plugin = worker
            .load(plugin(), Guest::new().on("response_headers", &(read(&paths) + "(i32.const 0)")))
            .await;
        let stream = stream();
        let filter = worker.open(&plugin, &stream).await;
        let mut headers = HeaderMap::new();
        headers.insert("server", "up".parse().unwrap());
        stream.state().response = Some(ResponseHead { status: StatusCode::OK, headers });
        filter.response_headers(true).await;
        let expected: Vec<_> = cases.iter().flat_map(|(_, value)| ["0", value]).collect();
        assert_eq!(worker.lines.take(), expected);
    });
}

#[test]
fn properties_of_numbers_are_eight_bytes_and_of_booleans_one() {
    in_worker(async |worker| {
        let number = |path: &str| {
            format!(
                "(call $print (call $get_property <<{path}>> CELLS)) (call $print (i32.load (i32.const 12)))
                 (call $print (i32.wrap_i64 (i64.load (i32.load (i32.const 8)))))\n"
            )
        };
        let cases = [
            ("source\\00port", "1234"),
            ("destination\\00port", "80"),
            ("connection\\00id", "7"),
            ("connection_id", "7"),
            ("request\\00size", "12"),
            ("request\\00headers_bytes", "44"),
            ("request\\00total_size", "47"),
            ("response\\00code", "200"),
            ("response\\00size", "4"),
            ("response\\00flags", "0"),
            ("response\\00grpc_status", "5"),
            ("xds\\00listener_direction", "1"),
        ];
        let body: String = cases.iter().map(|(path, _)| number(path)).collect();
        let body = body
            + "(call $print (call $get_property <<connection\\00mtls>> CELLS)) (call $print (i32.load (i32.const 12)))
               (i32.const 0)";
        let plugin = worker.load(plugin(), Guest::new().on("response_headers", &body)).await;
        let stream = stream();
        let filter = worker.open(&plugin, &stream).await;
        {
            let mut state = stream.state();
            state.request.headers.insert("content-length", "12".parse().unwrap());
            state.response = Some(ResponseHead { status: StatusCode::OK, headers: HeaderMap::new() });
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "5".parse().unwrap());
            state.response_trailers = Some(trailers);
        }
        let headers = stream.state().request.headers.clone();
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        filter.response_headers(true).await;
        let bytes = [bytes.to_string(), (bytes + 3).to_string()];
        let mut expected: Vec<&str> = Vec::new();
        for (path, value) in cases {
            let value = match path {
                "request\\00headers_bytes" => &bytes[0],
                "request\\00total_size" => &bytes[1],
                _ => value,
            };
            expected.extend(["0", "8", value]);
        }
        expected.extend(["0", "1"]);
        assert_eq!(worker.lines.take(), expected);
    });
}

#[test]
fn properties_that_are_not_there_are_not_found() {
    in_worker(async |worker| {
        let paths = [
            "request",
            "request\\00nothing",
            "request\\00path\\00more",
            "request\\00headers\\00absent",
            "request\\00headers\\00no token",
            "request\\00referer",
            "response\\00code",
            "response\\00headers\\00x",
            "upstream\\00address",
            "upstream\\00nothing",
            "source\\00nothing",
            "node\\00metadata\\00K",
            "",
        ];
        let body: String =
            paths.iter().map(|path| format!("(call $print (call $get_property <<{path}>> CELLS))")).collect();
        let guest = Guest::new().on("request_headers", &(body + "(i32.const 0)"));
        assert_eq!(worker.said(plugin(), guest).await, ["1"; 13]);
    });
}

#[test]
fn protocols_have_their_names() {
    in_worker(async |worker| {
        let guest = Guest::new().on("request_headers", &(read(&["request\\00protocol"]) + "(i32.const 0)"));
        let plugin = worker.load(shared(), guest).await;
        for (version, name) in
            [(Version::HTTP_10, "HTTP/1.0"), (Version::HTTP_2, "HTTP/2"), (Version::HTTP_3, "HTTP/3")]
        {
            let stream = stream();
            stream.state().info.version = version;
            worker.open(&plugin, &stream).await.request_headers(true).await;
            assert_eq!(worker.lines.take(), ["0", name]);
        }
    });
}

#[test]
fn a_property_that_a_filter_sets_is_seen_by_the_next_one_and_cannot_hide_a_real_one() {
    in_worker(async |worker| {
        let setter = Guest::new().on(
            "request_headers",
            "(call $print (call $set_property <<my\\00key>> <<mine>>))
             (call $print (call $set_property <<plugin_name>> <<forged>>))
             (call $print (call $set_property <<request\\00path>> <<forged>>)) (i32.const 0)",
        );
        let getter = Guest::new().on(
            "request_headers",
            &(read(&["my\\00key", "plugin_name", "request\\00path"]) + "(i32.const 0)"),
        );
        let (one, two) = (worker.load(shared(), setter).await, worker.load(plugin(), getter).await);
        let stream = stream();
        worker.open(&one, &stream).await.request_headers(true).await;
        assert_eq!(worker.lines.take(), ["0"; 3]);
        worker.open(&two, &stream).await.request_headers(true).await;
        assert_eq!(worker.lines.take(), ["0", "mine", "0", "p", "0", "/path?query"]);
    });
}

#[test]
fn properties_of_a_stream_are_bounded_and_replacing_one_frees_the_old() {
    in_worker(async |worker| {
        let set =
            |len: u32| format!("(call $print (call $set_property <<k>> (i32.const 0) (i32.const {len})))");
        let body = [set(65_535), set(65_535), set(65_536), set(10), set(65_535)].concat();
        let guest = Guest::new().on("request_headers", &(body + "(i32.const 0)"));
        assert_eq!(worker.said(plugin(), guest).await, ["0", "0", "10", "0", "0"]);
    });
}
