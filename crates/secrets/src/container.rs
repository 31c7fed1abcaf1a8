//! Credentials as the container endpoint gives them: Lambda's, for functions that were restored from a snapshot.
//! <https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>

use serde_json::Value;

use crate::settings::Credentials;

/// `None` when the answer has none.
pub(crate) fn credentials(body: &[u8]) -> Option<Credentials> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let found = Credentials {
        access_key_id: text("AccessKeyId"),
        secret_access_key: text("SecretAccessKey"),
        session_token: text("Token"),
        ..Credentials::default()
    };
    found.are_here().then_some(found)
}
