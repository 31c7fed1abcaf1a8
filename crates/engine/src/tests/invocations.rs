//! What is derived from an invocation's facts.

use super::{check, check_with, settings};
use crate::Settings;

/// Without logs.
fn quiet() -> Settings {
    Settings { logs: false, ..settings() }
}

/// Without logs and metrics of its own.
fn spans_only() -> Settings {
    Settings { logs: false, enhanced_metrics: false, ..settings() }
}

#[test]
fn the_metrics_of_a_sandbox() {
    check_with(
        quiet(),
        "0 init-start on-demand
         100 init-report 100.5
         110 invoke r1
         111 start r1
         140 done r1 success 25.25 bytes=17
         150 sent ok
         60000 invoke r2
         60001 report r1 success duration=26.75 billed=27 size=128 max=64 init=100.5 at=145
         60001 start r2
         60040 done r2 error 30 type=Boom
         60050 sent ok
         70000 shutdown spindown
         70010 report r2 error duration=31 billed=31 size=128 max=66
         70020 sent ok",
        "0 next
         140 send #0 sketches until 3010
         enhanced.init_duration 0 0.1005 [cold_start:true init_type:on-demand]
         enhanced.invocations 0 1 [cold_start:true]
         enhanced.produced_bytes 0 17 [cold_start:true]
         enhanced.runtime_duration 0 25.25 [cold_start:true]
         150 next
         60040 send #1 sketches until 62900
         enhanced.billed_duration 0 0.027 [cold_start:true]
         enhanced.duration 0 0.02675 [cold_start:true]
         enhanced.errors 60000 1 [cold_start:false]
         enhanced.estimated_cost 0 0.00000025625 [cold_start:true]
         enhanced.invocations 60000 1 [cold_start:false]
         enhanced.max_memory_used 0 64 [cold_start:true]
         enhanced.memorysize 0 128 [cold_start:true]
         enhanced.post_runtime_duration 0 1.5 [cold_start:true]
         enhanced.runtime_duration 60000 30 [cold_start:false]
         60050 next
         70000 send #2 sketches until 71900
         enhanced.shutdowns 70000 1 []
         70010 send #3 sketches until 71900
         enhanced.billed_duration 70000 0.031 [cold_start:false]
         enhanced.duration 70000 0.031 [cold_start:false]
         enhanced.estimated_cost 70000 0.000000264583 [cold_start:false]
         enhanced.max_memory_used 70000 66 [cold_start:false]
         enhanced.memorysize 70000 128 [cold_start:false]
         enhanced.post_runtime_duration 70000 1 [cold_start:false]
         70020 exit",
    );
}

#[test]
fn a_sandbox_made_ahead() {
    check_with(
        quiet(),
        "0 init-start provisioned-concurrency
         100 init-report 100 provisioned-concurrency
         60000 invoke r1
         60001 start r1
         60040 done r1 success 25",
        "0 next
         60040 send #0 sketches until 62900
         enhanced.init_duration 0 0.1 [cold_start:false init_type:provisioned-concurrency proactive_initialization:true]
         enhanced.invocations 60000 1 [cold_start:false proactive_initialization:true]
         enhanced.runtime_duration 60000 25 [cold_start:false proactive_initialization:true]",
    );
}

#[test]
fn an_on_demand_sandbox_made_long_before() {
    check_with(
        quiet(),
        "0 init-start on-demand
         100 init-report 100
         10200 invoke r1
         10201 start r1
         10240 done r1 success 25",
        "0 next
         10240 send #0 sketches until 13100
         enhanced.init_duration 0 0.1 [cold_start:false init_type:on-demand proactive_initialization:true]
         enhanced.invocations 10000 1 [cold_start:false proactive_initialization:true]
         enhanced.runtime_duration 10000 25 [cold_start:false proactive_initialization:true]",
    );
}

#[test]
fn a_sandbox_without_work() {
    check_with(
        quiet(),
        "0 init-start on-demand\n100 init-report 100\n500 shutdown spindown",
        "0 next
         500 send #0 sketches until 2400
         enhanced.shutdowns 0 1 []
         enhanced.unused_init 0 1 []
         enhanced.init_duration 0 0.1 [cold_start:true init_type:on-demand]",
    );
}

#[test]
fn an_error_is_counted_once() {
    check_with(
        quiet(),
        "0 init-start on-demand
         10 invoke r1
         11 start r1
         20 start-call r1 http
         30 end-call r1 status=502 error=Boom
         40 done r1 error 25 type=Boom
         50 sent ok",
        "0 next
         40 send #0 traces until 2910
         span 6553f100000000003a5e572628c57b35/588ecf902b298d8f aws.lambda orders resource=orders 11+25 ERROR p1 [_dd.p.tid=6553f10000000000 _sampling_priority_v1=1 _top_level=1 cold_start=true error.message=Boom error.msg=Boom error.type=Error http.status_code=502 request_id=r1]
         40 send #1 sketches until 2910
         enhanced.errors 0 1 [cold_start:true]
         enhanced.invocations 0 1 [cold_start:true]
         enhanced.runtime_duration 0 25 [cold_start:true]
         50 next",
    );
}

#[test]
fn out_of_memory_is_counted_once() {
    check_with(
        quiet(),
        "0 init-start on-demand
         10 invoke r1
         11 start r1
         20 log fatal error: runtime: out of memory
         40 done r1 error 25 type=Runtime.OutOfMemory
         50 sent ok
         60 shutdown failure
         61 report r1 error duration=30 billed=30 size=128 max=128",
        "0 next
         40 send #0 sketches until 2910
         enhanced.errors 0 1 [cold_start:true]
         enhanced.invocations 0 1 [cold_start:true]
         enhanced.out_of_memory 0 1 [cold_start:true]
         enhanced.runtime_duration 0 25 [cold_start:true]
         50 next
         60 send #1 sketches until 1960
         enhanced.shutdowns 0 1 []
         61 send #2 sketches until 1960
         enhanced.billed_duration 0 0.03 [cold_start:true]
         enhanced.duration 0 0.03 [cold_start:true]
         enhanced.estimated_cost 0 0.0000002625 [cold_start:true]
         enhanced.max_memory_used 0 128 [cold_start:true]
         enhanced.memorysize 0 128 [cold_start:true]
         enhanced.post_runtime_duration 0 5 [cold_start:true]",
    );
}

/// Memory that is full in the end is no failure by itself: the page cache fills it too.
#[test]
fn full_memory_of_a_success_is_none_out() {
    check_with(
        quiet(),
        "0 init-start on-demand
         10 invoke r1
         11 start r1
         40 done r1 success 25
         50 sent ok
         60 shutdown spindown
         61 report r1 success duration=30 billed=30 size=128 max=128",
        "0 next
         40 send #0 sketches until 2910
         enhanced.invocations 0 1 [cold_start:true]
         enhanced.runtime_duration 0 25 [cold_start:true]
         50 next
         60 send #1 sketches until 1960
         enhanced.shutdowns 0 1 []
         61 send #2 sketches until 1960
         enhanced.billed_duration 0 0.03 [cold_start:true]
         enhanced.duration 0 0.03 [cold_start:true]
         enhanced.estimated_cost 0 0.0000002625 [cold_start:true]
         enhanced.max_memory_used 0 128 [cold_start:true]
         enhanced.memorysize 0 128 [cold_start:true]
         enhanced.post_runtime_duration 0 5 [cold_start:true]",
    );
}

/// The records of a sandbox that was reset are delivered to the next one, and so is a second attempt.
#[test]
fn records_of_a_forerunner_count_as_far_as_they_go() {
    check_with(
        quiet(),
        "0 init-start on-demand
         5 done r1 timeout 3000 at=-2000
         6 report r1 timeout duration=3000 billed=3000 size=128 max=60 at=-1000
         100 init-report 100
         110 invoke r1
         111 start r1
         140 done r1 success 25",
        "0 next
         140 send #0 sketches until 3010
         enhanced.billed_duration -10000 3 [cold_start:false]
         enhanced.duration -10000 3 [cold_start:false]
         enhanced.errors -10000 1 [cold_start:false]
         enhanced.estimated_cost -10000 0.000006450013 [cold_start:false]
         enhanced.init_duration 0 0.1 [cold_start:true init_type:on-demand]
         enhanced.invocations 0 1 [cold_start:true]
         enhanced.max_memory_used -10000 60 [cold_start:false]
         enhanced.memorysize -10000 128 [cold_start:false]
         enhanced.post_runtime_duration -10000 0 [cold_start:false]
         enhanced.runtime_duration -10000 3000 [cold_start:false]
         enhanced.runtime_duration 0 25 [cold_start:true]
         enhanced.timeouts -10000 1 [cold_start:false]",
    );
}

#[test]
fn the_root_span_and_what_came_before_it() {
    check_with(
        spans_only(),
        "0 init-start on-demand
         100 init-report 100
         110 invoke r1
         111 start r1
         115 start-call r1 trace=66a1b2c300000000000000000000000a parent=b priority=1 inferred=aws.sns:topic:20,aws.sqs:queue:60 source=sqs
         130 traces a/d<c:work
         135 end-call r1 span=c status=200
         140 done r1 success 25.5",
        "0 next
         140 send #0 traces until 3010
         span a/d<c work orders 130+1 [_top_level=1]
         span 66a1b2c300000000000000000000000a/fc58b0d6a889cfcd<b aws.sns topic resource=topic 20+91 p1 [_dd._inferred_span=1 _dd.p.tid=66a1b2c300000000 _inferred_span.synchronicity=async _inferred_span.tag_source=self _sampling_priority_v1=1 _top_level=1 operation_name=aws.sns peer.service=queue request_id=r1 resource_names=topic]
         span 66a1b2c300000000000000000000000a/dd1e24215149e6ae<fc58b0d6a889cfcd aws.sqs queue resource=queue 60+51 p1 [_dd._inferred_span=1 _inferred_span.synchronicity=async _inferred_span.tag_source=self _sampling_priority_v1=1 _top_level=1 operation_name=aws.sqs peer.service=orders request_id=r1 resource_names=queue]
         span 66a1b2c300000000000000000000000a/c<dd1e24215149e6ae aws.lambda orders resource=orders 111+25.5 p1 [_sampling_priority_v1=1 _top_level=1 cold_start=true function_trigger.event_source=sqs request_id=r1]
         span 66a1b2c300000000000000000000000a/d820a344de15fe8b<dd1e24215149e6ae aws.lambda.cold_start orders resource=orders 0+100 p1 [_dd.p.tid=66a1b2c300000000 _sampling_priority_v1=1 _top_level=1]",
    );
}

#[test]
fn a_web_response_of_the_function() {
    check_with(
        spans_only(),
        "10 invoke r1
         11 start r1
         12 start-call trace=a parent=b http inferred=aws.httpapi:api.example:5
         30 end-call span=c status=503
         40 done r1 success 25",
        "0 next
         40 send #0 traces until 2910
         span a/8081434a2721cd9d<b aws.httpapi api.example resource=api.example 5+31 ERROR p1 [_dd._inferred_span=1 _inferred_span.synchronicity=sync _inferred_span.tag_source=self _sampling_priority_v1=1 _top_level=1 http.status_code=503 operation_name=aws.httpapi peer.service=orders request_id=r1 resource_names=api.example]
         span a/c<8081434a2721cd9d aws.lambda orders resource=orders 11+25 ERROR p1 [_sampling_priority_v1=1 _top_level=1 cold_start=true http.status_code=503 request_id=r1]",
    );
}

#[test]
fn a_trace_that_the_library_began() {
    check_with(
        spans_only(),
        "10 invoke r1
         11 start r1
         12 start-call
         30 end-call span=c trace=a parent=a priority=2 error=Boom
         40 done r1 error 25 type=Boom",
        "0 next
         40 send #0 traces until 2910
         span a/c<a aws.lambda orders resource=orders 11+25 ERROR p2 [_sampling_priority_v1=2 _top_level=1 cold_start=true error.message=Boom error.msg=Boom error.type=Error request_id=r1]",
    );
}

#[test]
fn calls_may_come_before_the_invocation_is_known() {
    check_with(
        spans_only(),
        "8 start-call trace=a parent=b
         9 end-call span=c
         10 start r1
         11 done r1 success 1
         12 invoke r1",
        "0 next
         12 send #0 traces until 2912
         span a/c<b aws.lambda orders resource=orders 10+1 p1 [_sampling_priority_v1=1 _top_level=1 cold_start=true request_id=r1]",
    );
}

#[test]
fn calls_without_request_id_belong_to_who_is_live() {
    check_with(
        spans_only(),
        "0 init-start on-demand
         10 invoke r1
         11 start r1
         12 start-call trace=a
         30 end-call span=c
         40 done r1 success 1
         41 sent ok
         49 start-call trace=b
         50 invoke r2
         51 start r2
         60 end-call span=d
         61 done r2 success 1",
        "0 next
         40 send #0 traces until 2910
         span a/c aws.lambda orders resource=orders 11+1 p1 [_sampling_priority_v1=1 _top_level=1 cold_start=true request_id=r1]
         41 next
         61 send #1 traces until 2950
         span b/d aws.lambda orders resource=orders 51+1 p1 [_sampling_priority_v1=1 _top_level=1 cold_start=false request_id=r2]",
    );
}

#[test]
fn a_timeout_gives_its_span() {
    check_with(
        quiet(),
        "0 init-start on-demand
         10 invoke r1 deadline=1000
         11 start r1 at=10
         12 start-call r1 trace=a parent=b
         1011 done r1 timeout 1000 at=1010
         1012 shutdown timeout
         1013 report r1 timeout duration=1000 billed=1000 size=128 max=60 at=1012
         1020 sent ok",
        "0 next
         760 send #0 sketches until 910
         enhanced.invocations 0 1 [cold_start:true]
         910 next
         1012 send #1 sketches until 2912
         enhanced.errors 0 1 [cold_start:true]
         enhanced.runtime_duration 0 1000 [cold_start:true]
         enhanced.shutdowns 0 1 []
         enhanced.timeouts 0 1 [cold_start:true]
         1013 send #2 traces until 2912
         span a/e5a1532d5137e072<b aws.lambda orders resource=orders 10+1000 ERROR p1 [_sampling_priority_v1=1 _top_level=1 cold_start=true error.message=Datadog detected a Timeout error.msg=Datadog detected a Timeout error.type=Timeout request_id=r1]
         1013 send #3 sketches until 2912
         enhanced.billed_duration 0 1 [cold_start:true]
         enhanced.duration 0 1 [cold_start:true]
         enhanced.estimated_cost 0 0.000002283338 [cold_start:true]
         enhanced.max_memory_used 0 60 [cold_start:true]
         enhanced.memorysize 0 128 [cold_start:true]
         enhanced.post_runtime_duration 0 0 [cold_start:true]
         1020 exit",
    );
}

#[test]
fn a_crash_that_no_record_tells_of_gives_its_span() {
    check_with(
        quiet(),
        "0 init-start on-demand
         10 invoke r1 deadline=1000
         11 start r1 at=10
         12 start-call r1 trace=a parent=b
         20 shutdown failure
         30 sent ok
         130 tick
         140 sent ok",
        "0 next
         20 send #0 sketches until 1920
         enhanced.invocations 0 1 [cold_start:true]
         enhanced.shutdowns 0 1 []
         120 send #1 traces until 1920
         span a/e5a1532d5137e072<b aws.lambda orders resource=orders 10+110 ERROR p1 [_sampling_priority_v1=1 _top_level=1 cold_start=true request_id=r1]
         120 send #2 sketches until 1920
         enhanced.errors 0 1 [cold_start:true]
         140 exit",
    );
}

#[test]
fn without_ids_from_anybody_they_are_drawn() {
    check_with(spans_only(), "10 invoke r1\n11 start r1\n12 start-call r1\n13 done r1 error 3\n1000 tick", "0 next
         33 send #0 traces until 2910
         span 6553f100000000003a5e572628c57b35/588ecf902b298d8f aws.lambda orders resource=orders 11+3 ERROR p1 [_dd.p.tid=6553f10000000000 _sampling_priority_v1=1 _top_level=1 cold_start=true request_id=r1]");
}

#[test]
fn a_placeholder_gives_its_tags_to_the_root_span() {
    check_with(
        spans_only(),
        "10 invoke r1
         11 start r1
         12 start-call trace=a
         20 traces a/c:aws.lambda:x:resource=dd-tracer-serverless-span,request_id=r1,user=me,_sampling_priority_v1=2 a/d<c:work
         30 end-call span=c
         40 done r1 success 25
         50 sent ok
         60 traces a/e:aws.lambda:x:resource=dd-tracer-serverless-span,request_id=r1
         70 shutdown spindown",
        "0 next
         40 send #0 traces until 2910
         span a/d<c work orders 20+1 [_top_level=1]
         span a/c aws.lambda orders resource=orders 11+25 p2 [_sampling_priority_v1=2 _top_level=1 cold_start=true request_id=r1 user=me]
         50 next
         70 send #1 series until 1970
         Count datadog.serverless.extension.dropped 0 1 [reason:late signal:traces]",
    );
}

#[test]
fn a_load_span_gets_its_cold_start() {
    check_with(
        spans_only(),
        "0 init-start on-demand
         10 traces lang=js a/3<1:aws.lambda.load a/1<9:aws.lambda:orders:request_id=r1,_sampling_priority_v1=1
         100 init-report 100
         110 invoke r1
         111 start r1
         140 done r1 success 25
         141 sent ok
         150 invoke r2
         151 start r2
         152 traces b/3<1:aws.lambda.load b/1:aws.lambda:orders:request_id=r2
         160 done r2 success 1",
        "0 next
         140 send #0 traces until 3010
         span a/3<d820a344de15fe8b aws.lambda.load orders 10+1 p1 by js []
         span a/1<9 aws.lambda orders 10+1 p1 by js [_sampling_priority_v1=1 _top_level=1 request_id=r1]
         span a/d820a344de15fe8b<1 aws.lambda.cold_start orders resource=orders 0+100 p1 by js []
         141 next
         160 send #1 traces until 3050
         span b/3<1 aws.lambda.load orders 152+1 []
         span b/1 aws.lambda orders 152+1 [_top_level=1 request_id=r2]",
    );
}

#[test]
fn a_load_span_in_a_sandbox_made_ahead_stays_as_it_is() {
    check_with(
        spans_only(),
        "0 init-start provisioned-concurrency
         100 init-report 100 provisioned-concurrency
         110 invoke r1
         111 start r1
         120 traces a/3<1:aws.lambda.load a/1:aws.lambda
         140 done r1 success 25",
        "0 next
         140 send #0 traces until 3010
         span a/3<1 aws.lambda.load orders 120+1 []
         span a/1 aws.lambda orders 120+1 [_top_level=1]",
    );
}

#[test]
fn without_telemetry_spans_and_counts_come_all_the_same() {
    check_with(
        quiet(),
        "10 invoke r1
         12 start-call trace=a
         30 end-call span=c
         200 sent ok
         1000 invoke r2
         1010 start-call trace=b
         1020 end-call span=d
         2100 sent ok
         3000 shutdown spindown
         3010 sent ok",
        "0 next
         130 send #0 traces until 2910
         span a/c aws.lambda orders resource=orders 10+20 p1 [_sampling_priority_v1=1 _top_level=1 cold_start=true request_id=r1]
         200 next
         1000 send #1 sketches until 3900
         enhanced.invocations 0 1 [cold_start:true]
         2100 next
         2100 send #2 traces until 7100
         span b/d aws.lambda orders resource=orders 1000+20 p1 [_sampling_priority_v1=1 _top_level=1 cold_start=false request_id=r2]
         3000 send #3 sketches until 4900
         enhanced.shutdowns 0 1 []
         enhanced.invocations 0 1 [cold_start:false]
         3010 exit",
    );
}

/// The initialisation of a restored sandbox was long ago, and its span would be too long to look at.
#[test]
fn a_restored_sandbox_is_cold_and_has_no_cold_start_span() {
    check_with(
        quiet(),
        "0 init-start snap-start at=-90000000
         1 init-report 100 snap-start at=-89999000
         10 traces a/3<1:aws.lambda.load a/1:aws.lambda
         110 invoke r1
         111 start r1
         140 done r1 success 25",
        "0 next
         140 send #0 traces until 3010
         span a/3<1 aws.lambda.load orders 10+1 []
         span a/1 aws.lambda orders 10+1 [_top_level=1]
         140 send #1 sketches until 3010
         enhanced.init_duration -90000000 0.1 [cold_start:true init_type:snap-start]
         enhanced.invocations 0 1 [cold_start:true]
         enhanced.runtime_duration 0 25 [cold_start:true]",
    );
}

/// Beyond what is remembered the oldest is closed: it still gives what its facts allow.
#[test]
fn many_invocations_without_records_are_counted_all_the_same() {
    let mut world = super::World::new(quiet());
    world.drain();
    world.line("0 init-start on-demand");
    for n in 0..100 {
        world.line(&format!("{} invoke r{n} deadline=1000", n * 1000 + 1));
        world.line(&format!("{} start-call trace=a", n * 1000 + 2));
        world.line(&format!("{} end-call span={:x}", n * 1000 + 3, n + 1));
        world.accept_all();
        world.line(&format!("{} tick", n * 1000 + 990));
        world.accept_all();
    }
    world.line("100001 shutdown spindown");
    world.line("102000 tick");
    world.accept_all();
    let (mut counted, mut spans) = (0, 0);
    for line in world.delivered.iter().flat_map(super::render::lines) {
        let mut words = line.split(' ');
        match words.next() {
            Some("enhanced.invocations") => {
                counted += words.nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
            }
            Some("span") => spans += 1,
            _ => {}
        }
    }
    assert_eq!((counted, spans), (100, 100));
}

#[test]
fn off_means_off() {
    check(
        "0 init-start on-demand
         1 log before
         100 init-report 100
         110 invoke r1
         111 start r1
         112 log inside
         140 done r1 success 25",
        "0 next
         140 send #0 sketches until 3010
         enhanced.init_duration 0 0.1 [cold_start:true init_type:on-demand]
         enhanced.invocations 0 1 [cold_start:true]
         enhanced.runtime_duration 0 25 [cold_start:true]
         140 send #1 logs until 3010
         log r1 0 info INIT_START Runtime Version: provided:al2023 Runtime Version ARN: ?
         log r1 1 info before
         log r1 111 info START RequestId: r1 Version: $LATEST
         log r1 112 info inside
         log r1 140 info END RequestId: r1",
    );
    check_with(
        spans_only(),
        "0 init-start on-demand\n1 log x\n110 invoke r1\n111 start r1\n140 done r1 success 25",
        "0 next\n140 next",
    );
}

/// What a library tells counts for more than what the proxy saw, thing by thing.
#[test]
fn a_library_behind_the_proxy() {
    check_with(
        spans_only(),
        "0 init-start on-demand
         5 init-report 5
         10 invoke r1
         10 event-seen r1 trace=a parent=b inferred=aws.sqs:queue:0
         11 start r1
         12 start-call r1 trace=a parent=b inferred=aws.sqs:queue:0
         30 end-call r1 span=c trace=a parent=b error=Told
         31 answer-seen r1 status=200 error=Seen
         36 done r1 error 25
         40 sent ok",
        "0 next
         36 send #0 traces until 2910
         span a/8081434a2721cd9d<b aws.sqs queue resource=queue 0+11 ERROR p1 [_dd._inferred_span=1 _inferred_span.synchronicity=async _inferred_span.tag_source=self _sampling_priority_v1=1 _top_level=1 operation_name=aws.sqs peer.service=orders request_id=r1 resource_names=queue]
         span a/c<8081434a2721cd9d aws.lambda orders resource=orders 11+25 ERROR p1 [_sampling_priority_v1=1 _top_level=1 cold_start=true error.message=Told error.msg=Told error.type=Error request_id=r1]
         span a/d820a344de15fe8b<8081434a2721cd9d aws.lambda.cold_start orders resource=orders 0+5 p1 [_sampling_priority_v1=1 _top_level=1]
         40 next",
    );
}

/// A tracer without a caller begins a trace of its own: the invocation is part of it, and no other trace is.
#[test]
fn a_tracers_own_trace_behind_the_proxy() {
    check_with(
        spans_only(),
        "0 init-start on-demand
         5 init-report 5
         10 invoke r1
         100 event-seen r1
         101 start r1
         120 traces c/1:web:shop:_dd.p.tid=66a1b2c300000000 c/2<1:db
         121 traces d/3:other
         130 answer-seen r1
         131 done r1 success 30
         140 sent ok",
        "0 next
         131 send #0 traces until 2910
         span c/1<1d7f366c0e410d02 web shop 120+1 [_dd.p.tid=66a1b2c300000000 _top_level=1]
         span c/2<1 db orders 120+1 [_top_level=1]
         span d/3 other orders 121+1 [_top_level=1]
         span 66a1b2c300000000000000000000000c/1d7f366c0e410d02 aws.lambda orders resource=orders 101+30 p1 [_dd.p.tid=66a1b2c300000000 _sampling_priority_v1=1 _top_level=1 cold_start=true request_id=r1]
         span 66a1b2c300000000000000000000000c/d820a344de15fe8b aws.lambda.cold_start orders resource=orders 0+5 p1 [_dd.p.tid=66a1b2c300000000 _sampling_priority_v1=1 _top_level=1]
         140 next",
    );
}
