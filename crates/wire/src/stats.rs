//! The tracers' protocol `/v0.6/stats`: statistics of traces that a tracer computed itself, one msgpack map.
//!
//! The statistics are carried as they are; only what the tracer leaves to the agent is filled in around them.

use crate::msgpack::{Reader, Value};
use crate::v04::DecodeError;

/// What an agent knows better than the tracer, or may know when the tracer does not say. Empty: not known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    pub env: &'a str,
    pub service: &'a str,
    pub version: &'a str,
    pub language: &'a str,
    pub tracer_version: &'a str,
    pub container_id: &'a str,
}

/// Gives the map of a request as the intake takes it: without a host name, with what is known where the
/// tracer says nothing. `None` when there are no statistics in it.
///
/// ```
/// let known = wire::stats::Known { env: "prod", ..Default::default() };
/// assert_eq!(wire::stats::complete(b"\x81\xa5Stats\x90", known), Ok(None));
/// ```
pub fn complete(body: &[u8], known: Known<'_>) -> Result<Option<Vec<u8>>, DecodeError> {
    let mut defaults = [
        ("Env", known.env),
        ("Service", known.service),
        ("Version", known.version),
        ("Lang", known.language),
        ("TracerVersion", known.tracer_version),
        ("ContainerID", known.container_id),
    ];
    let mut reader = Reader::new(body);
    let Value::Map(pairs) = reader.value()? else { return Err(DecodeError::NotTraces) };
    let (mut kept, mut fields, mut has_stats) = (Vec::with_capacity(body.len()), 0u32, false);
    for _ in 0..pairs {
        let Some(key) = reader.key()? else { continue };
        let raw = reader.raw()?;
        let is_empty = matches!(Reader::new(raw).value()?, Value::Nil)
            || matches!(Reader::new(raw).value()?, Value::Text(text) if text.is_empty());
        if key == "Hostname" || is_empty {
            continue;
        }
        if let Some((_, value)) = defaults.iter_mut().find(|(name, _)| *name == key) {
            *value = "";
        }
        has_stats |= key == "Stats" && !matches!(Reader::new(raw).value()?, Value::Array(0));
        text(&mut kept, &key);
        kept.extend_from_slice(raw);
        fields += 1;
    }
    for (name, value) in defaults.into_iter().filter(|(_, value)| !value.is_empty()) {
        text(&mut kept, name);
        text(&mut kept, value);
        fields += 1;
    }
    let mut whole = vec![0xdf];
    whole.extend(fields.to_be_bytes());
    whole.extend(kept);
    Ok(has_stats.then_some(whole))
}

fn text(to: &mut Vec<u8>, text: &str) {
    // Writing to memory does not fail.
    let _ = rmp::encode::write_str(to, text);
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};
    use rmpv::Value as Any;

    use super::*;

    fn map(pairs: &[(&str, Any)]) -> Vec<u8> {
        let mut body = Vec::new();
        let pairs = pairs.iter().map(|(k, v)| (Any::from(*k), v.clone())).collect();
        rmpv::encode::write_value(&mut body, &Any::Map(pairs)).unwrap();
        body
    }

    #[test]
    fn what_is_missing_is_filled_in() {
        let known = Known { env: "prod", service: "shop", language: "python", ..Known::default() };
        let check = |body: &[u8], want: Result<Option<&str>, DecodeError>| {
            let got = complete(body, known);
            let text = |body: Vec<u8>| rmpv::decode::read_value(&mut &body[..]).unwrap().to_string();
            assert_eq!(got.map(|body| body.map(text)), want.map(|text| text.map(str::to_owned)));
        };
        let bucket = || Any::Array(vec![Any::Map(vec![("Start".into(), 10.into())])]);
        check(
            &map(&[
                ("Hostname", "h".into()),
                ("Env", "test".into()),
                ("Stats", bucket()),
                ("More", 1.into()),
            ]),
            Ok(Some(
                r#"{"Env": "test", "Stats": [{"Start": 10}], "More": 1, "Service": "shop", "Lang": "python"}"#,
            )),
        );
        check(
            &map(&[("Stats", bucket()), ("Env", "".into()), ("Lang", Any::Nil)]),
            Ok(Some(r#"{"Stats": [{"Start": 10}], "Env": "prod", "Service": "shop", "Lang": "python"}"#)),
        );
        check(&map(&[("Env", "x".into())]), Ok(None));
        check(&map(&[("Stats", Any::Array(vec![]))]), Ok(None));
        check(b"\x90", Err(DecodeError::NotTraces));
        check(b"\x82\xa1a", Err(DecodeError::Truncated));
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(body in vec(any::<u8>(), 0..200)) {
            let _ = complete(&body, Known::default());
            let _ = complete(&[b"\x8f", &body[..]].concat(), Known::default());
        }
    }
}
