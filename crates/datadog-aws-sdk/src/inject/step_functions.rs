//! Step Functions: a member of an execution's input.
//! <https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html>

use model::keys::headers::CARRIER;

use super::Told;
use crate::json_text::{Edit, Object, edited, quoted, string};

/// Bytes of an input.
const LIMIT: usize = 256 * 1024;

/// Starting a named execution again with the same input is no error, and does nothing. With another input it is
/// one, and the context is another each time: so a named execution gets none.
pub(super) fn start<'a>(body: &Object<'a>, told: &Told) -> Option<Vec<Edit<'a>>> {
    let is_named = body.get("name").is_some_and(|name| name != "null");
    if is_named { None } else { start_sync(body, told) }
}

/// Express workflows run once more each time, named or not.
pub(super) fn start_sync<'a>(body: &Object<'a>, told: &Told) -> Option<Vec<Edit<'a>>> {
    let old = body.get("input")?;
    let input = string(old)?;
    let members = Object::parse(&input)?;
    // It may be the context of a state machine that this one is started by, which goes before ours.
    if members.get(CARRIER).is_some() {
        return None;
    }
    let with = |text: &String| edited(&input, members.set(CARRIER, text.clone()));
    let new = told.texts(None).iter().filter_map(with).find(|new| new.len() <= LIMIT)?;
    Some(vec![Edit { old, new: quoted(&new) }])
}

#[cfg(test)]
mod tests {
    use super::super::tests::json;
    use super::*;

    const OWN: &str = r#""_datadog":{"baggage":"","x-datadog-trace-id":"1"}"#;

    fn body(input: &str) -> String {
        format!(r#"{{"input":{},"stateMachineArn":"arn"}}"#, quoted(input))
    }

    #[test]
    fn the_input_keeps_its_text() {
        let check = |input: &str, expect: &str| {
            for edit in [start, start_sync] {
                assert_eq!(json(edit, &body(input)), body(&expect.replace('@', OWN)), "{input}");
            }
        };
        check("{}", "{@}");
        check("{ } ", "{@ } ");
        check("{\"n\": 1.00,\"e\":\"\\u00e9\"}\n", "{@,\"n\": 1.00,\"e\":\"\\u00e9\"}\n");
    }

    #[test]
    fn what_is_no_object_or_has_a_context_stays() {
        for odd in ["", "[1]", "7", "null", "{", r#"{"_datadog":{}}"#, r#"{"_datadog":1}"#] {
            assert_eq!(json(start, &body(odd)), "untouched", "{odd}");
        }
        for odd in [r#"{"stateMachineArn":"arn"}"#, r#"{"input":null}"#, r#"{"input":{}}"#] {
            assert_eq!(json(start, odd), "untouched");
        }
    }

    #[test]
    fn a_named_execution_can_be_started_again() {
        let named = r#"{"name":"order-17","input":"{}"}"#;
        assert_eq!(json(start, named), "untouched");
        assert!(json(start_sync, named).contains("_datadog"));
        assert!(json(start, r#"{"name":null,"input":"{}"}"#).contains("_datadog"));
    }

    #[test]
    fn an_input_stays_within_its_limit() {
        let added = |length: usize| {
            let input = format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8));
            match json(start, &body(&input)) {
                untouched if untouched == "untouched" => 0,
                new => new.len() - body(&input).len(),
            }
        };
        let all = OWN.len() + 1;
        let ids = all - r#""baggage":"","#.len();
        assert!(added(LIMIT - all) > added(LIMIT - all + 1));
        assert!(added(LIMIT - ids) > 0);
        assert_eq!(added(LIMIT - ids + 1), 0);
    }
}
