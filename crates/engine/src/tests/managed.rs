//! Managed instances: many invocations at once, announced by their starts, and an end that one record tells.

use super::{check_with, settings};
use crate::Settings;

fn managed() -> Settings {
    Settings { managed_instances: true, ..settings() }
}

fn quiet() -> Settings {
    Settings { logs: false, ..managed() }
}

#[test]
fn invocations_that_overlap_are_kept_apart() {
    check_with(
        quiet(),
        "0 init-start lambda-managed-instances
         10 start r1
         11 start r2
         12 start-call r1 trace=a parent=b priority=1
         13 start-call r2 trace=c parent=d priority=1
         20 end-call r2 span=2 trace=c parent=d
         21 end-call r1 span=1 trace=a parent=b
         30 report r2 success duration=19
         31 report r1 success duration=21
         500 shutdown spindown",
        "0 next
         500 send #0 traces until 2400
         span c/2<d aws.lambda orders resource=orders 11+19 p1 [_sampling_priority_v1=1 _top_level=1 request_id=r2]
         span a/1<b aws.lambda orders resource=orders 10+21 p1 [_sampling_priority_v1=1 _top_level=1 request_id=r1]
         500 send #1 sketches until 2400
         enhanced.duration 0 2 values, sum 0.04 []
         enhanced.invocations 0 2 values, sum 2 []
         enhanced.runtime_duration 0 2 values, sum 40 []
         enhanced.shutdowns 0 1 []",
    );
}

/// No end is waited for, and nothing is frozen: data leaves by its age.
#[test]
fn data_leaves_while_the_sandbox_lives() {
    check_with(
        quiet(),
        "10 start r1
         20 metric a:1|c
         30 report r1 success duration=19
         11000 tick",
        "0 next
         10010 send #0 series until 15010
         Count a 0 1 []
         10010 send #1 sketches until 15010
         enhanced.duration 0 0.019 []
         enhanced.invocations 0 1 []
         enhanced.runtime_duration 0 19 []",
    );
}

#[test]
fn the_report_may_come_before_the_start() {
    check_with(
        quiet(),
        "30 report r1 error duration=19 type=Boom
         31 start r1
         500 shutdown spindown",
        "0 next
         500 send #0 sketches until 2400
         enhanced.duration 0 0.019 []
         enhanced.errors 0 1 []
         enhanced.invocations 0 1 []
         enhanced.runtime_duration 0 19 []
         enhanced.shutdowns 0 1 []",
    );
}

/// Nobody says whose they are, and two invocations run.
#[test]
fn calls_without_a_request_id_are_of_the_only_invocation_or_of_none() {
    check_with(
        quiet(),
        "10 start r1
         11 start-call trace=a parent=b priority=1
         12 end-call span=1 trace=a parent=b
         13 report r1 success duration=3
         20 start r2
         21 start r3
         22 start-call trace=c parent=d priority=1
         23 end-call span=2 trace=c parent=d
         30 report r2 success duration=19
         31 report r3 success duration=21
         500 shutdown spindown",
        "0 next
         500 send #0 traces until 2400
         span a/1<b aws.lambda orders resource=orders 10+3 p1 [_sampling_priority_v1=1 _top_level=1 request_id=r1]
         500 send #1 series until 2400
         Count datadog.serverless.extension.dropped 0 2 [reason:stray signal:calls]
         500 send #2 sketches until 2400
         enhanced.duration 0 3 values, sum 0.043 []
         enhanced.invocations 0 3 values, sum 3 []
         enhanced.runtime_duration 0 3 values, sum 43 []
         enhanced.shutdowns 0 1 []",
    );
}

/// A library tells an error before Lambda does, and nobody says of which invocation it is.
#[test]
fn an_error_is_counted_once() {
    check_with(
        quiet(),
        "10 start r1
         11 start r2
         12 start r3
         20 metric aws.lambda.enhanced.errors:1|d
         30 report r1 error duration=19 type=Boom
         31 report r2 timeout duration=3000
         500 shutdown failure
         700 tick",
        "0 next
         500 send #0 sketches until 2400
         enhanced.duration 0 2 values, sum 3.019 []
         enhanced.errors 0 2 values, sum 2 []
         enhanced.invocations 0 3 values, sum 3 []
         enhanced.runtime_duration 0 2 values, sum 3019 []
         enhanced.shutdowns 0 1 []
         enhanced.timeouts 0 1 []
         600 send #1 sketches until 2400
         enhanced.errors 0 1 []",
    );
}

#[test]
fn lines_are_of_whom_they_say() {
    check_with(
        Settings { enhanced_metrics: false, ..managed() },
        "0 init-start lambda-managed-instances
         10 start r1
         11 start r2
         12 log plain
         13 json {\"requestId\":\"r1\",\"message\":\"mine\"}
         30 report r1 error duration=19 type=Boom
         31 report r2 timeout duration=3000
         500 shutdown spindown",
        "0 next
         500 send #0 logs until 2400
         log - 0 info INIT_START Runtime Version: provided:al2023 Runtime Version ARN: ?
         log r1 10 info START RequestId: r1 Version: $LATEST
         log r2 11 info START RequestId: r2 Version: $LATEST
         log - 12 info plain
         log r1 13 info {\"requestId\":\"r1\",\"message\":\"mine\"}
         log r1 30 error REPORT RequestId: r1 Runtime Duration: 19.00 ms Task failed with an unknown error
         log r2 31 error REPORT RequestId: r2 Runtime Duration: 3000.00 ms Task timed out after 3.00 seconds",
    );
}

/// What a library calls an error and Lambda a success does not hide the error of a later invocation.
#[test]
fn an_error_that_only_a_library_tells_hides_no_other() {
    check_with(
        quiet(),
        "10 start r1
         20 metric aws.lambda.enhanced.errors:1|d
         30 report r1 success duration=20
         40 start r2
         50 report r2 error duration=10
         500 shutdown spindown",
        "0 next
         500 send #0 sketches until 2400
         enhanced.duration 0 2 values, sum 0.03 []
         enhanced.errors 0 2 values, sum 2 []
         enhanced.invocations 0 2 values, sum 2 []
         enhanced.runtime_duration 0 2 values, sum 30 []
         enhanced.shutdowns 0 1 []",
    );
}

/// It is of the invocation that no runtime has taken, not of one that failed by itself.
#[test]
fn a_failed_initialisation_is_told_once() {
    check_with(
        quiet(),
        "5 answer-seen error=import
         10 start r1
         11 event-seen r1 trace=a parent=b priority=1
         20 report r1 error duration=9
         30 start r2
         31 report r2 error duration=1
         40 start r3
         41 report r3 error duration=1
         500 shutdown spindown",
        "0 next
         500 send #0 traces until 2400
         span 6553f100000000006acf79acbf1bec06/726d106d2a3d69a1 aws.lambda orders resource=orders 30+1 ERROR p1 [_dd.p.tid=6553f10000000000 _sampling_priority_v1=1 _top_level=1 error.message=import error.msg=import error.type=Error request_id=r2]
         span a/1d7f366c0e410d02<b aws.lambda orders resource=orders 10+9 ERROR p1 [_sampling_priority_v1=1 _top_level=1 request_id=r1]
         500 send #1 sketches until 2400
         enhanced.duration 0 3 values, sum 0.011 []
         enhanced.errors 0 3 values, sum 3 []
         enhanced.invocations 0 3 values, sum 3 []
         enhanced.runtime_duration 0 3 values, sum 11 []
         enhanced.shutdowns 0 1 []",
    );
}
