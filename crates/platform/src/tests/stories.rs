//! What Lambda does, told from begin to end.

use super::{World, with_extension};
use crate::Config;

/// Each line of a story that starts with `>` is a fact; the lines behind it are what comes of it.
pub(super) fn check(config: Config, story: &str) {
    let mut world = World::new(config);
    let mut told = String::new();
    for fact in story.lines().filter_map(|l| l.trim().strip_prefix('>')) {
        told.push_str(&format!("> {}\n", fact.trim()));
        told.push_str(&world.tell(fact));
    }
    let expect: String =
        story.lines().map(str::trim).filter(|l| !l.is_empty()).map(|l| format!("{l}\n")).collect();
    assert!(told == expect, "told:\n{told}\nexpected:\n{expect}");
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn a_cold_and_a_warm_invocation_then_the_end() {
    check(
        with_extension(),
        "
        > invoke a
        subscriptions open
        initStart init @0
        spawn 1 ext
        > +5ms
        > register ext SHUTDOWN INVOKE
        reply #2 registered id-ext
        spawn 2 runtime
        > subscribe ext
        reply #3 subscribed
        telemetrySubscription ext [\"platform\"] @5
        > next ext
        > +20ms
        > runtime next
        initRuntimeDone init success @25
        extension ext Ready [\"INVOKE\", \"SHUTDOWN\"] @25
        initReport init success 25ms @25
        subscriptions closed
        start a @25
        reply #4 INVOKE a until 3025
        reply #5 invocation a until 3025
        > +10ms
        > response a
        reply #6 accepted
        answer a response \"ok\"
        > +1ms
        > memory 40
        > runtime next
        runtimeDone a success 11ms responseLatency=10 responseDuration=0 runtimeOverhead=1 @36
        > +4ms
        > next ext
        report a success 15ms billed 40ms used 40MB init 25ms extensionOverhead=4 @40
        freeze
        > +1000ms
        > invoke b
        thaw
        start b @1040
        reply #9 INVOKE b until 4040
        reply #8 invocation b until 4040
        > next ext
        > invoke c
        > error b Function.Bad
        reply #13 accepted
        answer b error {}
        > runtime next
        runtimeDone b error 0ms Function.Bad responseLatency=0 responseDuration=0 runtimeOverhead=0 @1040
        report b error 0ms billed 0ms used 40MB Function.Bad extensionOverhead=0 @1040
        start c @1040
        reply #11 INVOKE c until 4040
        reply #14 invocation c until 4040
        > response c
        reply #15 accepted
        answer c response \"ok\"
        > runtime next
        runtimeDone c success 0ms responseLatency=0 responseDuration=0 runtimeOverhead=0 @1040
        > next ext
        report c success 0ms billed 0ms used 40MB extensionOverhead=0 @1040
        freeze
        > shutdown
        thaw
        subscriptions flush
        terminate 2
        > +30ms
        > exit 2 0
        reply #17 SHUTDOWN spindown until 3040
        > +50ms
        > exit 1 0
        destroyed
        > invoke d
        answer d rejected ShuttingDown
        ",
    );
}

#[test]
fn a_timeout_resets_and_the_next_initialisation_is_inside_the_invocation() {
    check(
        with_extension(),
        "
        > invoke a
        subscriptions open
        initStart init @0
        spawn 1 ext
        > register ext INVOKE SHUTDOWN
        reply #2 registered id-ext
        spawn 2 runtime
        > runtime next
        initRuntimeDone init success @0
        > next ext
        extension ext Ready [\"INVOKE\", \"SHUTDOWN\"] @0
        initReport init success 0ms @0
        subscriptions closed
        start a @0
        reply #4 INVOKE a until 3000
        reply #3 invocation a until 3000
        > invoke b
        > +2999ms
        > +1ms
        answer a failure Sandbox.Timedout: RequestId: a Error: Task timed out after 3.00 seconds
        runtimeDone a timeout 3000ms @3000
        subscriptions flush
        terminate 2
        > +300ms
        kill 2
        > next ext
        reply #6 SHUTDOWN timeout until 5000
        > killed 2
        > +1700ms
        kill 1
        > killed 1
        report a timeout 3000ms billed 3000ms used 0MB init 0ms @5000
        destroyed
        subscriptions open
        initStart invoke @5000
        spawn 3 ext
        > +100ms
        > register ext
        reply #9 registered id-ext
        spawn 4 runtime
        > next ext
        > runtime next
        initRuntimeDone invoke success @5100
        extension ext Ready [] @5100
        initReport invoke success 100ms @5100
        subscriptions closed
        start b @5100
        reply #11 invocation b until 8000
        > response b
        reply #12 accepted
        answer b response \"ok\"
        > runtime next
        runtimeDone b success 0ms responseLatency=0 responseDuration=0 runtimeOverhead=0 @5100
        report b success 100ms billed 100ms used 0MB @5100
        freeze
        > shutdown
        thaw
        subscriptions flush
        terminate 4
        > exit 4 0
        kill 3
        > killed 3
        destroyed
        ",
    );
}

#[test]
fn a_failed_init_is_tried_again_inside_the_invocation() {
    check(
        Config::new("f"),
        "
        > invoke a
        subscriptions open
        initStart init @0
        spawn 1 runtime
        > +10ms
        > exit 1 1
        initRuntimeDone init error Runtime.ExitError @10
        initReport init error 10ms Runtime.ExitError @10
        subscriptions closed
        subscriptions flush
        destroyed
        subscriptions open
        initStart invoke @10
        spawn 2 runtime
        > +10ms
        > runtime init-error Runtime.BadConfig
        reply #3 accepted
        initRuntimeDone invoke error Runtime.BadConfig @20
        initReport invoke error 10ms Runtime.BadConfig @20
        subscriptions closed
        start a @20
        answer a error {}
        runtimeDone a error 0ms Runtime.BadConfig @20
        subscriptions flush
        kill 2
        > invoke b
        > exit 2 1
        report a error 10ms billed 10ms used 0MB Runtime.BadConfig @20
        destroyed
        subscriptions open
        initStart invoke @20
        spawn 3 runtime
        > launch-failed 3
        initRuntimeDone invoke error Runtime.InvalidEntrypoint @20
        initReport invoke error 0ms Runtime.InvalidEntrypoint @20
        subscriptions closed
        start b @20
        answer b failure Runtime.InvalidEntrypoint: RequestId: b Error: permission denied
        runtimeDone b error 0ms Runtime.InvalidEntrypoint @20
        subscriptions flush
        report b error 0ms billed 0ms used 0MB Runtime.InvalidEntrypoint @20
        destroyed
        > shutdown
        destroyed
        ",
    );
}

#[test]
fn an_init_that_hangs_has_ten_seconds_then_the_timeout_of_the_function() {
    check(
        with_extension(),
        "
        > invoke a
        subscriptions open
        initStart init @0
        spawn 1 ext
        > +10000ms
        initRuntimeDone init timeout @10000
        extension ext Started [] @10000
        initReport init timeout 10000ms @10000
        subscriptions closed
        subscriptions flush
        kill 1
        > killed 1
        destroyed
        subscriptions open
        initStart invoke @10000
        spawn 2 ext
        > register ext SHUTDOWN
        reply #3 registered id-ext
        spawn 3 runtime
        > init-error ext
        reply #4 accepted
        > next ext
        reply #5 403 Extension.InvalidExtensionState: State transition from InitError to Ready failed for \
         extension id-ext. Error: State transition is not allowed
        > exit 2 1
        initRuntimeDone invoke error Extension.InitError @10000
        extension ext Exited [\"SHUTDOWN\"] Ext.Bad @10000
        initReport invoke error 0ms Extension.InitError @10000
        subscriptions closed
        start a @10000
        answer a failure Extension.InitError: RequestId: a Error: Ext.Bad
        runtimeDone a error 0ms Extension.InitError @10000
        subscriptions flush
        terminate 3
        > +300ms
        kill 3
        > killed 3
        report a error 0ms billed 0ms used 0MB Extension.InitError @10300
        destroyed
        ",
    );
}

#[test]
fn crashes_name_what_ended() {
    check(
        with_extension(),
        "
        > invoke a
        subscriptions open
        initStart init @0
        spawn 1 ext
        > register ext INVOKE SHUTDOWN
        reply #2 registered id-ext
        spawn 2 runtime
        > next ext
        > register inside INVOKE
        reply #4 registered id-inside
        > runtime next
        initRuntimeDone init success @0
        > register late
        reply #6 403 Extension.RegistrationClosed: Extension registration closed already
        > next inside
        extension ext Ready [\"INVOKE\", \"SHUTDOWN\"] @0
        extension inside Ready [\"INVOKE\"] @0
        initReport init success 0ms @0
        subscriptions closed
        start a @0
        reply #3 INVOKE a until 3000
        reply #7 INVOKE a until 3000
        reply #5 invocation a until 3000
        > response a
        reply #8 accepted
        answer a response \"ok\"
        > response a
        reply #9 403 InvalidStateTransition: State transition from ResponseSent to InvocationResponse failed for \
         runtime. Error: State transition is not allowed
        > runtime next
        runtimeDone a success 0ms responseLatency=0 responseDuration=0 runtimeOverhead=0 @0
        > response a
        reply #11 400 InvalidRequestID: Invalid request ID
        > exit 1 3
        subscriptions flush
        terminate 2
        > exit 2 0
        report a error 0ms billed 0ms used 0MB init 0ms Extension.Crash extensionOverhead=0 @0
        destroyed
        ",
    );
}

#[test]
fn a_runtime_that_dies_answers_for_the_function() {
    check(
        Config::new("f"),
        "
        > invoke a
        subscriptions open
        initStart init @0
        spawn 1 runtime
        > runtime next
        initRuntimeDone init success @0
        initReport init success 0ms @0
        subscriptions closed
        start a @0
        reply #2 invocation a until 3000
        > +7ms
        > runtime next
        reply #3 invocation a until 3000
        > response b
        reply #4 400 InvalidRequestID: Invalid request ID
        > response a attempt=other
        reply #5 400 InvalidRequestID: Invalid request ID
        > killed 1
        answer a failure Runtime.ExitError: RequestId: a Error: Runtime exited with error: signal: killed
        runtimeDone a error 7ms Runtime.ExitError @7
        subscriptions flush
        report a error 7ms billed 7ms used 0MB init 0ms Runtime.ExitError @7
        destroyed
        ",
    );
}

#[test]
fn a_response_that_lambda_cannot_take_is_an_error_of_the_function() {
    for (body, reply, answer) in [
        (
            "6291557",
            "413 RequestEntityTooLarge: Exceeded maximum allowed payload size (6291556 bytes).",
            "Function.ResponseSizeTooLarge: Response payload size (6291557 bytes) exceeded maximum allowed \
             payload size (6291556 bytes).",
        ),
        (
            "truncated",
            "400 TruncatedHTTPRequest: HTTP request detected as truncated",
            "Runtime.TruncatedResponse: RequestId: a Error: Truncated response",
        ),
        (
            "mode",
            "400 InvalidFunctionResponseMode: Invalid function response mode",
            "Runtime.InvalidResponseModeHeader: RequestId: a Error: Invalid response mode header",
        ),
    ] {
        let kind = answer.split(':').next().unwrap();
        check(
            Config::new("f"),
            &format!(
                "
                > invoke a
                subscriptions open
                initStart init @0
                spawn 1 runtime
                > runtime next
                initRuntimeDone init success @0
                initReport init success 0ms @0
                subscriptions closed
                start a @0
                reply #2 invocation a until 3000
                > response a {body}
                reply #3 {reply}
                answer a failure {answer}
                > runtime next
                runtimeDone a error 0ms {kind} responseLatency=0 responseDuration=0 runtimeOverhead=0 @0
                report a error 0ms billed 0ms used 0MB init 0ms {kind} @0
                freeze
                "
            ),
        );
    }
}

#[test]
fn the_eleventh_extension_is_one_too_many() {
    let extensions = (0..11).map(|n| format!("e{n}").into()).collect();
    let mut world = World::new(Config { extensions, ..Config::new("f") });
    let told = world.tell("invoke a");
    assert!(told.contains("initReport init error 0ms Extension.LaunchError"), "{told}");
    assert!(!told.contains("spawn 11"), "{told}");
    let mut world = World::new(Config { extensions: Vec::new(), ..Config::new("f") });
    world.tell("invoke a");
    for n in 0..10 {
        world.tell(&format!("register e{n}"));
    }
    let told = world.tell("register e10");
    assert!(told.ends_with("403 Extension.TooManyExtensions: Extension limit (10) reached\n"), "{told}");
}

#[test]
fn only_internal_extensions_give_the_runtime_half_a_second() {
    check(
        Config::new("f"),
        "
        > invoke a
        subscriptions open
        initStart init @0
        spawn 1 runtime
        > register inside INVOKE
        reply #2 registered id-inside
        > runtime next
        initRuntimeDone init success @0
        > next inside
        extension inside Ready [\"INVOKE\"] @0
        initReport init success 0ms @0
        subscriptions closed
        start a @0
        reply #4 INVOKE a until 3000
        reply #3 invocation a until 3000
        > response a
        reply #5 accepted
        answer a response \"ok\"
        > runtime next
        runtimeDone a success 0ms responseLatency=0 responseDuration=0 runtimeOverhead=0 @0
        > next inside
        report a success 0ms billed 0ms used 0MB init 0ms extensionOverhead=0 @0
        freeze
        > shutdown
        thaw
        subscriptions flush
        terminate 1
        > +499ms
        > +1ms
        kill 1
        > killed 1
        destroyed
        ",
    );
}

#[test]
fn shutting_down_waits_for_the_invocation_that_runs() {
    check(
        with_extension(),
        "
        > invoke a
        subscriptions open
        initStart init @0
        spawn 1 ext
        > register ext INVOKE SHUTDOWN
        reply #2 registered id-ext
        spawn 2 runtime
        > runtime next
        initRuntimeDone init success @0
        > next ext
        extension ext Ready [\"INVOKE\", \"SHUTDOWN\"] @0
        initReport init success 0ms @0
        subscriptions closed
        start a @0
        reply #4 INVOKE a until 3000
        reply #3 invocation a until 3000
        > invoke b
        > shutdown
        answer b rejected ShuttingDown
        > invoke c
        answer c rejected ShuttingDown
        > response a
        reply #8 accepted
        answer a response \"ok\"
        > runtime next
        runtimeDone a success 0ms responseLatency=0 responseDuration=0 runtimeOverhead=0 @0
        > +70ms
        > next ext
        report a success 70ms billed 70ms used 0MB init 0ms extensionOverhead=70 @70
        subscriptions flush
        terminate 2
        > exit 2 0
        reply #10 SHUTDOWN spindown until 2070
        > exit 1 0
        destroyed
        ",
    );
}

#[test]
fn shutting_down_waits_no_longer_than_the_timeout() {
    check(
        Config::new("f"),
        "
        > invoke a
        subscriptions open
        initStart init @0
        spawn 1 runtime
        > runtime next
        initRuntimeDone init success @0
        initReport init success 0ms @0
        subscriptions closed
        start a @0
        reply #2 invocation a until 3000
        > shutdown
        > +3000ms
        answer a failure Sandbox.Timedout: RequestId: a Error: Task timed out after 3.00 seconds
        runtimeDone a timeout 3000ms @3000
        subscriptions flush
        kill 1
        > killed 1
        report a timeout 3000ms billed 3000ms used 0MB init 0ms @3000
        destroyed
        > invoke b
        answer b rejected ShuttingDown
        ",
    );
}

#[test]
fn a_function_that_uses_all_memory_is_killed_for_it() {
    check(
        Config::new("f"),
        "
        > out-of-memory
        > invoke a
        subscriptions open
        initStart init @0
        spawn 1 runtime
        > runtime next
        initRuntimeDone init success @0
        initReport init success 0ms @0
        subscriptions closed
        start a @0
        reply #3 invocation a until 3000
        > +7ms
        > out-of-memory
        kill 1
        > out-of-memory
        > killed 1
        answer a failure Runtime.OutOfMemory: RequestId: a Error: Runtime exited with error: signal: killed
        runtimeDone a error 7ms Runtime.OutOfMemory @7
        subscriptions flush
        report a error 7ms billed 7ms used 128MB init 0ms Runtime.OutOfMemory @7
        destroyed
        ",
    );
}
