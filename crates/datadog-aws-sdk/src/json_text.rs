//! JSON as the text that it is: where the members of an object are, and how a member gets in without a byte of
//! the rest being changed. Parsing and writing anew would change numbers, escapes, order and space.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An object that is a part of some text, with its members in order, each as the text of its value.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    text: &'a str,
    members: Vec<(Key<'a>, &'a RawValue)>,
}

impl<'a> Object<'a> {
    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// `None` for what is not one object and nothing else, but for white space around it.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let Members(members) = serde_json::from_str(text).ok()?;
        Some(Self { text, members })
    }

    /// The text of a member's value. Of two with one name the last counts, as it does for those who read it.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.members.iter().rev().find(|(key, _)| key.0 == name).map(|(_, value)| value.get())
    }

    /// A string, decoded.
    pub(crate) fn string(&self, name: &str) -> Option<Cow<'a, str>> {
        string(self.get(name)?)
    }

    pub(crate) fn object(&self, name: &str) -> Option<Self> {
        Self::parse(self.get(name)?)
    }

    /// The texts of a list's elements.
    pub(crate) fn list(&self, name: &str) -> Option<Vec<&'a str>> {
        list(self.get(name)?)
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.members.iter().map(|(key, value)| (&*key.0, value.get()))
    }

    /// What has to be done to the text for the object to have a member. It takes the place of all that have its
    /// name, else it becomes the first. `value` is JSON, `name` needs no escapes.
    pub(crate) fn set(&self, name: &str, value: String) -> Vec<Edit<'a>> {
        let old: Vec<_> = self.members.iter().filter(|(key, _)| key.0 == name).collect();
        if old.is_empty() {
            let inside = self.text.find('{').and_then(|brace| self.text.get(brace + 1..)).unwrap_or_default();
            let comma = if self.members.is_empty() { "" } else { "," };
            let place = inside.get(..0).unwrap_or_default();
            return vec![Edit { old: place, new: format!("\"{name}\":{value}{comma}") }];
        }
        old.iter().map(|(_, old)| Edit { old: old.get(), new: value.clone() }).collect()
    }
}

/// A part of a text, perhaps empty, and what takes its place.
#[derive(Debug)]
pub(crate) struct Edit<'a> {
    pub(crate) old: &'a str,
    pub(crate) new: String,
}

/// The text with all edits made, whose parts are parts of it and do not overlap.
pub(crate) fn edited(text: &str, mut edits: Vec<Edit<'_>>) -> Option<String> {
    let start = text.as_ptr().addr();
    edits.sort_by_key(|edit| edit.old.as_ptr().addr());
    let mut out = String::with_capacity(text.len() + edits.iter().map(|edit| edit.new.len()).sum::<usize>());
    let mut done = 0;
    for edit in edits {
        let at = edit.old.as_ptr().addr().checked_sub(start)?;
        out.push_str(text.get(done..at)?);
        out.push_str(&edit.new);
        done = at + edit.old.len();
    }
    out.push_str(text.get(done..)?);
    Some(out)
}

/// The value of a JSON string.
pub(crate) fn string(text: &str) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Key<'_>>(text).ok().map(|key| key.0)
}

/// The texts of a list's elements.
pub(crate) fn list(text: &str) -> Option<Vec<&str>> {
    let list: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(list.into_iter().map(RawValue::get).collect())
}

/// A text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[derive(Debug)]
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

struct Members<'a>(Vec<(Key<'a>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Map)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop, prop_oneof};
    use serde_json::Value;

    use super::*;

    fn check(text: &str, expect: Option<&str>) {
        let got = Object::parse(text).and_then(|object| edited(text, object.set("_datadog", "7".to_owned())));
        assert_eq!(got.as_deref(), expect, "{text}");
    }

    #[test]
    fn a_member_gets_in_and_nothing_else_changes() {
        check("{}", Some(r#"{"_datadog":7}"#));
        check("{ }", Some(r#"{"_datadog":7 }"#));
        check(" {\n} \n", Some(" {\"_datadog\":7\n} \n"));
        check(r#"{"a":1}"#, Some(r#"{"_datadog":7,"a":1}"#));
        check(
            "\t{ \"n\" : 1.00,\"big\":12345678901234567890123, \"e\": \"\\u00e9\\/\" }\r\n",
            Some(
                "\t{\"_datadog\":7, \"n\" : 1.00,\"big\":12345678901234567890123, \"e\": \"\\u00e9\\/\" }\r\n",
            ),
        );
        check(r#"{"{":"{"}"#, Some(r#"{"_datadog":7,"{":"{"}"#));
    }

    #[test]
    fn a_member_takes_the_place_of_its_namesakes() {
        check(r#"{"a":1, "_datadog" : {"x":[]} ,"b":2}"#, Some(r#"{"a":1, "_datadog" : 7 ,"b":2}"#));
        check(r#"{"_datadog":1,"_datadog":"2"}"#, Some(r#"{"_datadog":7,"_datadog":7}"#));
        check(r#"{"\u005fdatadog":1}"#, Some(r#"{"\u005fdatadog":7}"#));
    }

    #[test]
    fn what_is_no_object_is_none() {
        for odd in
            ["", " ", "[]", "7", "\"{}\"", "null", "{", "{}{}", "{} x", "{\"a\":}", "\u{feff}{}", "{'a':1}"]
        {
            check(odd, None);
        }
    }

    #[test]
    fn the_last_of_two_counts() {
        let object = Object::parse(r#"{"a":"x","a":"\u0079"}"#).unwrap();
        assert_eq!((object.string("a").as_deref(), object.len()), (Some("y"), 2));
        assert_eq!(object.string("b"), None);
        assert_eq!(string("7"), None);
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest::proptest! {
        #[test]
        fn what_was_there_is_there_afterwards(value in json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let text = text.unwrap();
            let got = Object::parse(&text)
                .and_then(|object| edited(&text, object.set("_datadog", "7".to_owned())));
            let expect = match value {
                Value::Object(mut map) => {
                    map.insert("_datadog".to_owned(), 7.into());
                    Some(Value::Object(map))
                }
                _ => None,
            };
            assert_eq!(got.map(|text| serde_json::from_str::<Value>(&text).unwrap()), expect);
        }
    }
}
