//! What is another way of running a function than on demand, told from begin to end.

use super::stories::check;
use super::with_extension;
use crate::{Config, Mode};

#[test]
fn provisioned_concurrency_is_initialised_before_anybody_invokes() {
    check(
        Config { mode: Mode::ProvisionedConcurrency, ..with_extension() },
        "
        > prepare
        subscriptions open
        initStart init @0
        spawn 1 ext
        > prepare
        > register ext INVOKE SHUTDOWN
        reply #3 registered id-ext
        spawn 2 runtime
        > +20ms
        > runtime next
        initRuntimeDone init success @20
        > next ext
        extension ext Ready [\"INVOKE\", \"SHUTDOWN\"] @20
        initReport init success 20ms @20
        subscriptions closed
        freeze
        > +60000ms
        > invoke a
        thaw
        start a @60020
        reply #5 INVOKE a until 63020
        reply #4 invocation a until 63020
        > response a
        reply #7 accepted
        answer a response \"ok\"
        > runtime next
        runtimeDone a success 0ms responseLatency=0 responseDuration=0 runtimeOverhead=0 @60020
        > next ext
        report a success 0ms billed 20ms used 0MB init 20ms extensionOverhead=0 @60020
        freeze
        ",
    );
}

#[test]
fn a_snapshot_is_taken_where_the_runtime_asks_and_gone_on_from_with_the_first_invocation() {
    check(
        Config { mode: Mode::SnapStart, ..with_extension() },
        "
        > prepare
        subscriptions open
        initStart snap-start @0
        spawn 1 ext
        > register ext INVOKE SHUTDOWN
        reply #2 registered id-ext
        spawn 2 runtime
        > runtime restore-next
        initRuntimeDone snap-start success @0
        > next ext
        extension ext Ready [\"INVOKE\", \"SHUTDOWN\"] @0
        initReport snap-start success 0ms @0
        subscriptions closed
        freeze
        > +3600000ms
        > invoke a
        thaw
        restoreStart @3600000
        reply #3 restored
        > runtime restore-next
        reply #6 403 InvalidStateTransition: State transition from Restoring to RestoreReady failed for runtime. \
         Error: State transition is not allowed
        > +70ms
        > runtime next
        restoreRuntimeDone success @3600070
        restoreReport success 70ms @3600070
        start a @3600070
        reply #4 INVOKE a until 3603070
        reply #7 invocation a until 3603070
        > +5ms
        > response a
        reply #8 accepted
        answer a response \"ok\"
        > runtime next
        runtimeDone a success 5ms responseLatency=5 responseDuration=0 runtimeOverhead=0 @3600075
        > next ext
        report a success 5ms billed 5ms used 0MB restore 70ms extensionOverhead=0 @3600075
        freeze
        > invoke b
        thaw
        start b @3600075
        reply #10 INVOKE b until 3603075
        reply #9 invocation b until 3603075
        ",
    );
}

#[test]
fn a_runtime_without_hooks_is_stopped_where_it_asks_for_its_first_event() {
    check(
        Config { mode: Mode::SnapStart, ..Config::new("f") },
        "
        > prepare
        subscriptions open
        initStart snap-start @0
        spawn 1 runtime
        > runtime next
        initRuntimeDone snap-start success @0
        initReport snap-start success 0ms @0
        subscriptions closed
        freeze
        > invoke a
        thaw
        restoreStart @0
        restoreRuntimeDone success @0
        restoreReport success 0ms @0
        start a @0
        reply #2 invocation a until 3000
        ",
    );
}

#[test]
fn a_restore_fails_by_a_hook_or_by_taking_too_long() {
    let begin = "
        > prepare
        subscriptions open
        initStart snap-start @0
        spawn 1 runtime
        > runtime restore-next
        initRuntimeDone snap-start success @0
        initReport snap-start success 0ms @0
        subscriptions closed
        freeze
        > invoke a
        thaw
        restoreStart @0
        reply #2 restored
        ";
    for end in [
        "> runtime restore-error Runtime.AfterRestoreError
        reply #4 accepted
        restoreRuntimeDone error Runtime.AfterRestoreError @0
        restoreReport error 0ms Runtime.AfterRestoreError @0
        start a @0
        answer a error {}
        runtimeDone a error 0ms Runtime.AfterRestoreError @0
        subscriptions flush
        kill 1
        > killed 1
        report a error 0ms billed 0ms used 0MB Runtime.AfterRestoreError @0
        destroyed
        > invoke b
        subscriptions open
        initStart invoke @0
        spawn 2 runtime
        > runtime restore-next
        reply #7 restored
        > runtime next
        initRuntimeDone invoke success @0
        initReport invoke success 0ms @0
        subscriptions closed
        start b @0
        reply #8 invocation b until 3000
        ",
        "> +10000ms
        restoreRuntimeDone timeout @10000
        restoreReport timeout 10000ms @10000
        answer a failure SnapStartTimeoutException: The runtime did not restore within 10 seconds.
        start a @10000
        runtimeDone a timeout 0ms @10000
        subscriptions flush
        kill 1
        > killed 1
        report a timeout 3000ms billed 3000ms used 0MB @10000
        destroyed
        ",
    ] {
        check(Config { mode: Mode::SnapStart, ..Config::new("f") }, &format!("{begin}{end}"));
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn managed_instances_run_invocations_beside_each_other() {
    check(
        Config { mode: Mode::ManagedInstances { concurrency: 3 }, ..with_extension() },
        "
        > invoke z
        answer z rejected InitIncomplete
        > prepare
        subscriptions open
        initStart init @0
        spawn 1 ext
        > register ext INVOKE
        reply #3 403 Extension.InvalidEventType: INVOKE: ErrorInvalidEventType
        > register ext SHUTDOWN
        reply #4 registered id-ext
        spawn 2 runtime
        > register inside INVOKE
        reply #5 403 Extension.InvalidEventType: INVOKE: No events allowed for internal extensions
        > next ext
        > runtime next
        initRuntimeDone init success @0
        extension ext Ready [\"SHUTDOWN\"] @0
        initReport init success 0ms @0
        subscriptions closed
        > runtime next
        > invoke a
        start a @0
        reply #7 invocation a until 3000
        > invoke a
        answer a rejected Duplicated
        > +1000ms
        > invoke b
        start b @1000
        reply #8 invocation b until 4000
        > invoke c
        answer c rejected Unavailable
        > +10ms
        > response b
        reply #13 accepted
        answer b response \"ok\"
        report b success 10ms responseLatency=10 responseDuration=0 @1010
        > runtime next
        > +1990ms
        answer a failure Sandbox.Timedout: Task timed out after 3.00 seconds
        report a timeout 3000ms @3000
        > response a
        reply #15 410 InvokeTimeout: Invoke timeout
        > error y Function.Bad
        reply #16 400 InvalidRequestID: Invalid request ID
        > invoke d
        start d @3000
        reply #14 invocation d until 6000
        > shutdown
        > invoke e
        answer e rejected Unhealthy
        > error d Function.Bad
        reply #20 accepted
        answer d error {}
        report d error 0ms Function.Bad responseLatency=0 responseDuration=0 @3000
        subscriptions flush
        terminate 2
        > +600ms
        kill 2
        reply #6 SHUTDOWN spindown until 5600
        > killed 2
        > exit 1 0
        destroyed
        ",
    );
}

#[test]
fn telemetry_of_managed_instances_arrives_before_the_extensions_are_told_to_end() {
    let begin = "
        > prepare
        subscriptions open
        initStart init @0
        spawn 1 ext
        > register ext SHUTDOWN
        reply #2 registered id-ext
        spawn 2 runtime
        > subscribe ext
        reply #3 subscribed
        telemetrySubscription ext [\"platform\"] @0
        > next ext
        > runtime next
        initRuntimeDone init success @0
        extension ext Ready [\"SHUTDOWN\"] @0
        initReport init success 0ms @0
        subscriptions closed
        > shutdown
        subscriptions flush
        terminate 2
        > exit 2 0
        subscriptions flush
        ";
    for end in [
        "> +10ms
        > flushed
        reply #4 SHUTDOWN spindown until 2010
        > flushed",
        "> +1000ms
        reply #4 SHUTDOWN spindown until 3000
        > +2000ms
        kill 1",
    ] {
        let mode = Mode::ManagedInstances { concurrency: 3 };
        check(Config { mode, ..with_extension() }, &format!("{begin}{end}"));
    }
}

#[test]
fn managed_instances_end_with_a_process() {
    check(
        Config { mode: Mode::ManagedInstances { concurrency: 3 }, ..with_extension() },
        "
        > prepare
        subscriptions open
        initStart init @0
        spawn 1 ext
        > register ext SHUTDOWN
        reply #2 registered id-ext
        spawn 2 runtime
        > next ext
        > runtime next
        initRuntimeDone init success @0
        extension ext Ready [\"SHUTDOWN\"] @0
        initReport init success 0ms @0
        subscriptions closed
        > invoke a
        start a @0
        reply #4 invocation a until 3000
        > out-of-memory
        kill 2
        > killed 2
        answer a failure Runtime.OutOfMemory: RequestId: a Error: Runtime exited with error: signal: killed
        report a error 0ms Runtime.OutOfMemory @0
        subscriptions flush
        reply #3 SHUTDOWN failure until 2000
        > exit 1 0
        destroyed
        > invoke b
        answer b rejected Unhealthy
        > prepare
        ",
    );
}
