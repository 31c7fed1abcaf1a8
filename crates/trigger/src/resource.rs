//! Names of inferred spans: their service, and their resource made from a path.

use std::borrow::Cow;

use crate::Settings;

/// The service of an inferred span. The user's mapping comes first, by instance and then by kind; else it
/// is the instance, or what it is an instance of when instances are not to be shown.
pub(crate) fn service(
    settings: &Settings,
    specific: &str,
    generic: &str,
    instance: &str,
    fallback: &str,
) -> String {
    let mapping = &settings.service_mapping;
    let mapped = mapping.get(specific).or_else(|| mapping.get(generic));
    let usual = if settings.service_representation && !instance.is_empty() { instance } else { fallback };
    mapped.unwrap_or(usual).to_owned()
}

/// A path with its ids replaced, so that all orders are one resource: `/orders/17` is
/// `/orders/{order_id}`. A path that is a template already stays as it is.
pub(crate) fn parameterised(path: &str) -> Cow<'_, str> {
    if path.contains('{') && path.contains('}') || !path.split('/').any(is_id) {
        return Cow::Borrowed(path);
    }
    let mut out = String::with_capacity(path.len() + 16);
    let mut previous = "";
    for (n, segment) in path.split('/').enumerate() {
        if n > 0 {
            out.push('/');
        }
        if is_id(segment) {
            out.push_str(&name_of_id(previous));
            previous = "";
        } else {
            out.push_str(segment);
            previous = segment;
        }
    }
    Cow::Owned(out)
}

fn name_of_id(previous: &str) -> String {
    match previous {
        "" | "id" | "ids" => "{id}".to_owned(),
        _ => format!("{{{}_id}}", previous.strip_suffix('s').unwrap_or(previous)),
    }
}

/// All digits, or a UUID or ULID somewhere in it.
fn is_id(segment: &str) -> bool {
    !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_digit())
        || has_uuid(segment)
        || has_ulid(segment)
}

fn has_uuid(segment: &str) -> bool {
    let dash = |n| matches!(n, 8 | 13 | 18 | 23);
    let uuid = |w: &[u8]| {
        w.iter().enumerate().all(|(n, b)| if dash(n) { *b == b'-' } else { b.is_ascii_hexdigit() })
    };
    segment.as_bytes().windows(36).any(uuid)
}

/// 26 characters of Crockford's base 32, of which the first is at most 7, in one piece.
fn has_ulid(segment: &str) -> bool {
    let letter =
        |b: u8| b.is_ascii_alphanumeric() && !matches!(b.to_ascii_uppercase(), b'I' | b'L' | b'O' | b'U');
    let ulid = |word: &str| {
        word.len() == 26 && matches!(word.as_bytes().first(), Some(b'0'..=b'7')) && word.bytes().all(letter)
    };
    segment.split(|c: char| !c.is_ascii_alphanumeric()).any(ulid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ServiceMapping;

    #[test]
    fn ids_in_a_path() {
        let check = |path: &str, expect: &str| assert_eq!(parameterised(path), expect, "{path}");
        check("/orders/17", "/orders/{order_id}");
        check("/orders/17/items/3", "/orders/{order_id}/items/{item_id}");
        check("/17", "/{id}");
        check("/orders/17/18", "/orders/{order_id}/{id}");
        check("/ids/17", "/ids/{id}");
        check("/id/17/", "/id/{id}/");
        check("/v2/users", "/v2/users");
        check("/users/{user_id}/17", "/users/{user_id}/17");
        check("/a/6f1b0c9e-8a57-4f0e-9d3c-1a2b3c4d5e6f", "/a/{a_id}");
        check("/files/x-6F1B0C9E-8A57-4F0E-9D3C-1A2B3C4D5E6F.pdf", "/files/{file_id}");
        check("/events/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/events/{event_id}");
        check("/events/91ARZ3NDEKTSV4RRFFQ69G5FAV", "/events/91ARZ3NDEKTSV4RRFFQ69G5FAV");
        check("", "");
        check("/", "/");
        check("/ö/1", "/ö/{ö_id}");
    }

    #[test]
    fn a_specific_key_wins_over_a_generic_one() {
        let check = |mapping: &str, representation: bool, expect: &str| {
            let settings = Settings {
                service_mapping: ServiceMapping::parse(mapping),
                service_representation: representation,
                ..Settings::default()
            };
            assert_eq!(service(&settings, "orders", "lambda_sqs", "orders", "sqs"), expect, "{mapping}");
        };
        check("", true, "orders");
        check("", false, "sqs");
        check("lambda_sqs:queues", true, "queues");
        check("lambda_sqs:queues,orders:billing", true, "billing");
        check("orders:billing", false, "billing");
    }
}
