//! The start of a function: how long it took, and that it failed.

use crate::seen::Seen;
use crate::world::World;

#[tokio::test]
async fn the_start_and_its_phases() {
    for world in World::both(env!("CARGO_BIN_EXE_start"), &[]).await {
        let first = world.invoke("{}").await;
        let second = world.invoke("{}").await;
        let there = |seen: &Seen| {
            seen.count("aws.lambda") == 2
                && seen.count("aws.lambda.cold_start") == 1
                && seen.count("aws.lambda.load") == 1
        };
        let seen = world.end(there).await;
        let (cold, load) = (seen.one("aws.lambda.cold_start"), seen.one("aws.lambda.load"));
        let phase = seen.one("aws.lambda.load.phase");
        let (root, warm) = (seen.root(first.request_id.as_str()), seen.root(second.request_id.as_str()));
        assert_eq!((root.tag("cold_start"), warm.tag("cold_start")), ("true", "false"));
        // The extension knows the start of the sandbox, and makes its span of it the load span's parent.
        for span in [cold, load, phase] {
            assert_eq!(span.trace, root.trace);
        }
        assert_eq!((load.parent, phase.parent), (Some(cold.id), Some(load.id)));
        assert_eq!(phase.resource, "connect to the database");
        // It waits for 20 ms, by a clock that is not that of spans.
        assert!(phase.duration >= 10_000_000, "{phase:?}");
        // Lambda tells its times in milliseconds.
        let slack = 2_000_000;
        assert!(load.start <= phase.start && phase.end() <= load.end(), "{load:?} {phase:?}");
        assert!(cold.start <= load.start + slack && load.end() <= cold.end() + slack, "{cold:?} {load:?}");
        assert!(load.end() <= root.start, "{load:?} {root:?}");
    }
}

#[tokio::test]
async fn a_start_that_panics_is_a_span() {
    for world in World::both(env!("CARGO_BIN_EXE_start"), &[("POOL", "0")]).await {
        let answer = world.invoke("{}").await;
        assert_eq!(answer.function_error.as_deref(), Some("Unhandled"));
        let seen = world.end(|seen| seen.count("aws.lambda") > 0).await;
        for span in seen.all("aws.lambda") {
            assert_eq!(span.failure(), "panic: a pool of none");
            let stack = span.tag("error.stack");
            assert!(stack.starts_with("panicked at ") && stack.contains("start.rs:"), "{stack}");
        }
    }
}

#[tokio::test]
async fn a_start_that_fails_is_a_span() {
    for world in World::both(env!("CARGO_BIN_EXE_start"), &[("DATABASE", "")]).await {
        let answer = world.invoke("{}").await;
        assert_eq!(answer.function_error.as_deref(), Some("Unhandled"));
        let seen = world.end(|seen| seen.count("aws.lambda") > 0).await;
        // Lambda tries it again within the invocation: each try is told.
        for span in seen.all("aws.lambda") {
            assert_eq!(span.failure(), "std::io::error::Error: no database of that name");
            assert_eq!((span.tag("error.status"), span.parent), ("500", None));
            assert_eq!(span.resource, "shop");
            assert!(span.duration >= 10_000_000, "{span:?}");
        }
    }
}
