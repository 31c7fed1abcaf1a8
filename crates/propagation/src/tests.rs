//! Headers in, context out, and back: tables and properties of every style.

use std::collections::{BTreeMap, HashMap};

use model::SpanLink;
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

use super::*;

type Headers = Vec<(String, String)>;

/// `name: value` lines.
fn headers(text: &str) -> Headers {
    let pair = |l: &str| l.trim().split_once(": ").map(|(k, v)| (k.to_owned(), v.to_owned()));
    text.lines().filter_map(pair).collect()
}

fn show(context: Option<&TraceContext>) -> String {
    let Some(c) = context else { return "nothing".into() };
    let mut out = format!("{} {}", c.trace_id, c.span_id.map_or("-".into(), |s| s.to_string()));
    out += &c.priority.map_or(String::new(), |p| format!(" priority={}", p.as_i8()));
    out += &c.origin.as_ref().map_or(String::new(), |o| format!(" origin={o}"));
    c.tags.iter().for_each(|(k, v)| out += &format!(" {k}={v}"));
    out += &c.tracestate.as_ref().map_or(String::new(), |t| format!(" tracestate[{t}]"));
    c.baggage.iter().for_each(|(k, v)| out += &format!(" baggage[{k}={v}]"));
    c.links.iter().for_each(|l| out += &format!(" link[{}]", show_link(l)));
    out
}

fn show_link(l: &SpanLink) -> String {
    let id = |id: Option<String>| id.unwrap_or("-".into());
    let tags: String = l.attributes.iter().map(|(k, v)| format!(" {k}={v}")).collect();
    format!(
        "{} {} {:x} {}{tags}",
        id(l.trace_id.map(|t| t.to_string())),
        id(l.span_id.map(|t| t.to_string())),
        l.flags,
        l.tracestate
    )
}

fn check(input: &str, expect: &str) {
    assert_eq!(show(extract(&headers(input), DEFAULT_STYLES).as_ref()), expect, "{input}");
}

#[test]
fn datadog_headers() {
    check("", "nothing");
    check("x-datadog-parent-id: 5", "nothing");
    check("x-datadog-trace-id: 0\nx-datadog-parent-id: 5", "nothing");
    check("x-datadog-trace-id: abc", "nothing");
    check("x-datadog-trace-id: 18446744073709551616", "nothing");
    // Neither a parent nor a priority is needed.
    check("x-datadog-trace-id: 255", "000000000000000000000000000000ff -");
    check(
        "X-Datadog-Trace-Id: 255\nX-Datadog-Parent-Id: 16\nX-Datadog-Sampling-Priority: -1\nX-Datadog-Origin: rum",
        "000000000000000000000000000000ff 0000000000000010 priority=-1 origin=rum",
    );
    check(
        &format!("x-datadog-trace-id: 255\nx-datadog-origin: {}", "x".repeat(257)),
        "000000000000000000000000000000ff -",
    );
    check(
        "x-datadog-trace-id: 255\nx-datadog-parent-id: nonsense\nx-datadog-sampling-priority: much",
        "000000000000000000000000000000ff -",
    );
}

#[test]
fn datadog_tags() {
    let tags =
        |tags: &str, expect: &str| check(&format!("x-datadog-trace-id: 255\nx-datadog-tags: {tags}"), expect);
    tags("_dd.p.tid=66a1b2c300000000,_dd.p.dm=-1", "66a1b2c30000000000000000000000ff - _dd.p.dm=-1");
    // Not exactly 16 lower-case hex digits: discarded, and the low half kept.
    for tid in ["123567890", "66A1B2C300000000", "66a1b2c3000000000", "66a1b2c30000000g", ""] {
        tags(&format!("_dd.p.tid={tid}"), "000000000000000000000000000000ff -");
    }
    tags(
        "_dd.p.a=b=c,,x,_dd.p.=1,usr=2,_dd.p.dm=4,_dd.p.e=",
        "000000000000000000000000000000ff - _dd.p.a=b=c",
    );
    let full = format!("_dd.p.x={}", "y".repeat(512 - 8));
    tags(&full, &format!("000000000000000000000000000000ff - {full}"));
    tags(&format!("{full}y"), "000000000000000000000000000000ff - _dd.propagation_error=extract_max_size");
}

#[test]
fn traceparent() {
    let parent = |text: &str, expect: &str| check(&format!("traceparent: {text}"), expect);
    let ids = "66a1b2c300000000112210f47de98115-000000003ade68b1";
    let seen = "66a1b2c300000000112210f47de98115 000000003ade68b1";
    parent(&format!("00-{ids}-01"), &format!("{seen} priority=1"));
    parent(&format!("00-{ids}-00"), &format!("{seen} priority=0"));
    // The random-id flag of level 2 says nothing of sampling.
    parent(&format!("00-{ids}-03"), &format!("{seen} priority=1"));
    parent(&format!("cc-{ids}-01-what-the-future-holds"), &format!("{seen} priority=1"));
    for bad in [
        &format!("ff-{ids}-01"),
        &format!("00-{ids}-01-x"),
        &format!("00-{ids}"),
        &format!("00-{ids}-1"),
        &format!("00-{}-01", ids.to_uppercase()),
        "00-00000000000000000000000000000000-000000003ade68b1-01",
        "00-66a1b2c300000000112210f47de98115-0000000000000000-01",
        "00-66a1b2c300000000112210f47de9811é-000000003ade68b1-01",
        "",
    ] {
        parent(bad, "nothing");
    }
}

#[test]
fn tracestate_members() {
    let ids = "66a1b2c300000000112210f47de98115-000000003ade68b1";
    let seen = "66a1b2c300000000112210f47de98115 000000003ade68b1";
    let state = |flags: &str, state: &str, expect: &str| {
        check(&format!("traceparent: 00-{ids}-{flags}\ntracestate: {state}"), &format!("{seen} {expect}"));
    };
    state(
        "01",
        "dd=s:2;o:rum;p:00f067aa0ba902b7;t.dm:-4;t.tid:66a1b2c300000000;t.usr:YQ~~",
        "priority=2 origin=rum _dd.parent_id=00f067aa0ba902b7 _dd.p.dm=-4 _dd.p.usr=YQ==",
    );
    state("00", "dd=s:-1", "priority=-1");
    // Where flag and state disagree the flag is newer.
    state("00", "dd=s:2;t.dm:-4", "priority=0");
    state("01", "dd=s:-1", "priority=1 _dd.p.dm=-0");
    // Others' members stay, in order; what is not a member goes.
    state("01", "a=1, dd=s:1 ,b@c=x;y,,oops", "priority=1 tracestate[a=1,b@c=x;y]");
    state("01", "dd=p:00F067AA0BA902B7;nonsense;s:x", "priority=1");
    let many: Vec<_> = (0..40).map(|n| format!("k{n}=v")).collect();
    state("01", &many.join(","), &format!("priority=1 tracestate[{}]", many[..32].join(",")));
    state("01", &format!("a={}", "x".repeat(5000)), "priority=1");
}

#[test]
fn two_styles_of_one_trace() {
    let datadog = "x-datadog-trace-id: 1234567890123456789\nx-datadog-parent-id: 987654321\nx-datadog-sampling-priority: 2";
    let w3c = |span: &str, state: &str| {
        format!("{datadog}\ntraceparent: 00-66a1b2c300000000112210f47de98115-{span}-01\ntracestate: {state}")
    };
    // The same span: only the state is added, and the high half that the short context lacks.
    check(
        &w3c("000000003ade68b1", "dd=s:2,other=1"),
        "66a1b2c300000000112210f47de98115 000000003ade68b1 priority=2 tracestate[other=1]",
    );
    // Another vendor's span in between: it is the parent, and the last Datadog span is recorded.
    check(
        &w3c("00000000000000aa", "dd=p:00000000000000bb,other=1"),
        "66a1b2c300000000112210f47de98115 00000000000000aa priority=2 _dd.parent_id=00000000000000bb tracestate[other=1]",
    );
    check(
        &w3c("00000000000000aa", "other=1"),
        "66a1b2c300000000112210f47de98115 00000000000000aa priority=2 _dd.parent_id=000000003ade68b1 tracestate[other=1]",
    );
}

#[test]
fn another_trace_becomes_a_link() {
    let datadog = "x-datadog-trace-id: 5\nx-datadog-parent-id: 6";
    check(
        &format!(
            "{datadog}\ntraceparent: 00-00000000000000010000000000000007-0000000000000008-01\ntracestate: a=1"
        ),
        "00000000000000000000000000000005 0000000000000006 link[00000000000000010000000000000007 0000000000000008 \
         80000001 dd=s:1;p:0000000000000008,a=1 reason=terminated_context context_headers=tracecontext]",
    );
    // With both high halves known they must agree.
    check(
        "x-datadog-trace-id: 7\nx-datadog-tags: _dd.p.tid=0000000000000002\n\
         traceparent: 00-00000000000000010000000000000007-0000000000000008-00",
        "00000000000000020000000000000007 - link[00000000000000010000000000000007 0000000000000008 \
         80000000 dd=s:0;p:0000000000000008 reason=terminated_context context_headers=tracecontext]",
    );
}

#[test]
fn written_headers() {
    let mut context = TraceContext::new(
        TraceId::from_u128(0x66a1b2c300000000112210f47de98115).unwrap(),
        SpanId::new(987_654_321),
    );
    context.priority = Some(SamplingPriority::AutoKeep);
    context.origin = Some("a=b;c\r\nd".into());
    context.tags.insert("_dd.p.dm", "-1");
    context.tags.insert("_dd.parent_id", "00000000000000bb");
    context.tags.insert("_dd.p.x", "bad\nvalue");
    context.tracestate = Some("a=1,dd=s:2,b=2".into());
    let mut out = headers("Traceparent: stale\nkeep: me");
    inject(&context, DEFAULT_STYLES, &mut out);
    let expect = "keep: me
        x-datadog-trace-id: 1234567890123456789
        x-datadog-parent-id: 987654321
        x-datadog-sampling-priority: 1
        x-datadog-origin: a=b;c__d
        x-datadog-tags: _dd.p.dm=-1,_dd.p.tid=66a1b2c300000000
        traceparent: 00-66a1b2c300000000112210f47de98115-000000003ade68b1-01
        tracestate: dd=s:1;o:a~b_c__d;p:000000003ade68b1;t.dm:-1,a=1,b=2";
    assert_eq!(out, headers(expect));
}

#[test]
fn tags_over_the_limit_are_not_written() {
    let mut context = TraceContext::new(TraceId::new(0, 1).unwrap(), SpanId::new(2));
    context.tags.insert("_dd.p.x", "y".repeat(512 - 8));
    let written = |c: &TraceContext| {
        let mut out = Headers::new();
        inject(c, &[Style::Datadog], &mut out);
        Carrier::get(&out, "x-datadog-tags").map(|t| t.len())
    };
    assert_eq!(written(&context), Some(512));
    context.tags.insert("_dd.p.x", "y".repeat(512 - 7));
    assert_eq!(written(&context), None);
}

fn check_style(style: Style, input: &str, expect: &str) {
    assert_eq!(show(extract(&headers(input), &[style]).as_ref()), expect, "{input}");
}

#[test]
fn b3_in_one_header() {
    let check = |input: &str, expect: &str| check_style(Style::B3, &format!("b3: {input}"), expect);
    let seen = "66a1b2c300000000112210f47de98115 000000003ade68b1";
    check(
        "66a1b2c300000000112210f47de98115-000000003ade68b1-1-0000000000000001",
        &format!("{seen} priority=1"),
    );
    check("66A1B2C300000000112210F47DE98115-000000003ADE68B1-d", &format!("{seen} priority=2"));
    check("66a1b2c300000000112210f47de98115-000000003ade68b1", seen);
    check(
        "112210f47de98115-000000003ade68b1-0",
        "0000000000000000112210f47de98115 000000003ade68b1 priority=0",
    );
    for bad in
        ["0", "1", "d", "", "112210f47de98115", "112210f47de98115-", "2210f47de98115-000000003ade68b1-1"]
    {
        check(bad, "nothing");
    }
}

#[test]
fn b3_in_several_headers() {
    let check = |input: &str, expect: &str| check_style(Style::B3Multi, input, expect);
    let ids = "X-B3-TraceId: 112210f47de98115\nX-B3-SpanId: 000000003ade68b1";
    let seen = "0000000000000000112210f47de98115 000000003ade68b1";
    check(ids, seen);
    check(&format!("{ids}\nx-b3-sampled: 1"), &format!("{seen} priority=1"));
    check(&format!("{ids}\nx-b3-sampled: false"), &format!("{seen} priority=0"));
    check(&format!("{ids}\nx-b3-sampled: 0\nx-b3-flags: 1"), &format!("{seen} priority=2"));
    check("x-b3-spanid: 000000003ade68b1", "nothing");
    check("x-b3-traceid: 0000000000000000", "nothing");
}

#[test]
fn xray_headers() {
    let check =
        |input: &str, expect: &str| check_style(Style::XRay, &format!("X-Amzn-Trace-Id: {input}"), expect);
    // Of X-Ray's own id, 63 bits.
    check(
        "Root=1-5ce31dc2-2c779014b90ce44db5e03875;Parent=0b11cc4230d3e09e;Sampled=1",
        "0000000000000000390ce44db5e03875 0b11cc4230d3e09e priority=2",
    );
    check(
        "Lineage=a87bd80c:1|68fd508a:5;Sampled=0;Parent=0b11cc4230d3e09e;Root=1-5ce31dc2-2c779014b90ce44db5e03875",
        "0000000000000000390ce44db5e03875 0b11cc4230d3e09e priority=-1",
    );
    check("Root=1-5ce31dc2-2c779014b90ce44db5e03875;Sampled=?", "0000000000000000390ce44db5e03875 -");
    // Written by a Datadog tracer.
    check(
        "Root=1-65eb7350-000000006dfd06bf489aa4e5;Parent=48cc02b6aafae897;Sampled=1",
        "65eb7350000000006dfd06bf489aa4e5 48cc02b6aafae897 priority=1",
    );
    for bad in [
        "",
        "Root=1-65eb7350",
        "Root=2-65eb7350-000000006dfd06bf489aa4e5",
        "Root=1-65eb7350-00000000",
        "Root=1-65eb7350-é00000006dfd06bf489aa4e",
        "Root=1-65eb7350-000000000000000000000000",
        "Parent=48cc02b6aafae897;Sampled=1",
    ] {
        check(bad, "nothing");
    }
}

#[test]
fn xray_keeps_what_it_does_not_know() {
    let text = "Root=1-5ce31dc2-2c779014b90ce44db5e03875;Parent=0b11cc4230d3e09e;Sampled=0;Lineage=a:0|b:1;Self=1-2-3";
    let header = XRay::parse(text).unwrap();
    assert_eq!(header.to_string(), text);
    assert_eq!(header.others[0], ("Lineage".to_owned(), "a:0|b:1".to_owned()));
    assert!(!header.is_datadog());
    assert_eq!(XRay::parse(&format!("{text};x={}", "y".repeat(1024))), None);
}

#[test]
fn the_worked_examples_of_xray_ids() {
    let check = |text: &str, trace: u64, parent: u64| {
        let context = XRay::parse(text).and_then(|x| x.context()).unwrap();
        assert_eq!(
            (context.trace_id.low(), context.span_id.map(SpanId::get)),
            (trace, Some(parent)),
            "{text}"
        );
    };
    let datadog = "Root=1-65eb7350-000000006dfd06bf489aa4e5;Parent=48cc02b6aafae897;Sampled=1";
    check(datadog, 7_925_498_337_868_555_493, 5_245_570_649_555_658_903);
    let another = "Root=1-65eb7350-00000000425c5f4f8367f57e;Parent=6b971d513e9f9847";
    check(another, 4_781_801_699_472_307_582, 7_752_697_518_321_801_287);
    let amazon = "Root=1-5ce31dc2-2c779014b90ce44db5e03875;Parent=0b11cc4230d3e09e";
    check(amazon, 4_110_911_582_297_405_557, 797_643_193_680_388_254);
}

#[test]
fn baggage_items() {
    let trace = "x-datadog-trace-id: 255\nbaggage: ";
    let seen = "000000000000000000000000000000ff -";
    let check = |header: &str, expect: &str| check(&format!("{trace}{header}"), &format!("{seen}{expect}"));
    check("a=1, b = two ;secret;x=y", " baggage[a=1] baggage[b=two]");
    check("user%20id=J%C3%B6rg,p=50%25,q=5%", " baggage[user id=Jörg] baggage[p=50%] baggage[q=5%]");
    // One malformed item spoils the header.
    for bad in ["a", "a=1,b", "=1", "a=", "a=%FF", ""] {
        check(bad, "");
    }
    let many: Vec<_> = (0..70).map(|n| format!("k{n}=v")).collect();
    assert_eq!(baggage(&[("baggage", many.join(","))]).len(), 64);
    assert_eq!(baggage(&[("baggage", format!("a=1,b={}", "x".repeat(8200)))]).len(), 1);
    // It needs no trace.
    assert_eq!(baggage(&[("Baggage", "a=1")]).get("a").unwrap(), "1");
}

#[test]
fn baggage_is_written_encoded_and_bounded() {
    let mut context = TraceContext::new(TraceId::new(0, 1).unwrap(), None);
    context.baggage.extend([("user id", "Jörg,\r\n"), ("p", "50%")]);
    let written = |context: &TraceContext| {
        let mut out = Headers::new();
        inject(context, &[Style::Baggage], &mut out);
        out.pop().map(|(_, v)| v)
    };
    assert_eq!(written(&context).as_deref(), Some("user%20id=J%C3%B6rg%2C%0D%0A,p=50%25"));
    context.baggage = (0..70).map(|n| (format!("k{n}"), "x".repeat(200))).collect();
    assert!(written(&context).is_some_and(|v| v.len() <= 8192 && v.split(',').count() == 40));
    context.baggage = Tags::new();
    assert_eq!(written(&context), None);
}

#[test]
fn the_first_style_can_have_the_only_word() {
    let both = headers(
        "x-datadog-trace-id: 5\nx-datadog-parent-id: 6\nbaggage: a=1\n\
         traceparent: 00-00000000000000010000000000000005-0000000000000008-01\ntracestate: v=1",
    );
    let seen = |styles: &[Style]| show(extract_first(&both, styles).as_ref());
    assert_eq!(seen(DEFAULT_STYLES), "00000000000000000000000000000005 0000000000000006 baggage[a=1]");
    assert_eq!(
        seen(&[Style::B3, Style::TraceContext, Style::Datadog]),
        "00000000000000010000000000000005 0000000000000008 priority=1 tracestate[v=1]"
    );
    assert_eq!(seen(&[]), "nothing");
}

#[test]
fn names_of_settings() {
    assert_eq!(
        Style::parse_list(" Datadog,b3, B3 single header,nonsense,tracecontext,datadog"),
        [Style::Datadog, Style::B3, Style::TraceContext]
    );
    assert_eq!(Style::parse_list("none"), []);
    for style in Style::ALL {
        assert_eq!(Style::parse(style.name()), Some(style));
    }
    assert_eq!(Behavior::parse(" Restart"), Some(Behavior::Restart));
    assert_eq!(Behavior::parse("stop"), None);
}

#[test]
fn any_container_in_any_case() {
    let pairs = [("X-DATADOG-TRACE-ID".to_owned(), "9".to_owned())];
    let expect = TraceContext::new(TraceId::new(0, 9).unwrap(), None);
    let styles = DEFAULT_STYLES;
    assert_eq!(extract(pairs.as_slice(), styles), Some(expect.clone()));
    assert_eq!(extract(&[("x-datadog-trace-id", "9")], styles), Some(expect.clone()));
    assert_eq!(extract(&BTreeMap::from(pairs.clone()), styles), Some(expect.clone()));
    assert_eq!(extract(&HashMap::from(pairs), styles), Some(expect));
}

fn contexts() -> impl Strategy<Value = TraceContext> {
    let priority = prop_oneof![Just(-1), Just(0), Just(1), Just(2)].prop_map(SamplingPriority::from_i64);
    let origin = proptest::option::of("[a-z0-9.:-]{1,20}");
    let tags = proptest::collection::btree_map("_dd\\.p\\.[a-ce-su-z]{1,8}", "[ -+\\--:<-}]{1,12}", 0..4);
    (any::<u128>(), 1u64.., priority, origin, tags, proptest::option::of("[a-c]{1,9}=[a-z0-9]{1,9}"))
        .prop_filter_map("a low half", |(trace, span, priority, origin, tags, state)| {
            let mut c = TraceContext::new(TraceId::from_u128(trace)?, SpanId::new(span));
            c.priority = Some(priority);
            c.origin = origin.map(Text::Owned);
            // The spaces at the ends of a header value are not part of it, and `=` and `~` are one in W3C.
            c.tags.extend(tags.into_iter().map(|(k, v)| (k, format!("a{}a", v.replace('~', "-")))));
            c.tracestate = state.map(Text::Owned);
            Some(c)
        })
}

proptest! {
    #[test]
    fn what_is_injected_is_extracted(context in contexts()) {
        for styles in [DEFAULT_STYLES, &[Style::TraceContext, Style::Datadog]] {
            let mut out = Headers::new();
            inject(&context, styles, &mut out);
            let mut read = extract(&out, styles).unwrap();
            if styles[0] == Style::TraceContext {
                let parent = read.tags.remove(keys::trace::PARENT_ID);
                prop_assert_eq!(parent, context.span_id.map(|s| Text::Owned(s.to_string())));
            }
            prop_assert_eq!(&read, &context);
        }
    }

    #[test]
    fn ids_survive_every_style(context in contexts()) {
        for style in Style::ALL.into_iter().filter(|s| *s != Style::Baggage) {
            let mut out = Headers::new();
            inject(&context, &[style], &mut out);
            let read = extract(&out, &[style]).unwrap();
            prop_assert_eq!(read.trace_id.low(), context.trace_id.low());
            prop_assert_eq!(read.span_id, context.span_id);
            prop_assert_eq!(read.priority.map(SamplingPriority::is_keep), context.priority.map(SamplingPriority::is_keep));
        }
    }

    #[test]
    fn baggage_survives(items in proptest::collection::btree_map(".{1,12}", ".{1,12}", 0..8)) {
        let mut context = TraceContext::new(TraceId::new(0, 1).unwrap(), None);
        context.baggage = items.into_iter().collect();
        let mut out = Headers::new();
        inject(&context, &[Style::Baggage], &mut out);
        prop_assert_eq!(baggage(&out), context.baggage);
    }

    #[test]
    fn no_header_value_panics(values in proptest::collection::vec(any::<String>(), 13)) {
        let names = ["x-datadog-trace-id", "x-datadog-parent-id", "x-datadog-sampling-priority", "x-datadog-origin",
            "x-datadog-tags", "traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled",
            "x-amzn-trace-id", "baggage"];
        let mut all: Headers = names.iter().map(|n| (*n).to_owned()).zip(values).collect();
        extract(&all, &Style::ALL);
        all[0].1 = "1".into();
        all[5].1 = "00-00000000000000010000000000000007-0000000000000008-01".into();
        let context = extract(&all, &Style::ALL).unwrap();
        let mut out = Headers::new();
        inject(&context, &Style::ALL, &mut out);
        for (_, value) in out {
            proptest::prop_assert!(value.chars().all(|c| matches!(c, ' '..='~')), "{value:?}");
        }
    }
}
