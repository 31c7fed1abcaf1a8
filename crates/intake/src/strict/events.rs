//! Events and service checks.

use model::UnixNanos;
use serde_json::Value;

use super::json::{read, shown, text};
use super::{Found, rules};

pub(super) fn check_event(plain: &[u8], now: UnixNanos, found: &mut Found) -> Result<(), String> {
    let event = read(plain)?;
    let length = |key| text(&event, key).chars().count();
    found.want((1..=500).contains(&length("title")), &rules::EVENT_TITLE, "title", shown(event.get("title")));
    found.want((1..=4000).contains(&length("text")), &rules::EVENT_TEXT, "text", shown(event.get("text")));
    if let Some(time) = event.get("date_happened") {
        let holds = time.as_u64().is_some_and(|time| time + 18 * 3600 >= now.as_secs());
        found.want(holds, &rules::EVENT_TIME, "date_happened", time);
    }
    let kinds = ["error", "warning", "info", "success", "user_update", "recommendation", "snapshot"];
    for (key, known) in [("alert_type", &kinds[..]), ("priority", &["normal", "low"])] {
        let word = event.get(key).filter(|word| !word.is_null());
        let holds = word.is_none_or(|word| word.as_str().is_some_and(|word| known.contains(&word)));
        found.want(holds, &rules::EVENT_WORD, key, shown(word));
    }
    Ok(())
}

pub(super) fn check_runs(plain: &[u8], found: &mut Found) -> Result<(), String> {
    let body = read(plain)?;
    let all = match &body {
        Value::Array(all) => all.as_slice(),
        one => std::slice::from_ref(one),
    };
    found.want(!all.is_empty(), &rules::EMPTY, "body", "empty");
    for (n, one) in all.iter().enumerate() {
        let name = one.get("check");
        let holds = name.and_then(Value::as_str).is_some_and(|name| !name.is_empty());
        found.want(holds, &rules::CHECK_NAME, format_args!("[{n}].check"), shown(name));
        let status = one.get("status");
        let holds = status.and_then(Value::as_u64).is_some_and(|status| status <= 3);
        found.want(holds, &rules::CHECK_STATUS, format_args!("[{n}].status"), shown(status));
    }
    Ok(())
}
