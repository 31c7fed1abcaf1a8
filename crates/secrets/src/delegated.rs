//! Delegated authentication: no key is kept anywhere. The function's role proves who it is to Datadog with a
//! signed question to STS, which Datadog asks in its stead, and gets a key for it.
//! <https://docs.datadoghq.com/account_management/cloud_provider_authentication/>

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::UnixNanos;
use serde_json::{Map, Value, json};

use crate::request::{Base, Request};
use crate::service::{Service, region};
use crate::settings::{Credentials, Settings};
use crate::sign::sign;

const QUESTION: &[u8] = b"Action=GetCallerIdentity&Version=2011-06-15";
const SITE: &str = "datadoghq.com";

/// The request to Datadog.
pub(crate) fn request(settings: &Settings, credentials: &Credentials, now: UnixNanos) -> Request {
    let organisation = settings.organisation.as_deref().unwrap_or_default().trim();
    let site = if settings.site.is_empty() { SITE } else { &settings.site };
    let datadog = settings.endpoints.datadog.clone();
    let datadog = datadog.unwrap_or_else(|| Base::https(format!("api.{site}")));
    let proof = proof(settings, organisation, credentials, now);
    Request::new("POST", &datadog, "/api/v2/intake-key", Vec::new())
        .with("content-type", "application/json")
        .with("authorization", format!("Delegated {proof}"))
}

fn proof(settings: &Settings, organisation: &str, credentials: &Credentials, now: UnixNanos) -> String {
    let region = region("", settings);
    let sts = Service::Sts.base(region, settings);
    let mut question = Request::new("POST", &sts, "/", QUESTION.to_vec())
        .with("content-type", "application/x-www-form-urlencoded; charset=utf-8")
        .with("x-ddog-org-id", organisation);
    sign(&mut question, credentials, Service::Sts.name(), region, now);
    let mut headers = Map::new();
    for (name, value) in question.headers {
        headers.insert(name.to_owned(), json!([value]));
    }
    let url = format!("{}://{}{}", if sts.tls { "https" } else { "http" }, sts.authority(), question.path);
    format!(
        "{}|{}|POST|{}",
        STANDARD.encode(QUESTION),
        STANDARD.encode(Value::Object(headers).to_string()),
        STANDARD.encode(url)
    )
}
