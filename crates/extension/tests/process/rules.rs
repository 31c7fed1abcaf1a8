//! What the settings say of traces: left out, obfuscated, replaced.

use std::time::Duration;

use model::{Chunk, Span, SpanId, TraceId, UnixNanos};

use crate::agent::Agent;
use crate::fake_lambda::{FakeLambda, millis};
use crate::records::{delivery, runtime_done, start};
use crate::watched::Intake;
use crate::{arrives, to};

fn span(id: u64, kind: &'static str, resource: &'static str, tags: &[(&'static str, &'static str)]) -> Chunk {
    let mut span = Span::new("db.query", TraceId::new(0, id).unwrap(), SpanId::new(id).unwrap(), None);
    (span.service, span.kind, span.resource) = ("My Shop".into(), kind.into(), resource.into());
    span.start = UnixNanos::from_millis(u64::try_from(millis()).unwrap());
    span.meta.extend(tags.iter().copied());
    span.metrics.insert("_sampling_priority_v1", 1.0);
    Chunk { spans: vec![span] }
}

#[tokio::test]
async fn statistics_are_made_when_that_is_set_and_what_was_sampled_out_stays() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let url = intake.url();
    let mut variables = to(&url).to_vec();
    variables.push(("DD_LAMBDA_EXTENSION_COMPUTE_STATS", "true"));
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    lambda.invoke("r-1", Duration::from_secs(60));
    let [kept, mut left_out] = [1, 2].map(|id| span(id, "web", "GET /orders", &[]));
    left_out.spans[0].metrics.insert("_sampling_priority_v1", 0.0);
    assert_eq!(agent.put_traces(&wire::v04::encode(&[kept, left_out])).await.status, 200);
    agent.telemetry(&delivery(&[start("r-1"), runtime_done("r-1")])).await;
    arrives(&intake, "statistics", |s| s.requests(false).iter().any(|r| r.path == "/api/v0.2/stats")).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let state = intake.store().snapshot();
    let stats = state.requests.iter().find(|r| r.path == "/api/v0.2/stats").unwrap();
    assert_eq!((stats.items, stats.status), (1, Some(202)), "{stats:?}");
    let spans: Vec<_> = state.traces.iter().flat_map(|trace| &trace.spans).collect();
    assert_eq!(spans.iter().map(|s| s.span_id.get()).collect::<Vec<_>>(), [1]);
    assert_eq!(spans[0].tag("_dd.compute_stats"), None);
}

/// What such a rule was to find is not known: nothing of what it names may be seen, and the function runs.
#[tokio::test]
async fn a_broken_rule_hides_all_that_it_names_and_is_told() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let url = intake.url();
    let mut variables = to(&url).to_vec();
    variables.push((
        "DD_APM_REPLACE_TAGS",
        r#"[{"name":"note"},{"name":"code","pattern":"x(","repl":"?"},{"name":"url","pattern":"token","repl":"?"}]"#,
    ));
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    lambda.invoke("r-1", Duration::from_secs(60));
    let tags = [("note", "of two\nlines"), ("code", "secret"), ("url", "/?token"), ("other", "stays")];
    let one = span(1, "web", "GET /orders", &tags);
    assert_eq!(agent.put_traces(&wire::v04::encode(&[one])).await.status, 200);
    agent.telemetry(&delivery(&[start("r-1"), runtime_done("r-1")])).await;
    arrives(&intake, "the span", |s| s.counts().spans >= 1).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let state = intake.store().snapshot();
    let spans: Vec<_> = state.traces.iter().flat_map(|trace| &trace.spans).collect();
    let told = ["note", "code", "url", "other"].map(|key| spans[0].tag(key).unwrap_or_default());
    assert_eq!(told, ["?", "?", "/??", "stays"]);
    let printed = agent.printed();
    let named = r#"the rule of \"code\" has the pattern \"x(\"; ALL THAT IT NAMES IS HIDDEN"#;
    assert!(printed.contains(named) && printed.contains("all that it names is hidden"), "{printed}");
}

#[tokio::test]
async fn traces_leave_as_the_settings_say() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let url = intake.url();
    let mut variables = to(&url).to_vec();
    variables.extend([
        ("DD_APM_IGNORE_RESOURCES", "^GET /health,("),
        ("DD_APM_FILTER_TAGS_REJECT", "outcome:boring"),
        ("DD_APM_REPLACE_TAGS", r#"[{"name":"url","pattern":"token=[^&]*","repl":"token=?"}]"#),
    ]);
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    lambda.invoke("r-1", Duration::from_secs(60));
    let chunks = [
        span(1, "sql", "SELECT * FROM cards WHERE pan = '4111111111111111'", &[("pan", "4111111111111111")]),
        span(2, "web", "GET /orders", &[("url", "http://x/?token=secret&a=b")]),
        span(3, "web", "GET /health", &[]),
        span(4, "web", "GET /orders", &[("outcome", "boring")]),
    ];
    let body = wire::v04::encode(&chunks);
    assert_eq!(agent.put_traces(&body).await.status, 200);
    agent.telemetry(&delivery(&[start("r-1"), runtime_done("r-1")])).await;
    arrives(&intake, "two spans", |s| s.counts().spans >= 2).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let state = intake.store().snapshot();
    let mut spans: Vec<_> = state.traces.iter().flat_map(|trace| &trace.spans).collect();
    spans.sort_by_key(|span| span.span_id);
    let told: Vec<_> = spans
        .iter()
        .map(|s| format!("{} {} {:?} {:?}", s.service, s.resource, s.tag("pan"), s.tag("url")))
        .collect();
    assert_eq!(
        told,
        [
            r#"my_shop SELECT * FROM cards WHERE pan = ? Some("?") None"#,
            r#"my_shop GET /orders None Some("http://x/?token=?&a=b")"#
        ]
    );
    assert!(agent.printed().contains(r#"the regular expression \"(\""#), "{}", agent.printed());
}
