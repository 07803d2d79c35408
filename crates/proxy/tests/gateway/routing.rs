//! What routes ask of requests, and what answers them.

use agw_config::{
    ClusterTarget, DirectResponse, Forward, HostRewrite, PathMatch, PathRewrite, Redirect, Route,
    RouteAction, RouteMatch, WeightedCluster,
};

use crate::guests::{Guest, REQUEST, RESPONSE, load};
use crate::support::{Response, Setup, cluster, manual_upstream, ok, route, upstream};

/// An upstream that answers with the head and the body it received.
async fn mirror() -> std::net::SocketAddr {
    upstream(|request| ok(&format!("{}{}", request.head, request.body))).await
}

/// The action of a route that forwards.
fn forward(route: &mut Route) -> &mut Forward {
    match &mut route.action {
        RouteAction::Forward(forward) => forward,
        other => panic!("{other:?}"),
    }
}

fn answering(name: &str, prefix: &str, action: RouteAction) -> Route {
    Route::new(name, RouteMatch::path(PathMatch::Prefix(prefix.into())), action)
}

fn redirect(to: Redirect) -> RouteAction {
    RouteAction::Redirect(to)
}

fn secure() -> Redirect {
    let scheme = Some("https".into());
    Redirect { status: 308, scheme, host: None, port: None, path: None, strip_query: false }
}

fn respond(status: u16, body: &str) -> RouteAction {
    let headers = vec![("x-fixed".to_owned(), "1".to_owned())];
    RouteAction::Respond(DirectResponse { status, headers, body: body.into() })
}

async fn with_plugins(setup: &mut Setup, guests: Vec<Guest>) {
    for plugin in load(guests).await {
        setup.routes[0].plugins.push(plugin.name().to_owned());
        setup.plugins.insert(plugin.name().to_owned(), plugin);
    }
}

fn first_line(response: &Response) -> &str {
    response.body.lines().next().unwrap_or_default()
}

#[tokio::test]
async fn what_differs_in_the_method_only_is_a_404() {
    let mut setup = Setup::echo();
    setup.routes[0].matching.methods = vec!["POST".into()];
    let gateway = setup.start();
    assert_eq!(gateway.post("/", "").await.status(), 200);
    gateway.get("/").await.assert(404, "route_not_found");
}

#[tokio::test]
async fn a_redirect_needs_no_upstream_and_keeps_the_connection() {
    let mut setup = Setup::echo();
    setup.routes = vec![answering("away", "/", redirect(secure()))];
    let gateway = setup.start();
    let mut client = gateway.client().await;
    for method in ["GET", "HEAD"] {
        client.send(&format!("{method} /x?y=z HTTP/1.1\r\nhost: a.example:80\r\n\r\n")).await;
        let response = client.head_only().await;
        assert_eq!(response.status(), 308);
        assert_eq!(response.header("location"), Some("https://a.example/x?y=z"));
        assert_eq!(response.header("content-length"), Some("0"));
    }
    gateway.wait_for_metric(r#"agw_http_requests_total{route="away",method="GET",code="308"} 1"#).await;
}

#[tokio::test]
async fn fixed_words_come_with_their_headers_and_without_body_for_head() {
    let mut setup = Setup::echo();
    setup.routes = vec![answering("fixed", "/", respond(503, "closed"))];
    let gateway = setup.start();
    let response = gateway.post("/", "a body that nobody reads").await;
    assert_eq!((response.status(), response.body.as_str()), (503, "closed"));
    assert_eq!(
        (response.header("x-fixed"), response.header("content-type")),
        (Some("1"), Some("text/plain"))
    );
    let mut client = gateway.client().await;
    client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.head_only().await.header("content-length"), Some("6"));
    assert_eq!(client.response().await.body, "closed");
}

#[tokio::test]
async fn plugins_run_before_the_gateway_answers_itself() {
    for action in [redirect(secure()), respond(200, "fixed")] {
        let mut setup = Setup::echo();
        setup.routes = vec![answering("here", "/", action.clone())];
        with_plugins(&mut setup, vec![Guest::new().adds("response_headers", RESPONSE, "x-seen", "1")]).await;
        let gateway = setup.start();
        assert_eq!(gateway.get("/").await.header("x-seen"), Some("1"), "{action:?}");

        let mut setup = Setup::echo();
        setup.routes = vec![answering("here", "/", action)];
        with_plugins(&mut setup, vec![Guest::new().answers("request_headers", 403, "no", "denied")]).await;
        assert_eq!(setup.start().get("/").await.body, "denied");
    }
}

#[tokio::test]
async fn a_plugin_sees_the_body_before_the_gateway_answers_itself() {
    let mut setup = Setup::echo();
    setup.routes = vec![answering("here", "/", respond(200, "fixed"))];
    with_plugins(&mut setup, vec![Guest::new().answers("request_body", 403, "no", "denied")]).await;
    let gateway = setup.start();
    assert_eq!(gateway.post("/", "body").await.body, "denied");
    assert_eq!(gateway.get("/").await.body, "fixed");

    // One that lets each chunk pass does not hold the answer up, nor the connection.
    let mut setup = Setup::echo();
    setup.routes = vec![answering("here", "/", respond(200, "fixed"))];
    with_plugins(&mut setup, vec![Guest::new().adds("request_body", REQUEST, "x", "y")]).await;
    let gateway = setup.start();
    let mut client = gateway.client().await;
    for _ in 0..2 {
        client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
        client.send("3\r\nabc\r\n").await;
        client.send("3\r\ndef\r\n0\r\n\r\n").await;
        assert_eq!(client.response().await.body, "fixed");
    }
}

#[tokio::test]
async fn a_plugin_that_changes_the_path_chooses_the_action_anew() {
    let mut setup = Setup::to(mirror().await);
    with_plugins(&mut setup, vec![Guest::new().replaces("request_headers", REQUEST, ":path", "/here/x")])
        .await;
    setup.routes.push(answering("here", "/here/", redirect(secure())));
    let response = setup.start().get("/a").await;
    assert_eq!(response.header("location"), Some("https://a/here/x"));
}

#[tokio::test]
async fn the_upstream_sees_the_rewritten_path_and_host() {
    let mut setup = Setup::to(mirror().await);
    setup.routes = vec![route("api", "/api/", "upstream"), route("user", "/u/", "upstream")];
    let api = forward(&mut setup.routes[0]);
    api.path = Some(PathRewrite::Prefix("/v1/".into()));
    api.host = Some(HostRewrite::Literal("inner.example:81".into()));
    let pattern = r"^/u/([0-9]+)".to_owned();
    forward(&mut setup.routes[1]).path =
        Some(PathRewrite::Regex { pattern, substitution: "/users/${1}/home".into() });
    let gateway = setup.start();
    let response = gateway.get("/api/x?y=/api/").await;
    assert_eq!(first_line(&response), "GET /v1/x?y=/api/ HTTP/1.1");
    assert!(response.body.contains("\r\nhost: inner.example:81\r\n"), "{response:?}");
    let response = gateway.get("/u/17?z").await;
    assert_eq!(first_line(&response), "GET /users/17/home?z HTTP/1.1");
    assert!(response.body.contains("\r\nhost: a\r\n"), "{response:?}");
}

#[tokio::test]
async fn the_upstream_sees_its_own_name_as_host() {
    let address = mirror().await;
    let mut setup = Setup::to(address);
    setup.clusters[0].target = ClusterTarget::Endpoints(vec![format!("localhost:{}", address.port())]);
    forward(&mut setup.routes[0]).host = Some(HostRewrite::Endpoint);
    let response = setup.start().get("/").await;
    assert!(response.body.contains(&format!("\r\nhost: localhost:{}\r\n", address.port())), "{response:?}");
}

#[tokio::test]
async fn a_path_that_a_rewrite_breaks_goes_nowhere() {
    let (address, listener) = manual_upstream().await;
    let mut setup = Setup::to(address);
    forward(&mut setup.routes[0]).path =
        Some(PathRewrite::Regex { pattern: "x".into(), substitution: "..".into() });
    setup.start().get("/a/x/b").await.assert(400, "rewritten_path_not_valid");
    assert!(tokio::time::timeout(std::time::Duration::from_millis(50), listener.accept()).await.is_err());
}

#[tokio::test]
async fn clusters_get_their_shares() {
    let mut setup = Setup::to(upstream(|_| ok("first")).await);
    for (name, text) in [("second", "second"), ("third", "third")] {
        let address = upstream(move |_| ok(text)).await;
        setup.clusters.push(cluster(name, ClusterTarget::Endpoints(vec![address.to_string()])));
    }
    let share = |cluster: &str, weight| WeightedCluster { cluster: cluster.into(), weight };
    forward(&mut setup.routes[0]).clusters =
        vec![share("upstream", 3), share("second", 1), share("third", 0)];
    let gateway = setup.start();
    let mut client = gateway.client().await;
    let (mut first, mut second) = (0, 0);
    for _ in 0..400 {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        match client.response().await.body.as_str() {
            "first" => first += 1,
            "second" => second += 1,
            other => panic!("{other}"),
        }
    }
    // 300 and 100 are expected; the bounds are eleven deviations away.
    assert!((200..400).contains(&first) && (1..200).contains(&second), "{first} {second}");
}

#[tokio::test]
async fn hosts_headers_and_parameters_choose_the_route() {
    use agw_config::{FieldMatch, HostMatch, ValueMatch};
    let field = |name: &str, value| FieldMatch { name: name.into(), value };
    let mut setup = Setup::echo();
    let matching = |hosts: &[HostMatch], headers: &[FieldMatch], query: &[FieldMatch]| RouteMatch {
        hosts: hosts.to_vec(),
        headers: headers.to_vec(),
        query: query.to_vec(),
        ..RouteMatch::path(PathMatch::Prefix("/".into()))
    };
    let named = |name: &str, matching| Route::new(name, matching, respond(200, name));
    let wild = [HostMatch::Suffix(".example".into())];
    setup.routes = vec![
        named("any", matching(&[], &[], &[])),
        named("wild", matching(&wild, &[], &[])),
        named("beta", matching(&[], &[field("x-beta", ValueMatch::Exact("1".into()))], &[])),
        named("debug", matching(&wild, &[], &[field("debug", ValueMatch::Present)])),
    ];
    let gateway = setup.start();
    for (head, route) in [
        ("GET / HTTP/1.1\r\nhost: a.test\r\n", "any"),
        ("GET / HTTP/1.1\r\nhost: a.test\r\nX-Beta: 1\r\n", "beta"),
        ("GET / HTTP/1.1\r\nhost: a.test\r\nx-beta: 1\r\nx-beta: 1\r\n", "any"),
        ("GET / HTTP/1.1\r\nhost: A.EXAMPLE:8080\r\nx-beta: 1\r\n", "wild"),
        ("GET /?a&debug HTTP/1.1\r\nhost: b.a.example\r\n", "debug"),
        ("GET http://c.example/?d HTTP/1.1\r\nhost: a.test\r\n", "wild"),
    ] {
        let mut client = gateway.client().await;
        client.send(&format!("{head}\r\n")).await;
        assert_eq!(client.response().await.body, route, "{head}");
    }
}
