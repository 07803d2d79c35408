//! How a resource is shared: waiters, places, shares, rates, calls of a request.

use super::*;

#[tokio::test(start_paused = true)]
async fn more_than_the_bounded_waiters_are_overloaded_at_once() {
    let world = world();
    let tasks = [world.spawn().await, world.spawn().await, world.spawn().await];
    assert_eq!((world.resource.in_flight(), world.resource.waiting()), (1, 2));
    let begun = Instant::now();
    assert_eq!(code(&world.future().await), Code::Overloaded);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    tasks.iter().for_each(JoinHandle::abort);
    for task in tasks {
        assert!(task.await.unwrap_err().is_cancelled());
    }
    world.assert_nothing_is_held();
    assert!(world.metrics.encode().unwrap().contains("reason=\"overloaded\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn a_plugin_over_its_own_bound_is_overloaded_while_others_pass() {
    let world = world_of(ResourcePolicy { in_flight_max: 10, ..policy() }, 1);
    let first = world.spawn().await;
    assert_eq!(code(&world.future().await), Code::Overloaded);
    let other = world.plugin("other", GrantBounds::default());
    let theirs = world.spawn_of(&other).await;
    world.fake.answer(Ok(reply()));
    world.fake.answer(Ok(reply()));
    assert!(outcome(&first.await.unwrap()).is_ok() && outcome(&theirs.await.unwrap()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn waiters_are_served_first_come_first_served() {
    let world = world();
    let first = world.spawn().await;
    let second = world.spawn().await;
    let third = world.spawn().await;
    world.fake.answer(Ok(reply()));
    first.await.unwrap();
    tokio::task::yield_now().await;
    world.fake.answer(Ok(reply()));
    assert!(outcome(&second.await.unwrap()).is_ok());
    tokio::task::yield_now().await;
    assert!(!third.is_finished());
    world.fake.answer(Ok(reply()));
    assert!(outcome(&third.await.unwrap()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_floods_leaves_the_waiting_room_and_the_next_place_to_the_quiet_one() {
    let world = world();
    let flood = [world.spawn().await, world.spawn().await, world.spawn().await];
    assert_eq!(code(&world.future().await), Code::Overloaded, "its own room is full");
    let quiet = world.plugin("quiet", GrantBounds::default());
    let call = world.spawn_of(&quiet).await;
    assert_eq!(world.resource.waiting(), 3);
    world.fake.answer(Ok(reply()));
    tokio::task::yield_now().await;
    world.fake.answer(Ok(reply()));
    assert!(
        outcome(&call.await.unwrap()).is_ok(),
        "it waited for one call, and not for those that came before it"
    );
    flood.iter().for_each(JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_has_no_more_calls_under_way_than_its_share() {
    let world = world_of(ResourcePolicy { in_flight_max: 4, waiters_max: 0, ..policy() }, 10);
    let half = world.plugin("half", share(50));
    let calls = [world.spawn_of(&half).await, world.spawn_of(&half).await];
    let Dispatch::Call { future, .. } = half.call(AGW_REDIS, &payload(0), world.site()) else { panic!() };
    assert_eq!(code(&future.await), Code::Overloaded);
    let others = [world.spawn().await, world.spawn().await];
    assert_eq!(world.resource.in_flight(), 4);
    calls.iter().chain(&others).for_each(JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_is_configured_anew_keeps_its_place_in_the_resource() {
    let world = world_of(ResourcePolicy { in_flight_max: 4, waiters_max: 0, ..policy() }, 10);
    let before = world.plugin("half", share(50));
    let _call = world.spawn_of(&before).await;
    let after = world.plugin("half", share(25));
    let Dispatch::Call { future, .. } = after.call(AGW_REDIS, &payload(0), world.site()) else { panic!() };
    assert_eq!(code(&future.await), Code::Overloaded, "the older call counts");
}

#[tokio::test(start_paused = true)]
async fn a_plugin_over_its_rate_is_told_when_to_come_again_while_others_pass() {
    let world = world();
    *world.fake.at_once.lock() = Some(Ok(()));
    let rate = Some(Rate { per_second: 4, burst: 2 });
    let hurried = world.plugin("hurried", GrantBounds { rate, ..share(100) });
    for _ in 0..2 {
        assert!(outcome(&world.spawn_of(&hurried).await.await.unwrap()).is_ok());
    }
    for _ in 0..3 {
        let Dispatch::Answer { bytes, .. } = hurried.call(AGW_REDIS, &payload(0), world.site()) else {
            panic!()
        };
        let error = outcome(&bytes).unwrap_err();
        assert_eq!((error.code, error.retry, error.retry_after_ms), (Code::Overloaded, Retry::Safe, 250));
        assert!(error.message.contains("retry after 250 ms"), "{}", error.message);
    }
    assert!(outcome(&world.future().await).is_ok(), "another plugin");
    tokio::time::advance(250 * MS).await;
    assert!(outcome(&world.spawn_of(&hurried).await.await.unwrap()).is_ok());
    world.assert_nothing_is_held();
    let metrics = world.metrics.encode().unwrap();
    let rejected = |plugin: &str, reason: &str| {
        format!(
            "agw_resource_pool_rejected_total{{resource=\"limits\",plugin=\"{plugin}\",reason=\"{reason}\"}} "
        )
    };
    assert!(metrics.contains(&(rejected("hurried", "rate") + "3")), "{metrics}");
    assert!(metrics.contains(&(rejected("hurried", "overloaded") + "0")), "{metrics}");
    assert!(metrics.contains(&(rejected("limiter", "rate") + "0")), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn what_is_known_already_costs_nothing_of_the_rate() {
    let world = world();
    let rate = Some(Rate { per_second: 1, burst: 1 });
    let plugin = world.plugin("hurried", GrantBounds { rate, ..share(100) });
    *world.fake.known.lock() = Some(Ok(reply()));
    for _ in 0..10 {
        let Dispatch::Answer { bytes, .. } = plugin.call(AGW_REDIS, &payload(0), world.site()) else {
            panic!()
        };
        assert!(outcome(&bytes).is_ok());
    }
    *world.fake.known.lock() = None;
    assert!(matches!(plugin.call(AGW_REDIS, &payload(0), world.site()), Dispatch::Call { .. }));
    assert_eq!(refusal(plugin.call(AGW_REDIS, &payload(0), world.site())), Code::Overloaded);
}

#[tokio::test(start_paused = true)]
async fn a_request_makes_no_more_calls_than_it_may() {
    let world = world();
    let access = Access::builder("limiter", 10, Arc::clone(&world.metrics))
        .calls_per_request(3)
        .grant(AGW_REDIS, Arc::clone(&world.resource), Arc::new(Shared(Arc::clone(&world.fake))))
        .build();
    let call = |calls_before| access.call(AGW_REDIS, &payload(0), CallSite { calls_before, ..world.site() });
    assert!(matches!(call(2), Dispatch::Call { .. }));
    for calls_before in [3, 4, u32::MAX] {
        let Dispatch::Answer { bytes, .. } = call(calls_before) else { panic!() };
        let error = outcome(&bytes).unwrap_err();
        assert_eq!((error.code, error.retry), (Code::Denied, Retry::Never));
        assert!(error.message.contains("may make 3"), "{}", error.message);
    }
    world.assert_nothing_is_held();
    assert!(world.metrics.encode().unwrap().contains("reason=\"request_calls\"} 3"));
}
