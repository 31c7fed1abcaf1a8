//! What is done to spans, metrics and log lines.

use model::{Batch, Log};

use super::{Answer, T0, World, check_with, facts, render, settings};
use crate::{Input, Settings};

fn bare() -> Settings {
    Settings { enhanced_metrics: false, logs: false, ..settings() }
}

fn logs_only() -> Settings {
    Settings { enhanced_metrics: false, ..settings() }
}

#[test]
fn log_lines_find_their_invocation() {
    check_with(
        logs_only(),
        r#"0 init-start on-demand
         1 log from the initialisation
         2 invoke r1
         3 start r1
         4 log plain text
         5 json {"level":"WARN","requestId":"r1","message":"hm"}
         6 json {"status":"error","AWSRequestId":"r0","message":"of another"}
         7 log {"level":"fatal","msg":"json as text"}
         8 log {"level":"fatal", not json
         9 done r1 success 1.5
         10 log behind END, printed by r1's background work
         11 report r1 success duration=2.25 billed=3 size=128 max=64 init=100
         12 ext of an extension
         13 unknown
         14 sent ok
         20 invoke r2
         21 start r2
         22 log second
         23 done r2 timeout 3000
         24 log after
         25 done r2 error type=Runtime.ExitError"#,
        r#"0 next
         9 send #0 logs until 2902
         log r1 0 info INIT_START Runtime Version: provided:al2023 Runtime Version ARN: ?
         log r1 1 info from the initialisation
         log r1 3 info START RequestId: r1 Version: $LATEST
         log r1 4 info plain text
         log r1 5 warn {"level":"WARN","requestId":"r1","message":"hm"}
         log r0 6 error {"status":"error","AWSRequestId":"r0","message":"of another"}
         log r1 7 critical {"level":"fatal","msg":"json as text"}
         log r1 8 info {"level":"fatal", not json
         log r1 9 info END RequestId: r1
         14 next
         23 send #1 logs until 2920
         log r1 10 info behind END, printed by r1's background work
         log r1 11 info REPORT RequestId: r1 Duration: 2.25 ms Runtime Duration: 1.50 ms Post Runtime Duration: 0.75 ms Billed Duration: 3 ms Memory Size: 128 MB Max Memory Used: 64 MB Init Duration: 100.00 ms
         log r1 12 info of an extension
         log r2 21 info START RequestId: r2 Version: $LATEST
         log r2 22 info second
         log r2 23 error END RequestId: r2 Task timed out after 3.00 seconds"#,
    );
}

#[test]
fn a_lines_own_tags_go_with_the_functions() {
    check_with(
        logs_only(),
        r#"2 invoke r1
         3 start r1
         4 json {"ddtags":"a:1,b:2","message":"x"}
         5 json {"requestId":"r1","level":"error","message":{"ddtags":"c:3","text":"y"}}
         6 json {"ddtags":7,"message":"z"}
         9 done r1 success 1.5"#,
        r#"0 next
         9 send #0 logs until 2902
         log r1 3 info START RequestId: r1 Version: $LATEST
         log r1 4 info {"message":"x"} [,a:1,b:2]
         log r1 5 error {"text":"y"} [,c:3]
         log r1 6 info {"ddtags":7,"message":"z"}
         log r1 9 info END RequestId: r1"#,
    );
}

/// As OpenTelemetry's logs do, and loggers that use its names.
#[test]
fn a_line_that_names_its_service_is_of_that() {
    let mut world = World::new(logs_only());
    world.drain();
    for line in [
        "1 invoke r1",
        "1 start r1",
        r#"2 json {"service.name":"shop","message":"x"}"#,
        r#"2 json {"service.name":"","message":"y"}"#,
        "3 done r1 success 1",
    ] {
        world.line(line);
    }
    world.accept_all();
    let logs =
        world.delivered.iter().flat_map(|b| if let Batch::Logs(logs) = b { logs.as_slice() } else { &[] });
    let named: Vec<_> = logs.filter(|log| log.service == "shop").map(|log| log.message.as_str()).collect();
    assert_eq!(named, [r#"{"service.name":"shop","message":"x"}"#]);
}

#[test]
fn lines_that_wait_for_a_start_are_bounded_and_not_lost() {
    let mut world = World::new(logs_only());
    world.drain();
    for n in 0..1500 {
        world.line(&format!("0 log line {n}"));
    }
    world.line("1 invoke r1");
    world.line("1 start r1");
    world.line("2 done r1 success 1");
    world.accept_all();
    let logs: Vec<&Log> = world
        .delivered
        .iter()
        .flat_map(|b| if let Batch::Logs(logs) = b { logs.as_slice() } else { &[] })
        .collect();
    assert_eq!(logs.len(), 1502);
    assert_eq!(logs.iter().filter(|log| log.request_id.is_none()).count(), 500);
    assert_eq!(world.delivered.len(), 2, "a thousand entries in a request at most");
}

#[test]
fn metrics_are_put_together() {
    check_with(
        bare(),
        "0 invoke r1 deadline=60000
         0 metric a:1:2|c|#x:1,y,x:1
         1 start r1
         1 metric a:3|c|#y,x:1
         2 metric a:1|c|@0.5
         3 metric g:9|g
         4 metric g:1:7|g
         5 metric d:1:2|d
         6 metric d:3|h|@0.1
         7 metric d:4|ms
         8 metric old:1|c|T-15000
         9 metric new:1|c|T999999
         10 metric aws.lambda.enhanced.invocations:1|d
         11 metric bad:NaN:1|c
         12 metric a:1|c|T10500
         11000 metric a:1|c|T10500
         12000 shutdown spindown",
        "0 next
         12000 send #0 series until 13900
         Count a 0 3 []
         Count a 10000 1 []
         Count a 0 6 [x:1 y]
         Count bad 0 1 []
         Count datadog.serverless.extension.dropped 10000 1 [reason:malformed signal:metrics]
         Count new 0 1 []
         Count old -20000 1 []
         Gauge g 0 7 []
         12000 send #1 sketches until 13900
         d 0 13 values, sum 37 []",
    );
}

#[test]
fn metric_contexts_are_bounded() {
    let mut world = World::new(bare());
    for n in 0..11_000 {
        world.engine.handle(T0, facts::parse(T0, &format!("metric a:1|c|#n:{n}")));
    }
    world.handle(facts::parse(T0, "shutdown spindown"));
    world.accept_all();
    let dropped = world.out.lines().find(|line| line.contains("dropped")).unwrap();
    assert_eq!(dropped, "Count datadog.serverless.extension.dropped 0 760 [reason:contexts signal:metrics]");
}

#[test]
fn spans_are_tagged_and_marked() {
    let mut world = World::new(Settings {
        service: Some("Shop".into()),
        env: Some("prod".into()),
        version: Some("1.2".into()),
        ..bare()
    });
    world.drain();
    world.line("0 traces lang=go a/2<1:child:aws.lambda:_sampling_priority_v1=2,runtime-id=x a/1<7:root:other:env=dev,_dd.origin=rum");
    world.line("1 shutdown spindown");
    let Some(Batch::Traces(payloads)) = world.on_the_way.values().next() else { panic!("no traces") };
    insta::assert_debug_snapshot!(payloads);
}

#[test]
fn statistics_are_made_here_when_that_is_set() {
    let check = |line: &str, want: &str| {
        let settings = Settings { compute_stats: true, service: Some("shop".into()), ..bare() };
        let mut world = World::new(settings);
        world.drain();
        world.line(line);
        world.line("10 shutdown spindown");
        let batches: Vec<&Batch> = world.on_the_way.values().collect();
        let made = batches.iter().filter(|batch| matches!(batch, Batch::Stats(_)));
        let kept =
            batches.iter().filter(|batch| matches!(batch, Batch::Traces(_))).map(|batch| batch.count());
        let asked = format!("{batches:?}").contains("compute_stats");
        assert!(!asked, "the backend would make them too");
        let text: String = made.flat_map(|batch| render::lines(batch)).collect();
        assert_eq!(format!("{} spans kept; {text}", kept.sum::<u64>()), want);
    };
    check("0 metric a:1|c", "0 spans kept; ");
    check(
        "0 traces a/1:root:shop:_sampling_priority_v1=1 a/2<1:same:shop a/3<1:call:db:span.kind=Client,db.name=x,http.status_code=500 a/4<1:call:db:span.kind=client,db.name=x,http.status_code=500 a/5<1:part:shop:_dd.measured=1",
        "5 spans kept; stats of unknown-env shop \
         \n db call call client 500 [\"db.name:x\"]: 2 hits 2 top 0 errors 2000000 ns\
         \n shop part part  0 []: 1 hits 0 top 0 errors 1000000 ns\
         \n shop root root  0 root []: 1 hits 1 top 0 errors 1000000 ns",
    );
    // Counted, and not sent.
    check(
        "0 traces a/1:root:shop:_sampling_priority_v1=0",
        "0 spans kept; stats of unknown-env shop \n shop root root  0 root []: 1 hits 1 top 0 errors 1000000 ns",
    );
}

#[test]
fn statistics_are_bounded() {
    let mut world = World::new(Settings { compute_stats: true, ..bare() });
    for n in 0..2500u64 {
        world.engine.handle(T0, facts::parse(T0, &format!("traces a/{}:n{n}:s", n + 1)));
    }
    world.handle(facts::parse(T0, "shutdown spindown"));
    let made = world.on_the_way.values().find_map(|batch| match batch {
        Batch::Stats(all) => Some(render::lines(&Batch::Stats(all.clone())).concat()),
        _ => None,
    });
    assert_eq!(made.unwrap().matches("1 hits").count(), 2000);
    world.accept_all();
    let dropped = world.out.lines().find(|line| line.contains("signal:stats")).unwrap();
    assert_eq!(dropped, "Count datadog.serverless.extension.dropped 0 500 [reason:contexts signal:stats]");
}

#[test]
fn a_tracer_that_did_it_itself_is_believed() {
    let mut world = World::new(bare());
    let Input::Traces { mut tracer, chunks } =
        facts::parse(T0, "traces a/1:root:s a/2<1:child:s:_dd.top_level=1")
    else {
        panic!("traces");
    };
    (tracer.computed_stats, tracer.computed_top_level) = (true, true);
    world.handle(Input::Traces { tracer, chunks });
    world.line("1 shutdown spindown");
    let Some(Batch::Traces(payloads)) = world.on_the_way.values().next() else { panic!("no traces") };
    let spans = &payloads[0].chunks[0].spans;
    let marks: Vec<_> = spans
        .iter()
        .map(|s| (s.metrics.contains("_top_level"), s.meta.contains("_dd.compute_stats")))
        .collect();
    assert_eq!(marks, [(false, false), (true, false)]);
}

#[test]
fn spans_that_are_not_the_functions_work_are_left_out() {
    check_with(
        bare(),
        "0 traces a/1:root a/2<1:http:s:http.url=http://127.0.0.1:8124/lambda/start-invocation a/3<1:dns.lookup
         1 traces a/4<1:tcp:s:tcp.remote.host=127.0.0.1,tcp.remote.port=8125 a/5<1:dns:s:dns.address=169.254.79.129
         2 traces a/6<1:x:s:resource=127.0.0.1 a/7<1:http:s:http.url=http://127.0.0.1:81245/
         3 traces a/1:root a/8<1:new
         4 traces a/9<1:y:s:http.status_code=42 a/a<a:selfish
         5 shutdown spindown",
        "0 next
         5 send #0 traces until 1905
         span a/1 root orders 0+1 [_top_level=1]
         span a/7<1 http s 2+1 [_top_level=1 http.url=http://127.0.0.1:81245/]
         span a/8<1 new orders 3+1 [_top_level=1]
         span a/9<1 y s 4+1 [_top_level=1]
         span a/a selfish orders 4+1 [_top_level=1]",
    );
}

#[test]
fn a_trace_too_big_for_a_request_is_taken_apart() {
    let mut world = World::new(Settings { batch_bytes: 32 << 20, ..bare() });
    let Input::Traces { tracer, mut chunks } =
        facts::parse(T0, "traces a/1:root:s:_sampling_priority_v1=1,_dd.p.tid=0000000000000abc")
    else {
        panic!("traces");
    };
    for n in 2..14 {
        let mut span = chunks[0].spans[0].clone();
        span.span_id = model::SpanId::new(n).unwrap();
        span.meta = [("big", "x".repeat(1_000_000))].into_iter().collect();
        chunks[0].spans.push(span);
    }
    world.handle(Input::Traces { tracer, chunks });
    world.line("1 shutdown spindown");
    world.accept_all();
    let batches: Vec<_> = world
        .delivered
        .iter()
        .filter_map(|b| if let Batch::Traces(p) = b { Some(p) } else { None })
        .collect();
    assert!(batches.len() >= 3, "{} requests", batches.len());
    let chunks: Vec<_> = batches.iter().flat_map(|p| p.iter()).flat_map(|p| &p.chunks).collect();
    assert_eq!(chunks.iter().map(|c| c.spans.len()).sum::<usize>(), 13);
    for chunk in chunks {
        assert!(chunk.weight() < 4 << 20);
        assert_eq!(chunk.priority, Some(model::SamplingPriority::AutoKeep));
        assert_eq!(chunk.spans[0].meta.get("_dd.p.tid").map(AsRef::as_ref), Some("0000000000000abc"));
    }
}

#[test]
fn what_is_too_much_is_dropped_oldest_first_and_told() {
    let mut world = World::new(Settings { batch_bytes: 3000, ..logs_only() });
    world.drain();
    world.line("0 start r1");
    for n in 0..40 {
        world.line(&format!("1 log line {n}"));
    }
    world.line("2 invoke r1");
    world.line("3 done r1 success 1");
    let messages: Vec<_> = world.out.lines().filter(|l| l.starts_with("log ")).map(str::to_owned).collect();
    assert!(messages.first().is_some_and(|first| !first.contains("START")), "{messages:?}");
    let kept = messages.len() as u64;
    let dropped =
        format!("Count datadog.serverless.extension.dropped 0 {} [reason:overflow signal:logs]", 42 - kept);
    assert!(world.out.contains(&dropped), "{}", world.out);
}

#[test]
fn what_was_lost_elsewhere_is_told() {
    check_with(
        bare(),
        "0 dropped spans 3
         1 dropped datagrams 2
         2 logs-dropped 5
         3 dropped spans 1
         4 metric refused:1:1|d
         5 invoke r1
         6 done r1 success 1
         7 sent refused #1
         8 sent ok
         9 invoke r2
         10 done r2 success 1
         11 sent ok",
        "0 next
         6 send #0 series until 2905
         Count datadog.serverless.extension.dropped 0 2 [reason:inbox signal:datagrams]
         Count datadog.serverless.extension.dropped 0 4 [reason:malformed signal:traces]
         Count datadog.serverless.extension.dropped 0 5 [reason:platform signal:logs]
         6 send #1 sketches until 2905
         refused 0 2 values, sum 2 []
         8 next
         10 send #2 series until 2909
         Count datadog.serverless.extension.dropped 0 2 [reason:refused signal:sketches]
         11 next",
    );
    let _ = Answer::Refused;
}

/// Libraries count errors themselves; what Lambda calls a failure is counted from there too.
#[test]
fn an_error_that_a_library_counts_is_counted_once() {
    let check = |facts: &str, want: usize| {
        let mut world = World::new(Settings { logs: false, ..settings() });
        world.drain();
        for line in facts.lines().map(str::trim) {
            world.line(line);
            world.accept_all();
        }
        let sketches =
            world.delivered.iter().filter_map(|b| if let Batch::Sketches(s) = b { Some(s) } else { None });
        let errors = sketches.flatten().filter(|s| s.name == "aws.lambda.enhanced.errors");
        let counts = errors.flat_map(|s| s.points.iter().map(|(_, sketch)| sketch.count() as usize));
        assert_eq!(counts.sum::<usize>(), want, "{}", world.out);
    };
    let told = "3 metric aws.lambda.enhanced.errors:1|d";
    check(&format!("1 invoke r1\n2 start r1\n{told}\n9 done r1 error type=E"), 1);
    // The library calls a web response of 500 an error, Lambda does not.
    check(&format!("1 invoke r1\n2 start r1\n{told}\n9 done r1 success 1"), 1);
    check("1 invoke r1\n2 start r1\n9 done r1 error type=E", 1);
    check("1 invoke r1\n2 start r1\n9 done r1 success 1", 0);
    // Told behind the end of the invocation, as far as it was counted.
    check(
        "1 invoke r1\n2 start r1\n9 done r1 error type=E\n10 metric aws.lambda.enhanced.errors:1|d\n20 invoke r2\n21 start r2\n22 done r2 success 1",
        1,
    );
}

#[test]
fn what_tracers_have_passed_on_is_held_within_bounds_and_sent_last() {
    let small = Settings { batch_bytes: 400, ..bare() };
    check_with(
        small,
        r#"1 invoke r1
         2 start r1
         3 forward intake.profile/one
         4 stats 12345
         5 traces a/1:work:s
         6 forward intake.profile/two
         7 forward intake.profile/three
         9 done r1 success 1
         10 sent ok #0
         11 sent retry #2
         12 sent ok
         20 shutdown spindown 2000"#,
        r#"0 next
         9 send #0 traces until 2901
         span a/1 work s 5+1 [_top_level=1]
         9 send #1 series until 2901
         Count datadog.serverless.extension.dropped 0 1 [reason:overflow signal:forwards]
         9 send #2 stats until 2901
         stats of 5 bytes
         9 send #3 forwards until 2901
         forward intake.profile/two of 0 bytes
         forward intake.profile/three of 0 bytes
         12 next
         20 send #4 stats until 1920
         stats of 5 bytes"#,
    );
}
