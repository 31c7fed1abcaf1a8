//! JSON of which only the beginning is there, made whole: what is begun and not ended is left out, and what is
//! open is closed. So headers and ids are read of an event whose body is too large to keep. Pure.

/// The beginning of a JSON object or array, closed behind the last value that is complete. `None` where
/// nothing is open at the end: it is no such beginning.
pub(crate) fn mend(beginning: &[u8]) -> Option<Vec<u8>> {
    let mut open = Vec::new();
    let (mut in_text, mut escaped) = (false, false);
    // Where it can be cut.
    let mut end = 0;
    for (at, byte) in beginning.iter().enumerate() {
        if in_text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'{' | b'[' => {
                open.push(if *byte == b'{' { b'}' } else { b']' });
                end = at + 1;
            }
            b'}' | b']' => {
                open.pop().filter(|closes| closes == byte)?;
                end = at + 1;
            }
            b',' => end = at,
            _ => {}
        }
    }
    if open.is_empty() {
        return None;
    }
    let mut whole = beginning.get(..end)?.to_vec();
    whole.extend(open.iter().rev());
    Some(whole)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_cut_off_is_left_out() {
        let check = |beginning: &str, want: Option<&str>| {
            let mended = mend(beginning.as_bytes()).map(|whole| String::from_utf8(whole).unwrap());
            assert_eq!(mended.as_deref(), want, "{beginning}");
        };
        check(r#"{"a":1,"b":"xy"#, Some(r#"{"a":1}"#));
        check(r#"{"a":1,"b":"x","c"#, Some(r#"{"a":1,"b":"x"}"#));
        check(r#"{"a":{"b":[1,2,{"c":"\"}"#, Some(r#"{"a":{"b":[1,2,{}]}}"#));
        check(r#"{"a":[1,{"b":2}],"c":tr"#, Some(r#"{"a":[1,{"b":2}]}"#));
        check(r#"{"a":[1,{"b":2}]"#, Some(r#"{"a":[1,{"b":2}]}"#));
        check("[", Some("[]"));
        check("", None);
        check("\"text", None);
        check("12", None);
        check(r#"{"a":1}"#, None);
        check("{]", None);
    }

    /// Cut anywhere, it is JSON that says nothing that the whole does not say.
    #[test]
    fn every_beginning_can_be_read() {
        let whole =
            json!({"Records": [{"body": "{\"a\\\"\":[1]}", "n": [1.5, null, true]}, {"é": {}}], "z": "x"});
        let text = whole.to_string();
        let mut read = 0;
        for length in 1..text.len() {
            let mended = mend(&text.as_bytes()[..length]).unwrap();
            let value: Value =
                serde_json::from_slice(&mended).unwrap_or_else(|error| panic!("{length}: {error}"));
            let body = &value["Records"][0]["body"];
            assert!(body.is_null() || *body == whole["Records"][0]["body"], "{length}");
            read += usize::from(!body.is_null());
        }
        assert!(read > 20);
    }
}
