//! The services of AWS that are asked: their names, their addresses by region, and what they are asked.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::request::{Base, Request};
use crate::settings::{Kind, Settings};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    SecretsManager,
    Ssm,
    Kms,
    Sts,
}

/// What a region's names begin with, and where AWS is there.
/// <https://docs.aws.amazon.com/general/latest/gr/rande.html>
const DOMAINS: &[(&str, &str)] = &[
    ("cn-", "amazonaws.com.cn"),
    ("eusc-", "amazonaws.eu"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("us-isof-", "csp.hci.ic.gov"),
];
const DOMAIN: &str = "amazonaws.com";
const FIRST_REGION: &str = "us-east-1";

impl Service {
    /// As addresses and signatures have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SecretsManager => "secretsmanager",
            Self::Ssm => "ssm",
            Self::Kms => "kms",
            Self::Sts => "sts",
        }
    }

    /// As people call it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::SecretsManager => "Secrets Manager",
            Self::Ssm => "Parameter Store",
            Self::Kms => "KMS",
            Self::Sts => "STS",
        }
    }

    /// What the function's role has to be allowed.
    pub(crate) fn action(self) -> &'static str {
        match self {
            Self::SecretsManager => "secretsmanager:GetSecretValue",
            Self::Ssm => "ssm:GetParameter",
            Self::Kms => "kms:Decrypt",
            Self::Sts => "sts:GetCallerIdentity",
        }
    }

    pub(crate) fn base(self, region: &str, settings: &Settings) -> Base {
        let endpoints = &settings.endpoints;
        let own = match self {
            Self::SecretsManager => &endpoints.secrets_manager,
            Self::Ssm => &endpoints.ssm,
            Self::Kms => &endpoints.kms,
            Self::Sts => &endpoints.sts,
        };
        let set = own.as_ref().or(endpoints.all.as_ref()).cloned();
        set.unwrap_or_else(|| Base::https(self.host(region, settings.is_fips())))
    }

    fn host(self, region: &str, fips: bool) -> String {
        let domain = DOMAINS.iter().find(|(begin, _)| region.starts_with(begin)).map_or(DOMAIN, |(_, d)| d);
        // In GovCloud the only addresses of these two are validated ones.
        let is_validated = region.starts_with("us-gov-") && matches!(self, Self::Ssm | Self::Sts);
        let suffix = if fips && !is_validated { "-fips" } else { "" };
        format!("{}{suffix}.{region}.{domain}", self.name())
    }
}

/// The region of a value: of its ARN if it is one, else the function's.
pub(crate) fn region<'a>(value: &'a str, settings: &'a Settings) -> &'a str {
    let of_arn = value.starts_with("arn:").then(|| value.split(':').nth(3)).flatten();
    [of_arn.unwrap_or_default(), &settings.region].into_iter().find(|r| is_region(r)).unwrap_or(FIRST_REGION)
}

/// A region becomes part of a host name.
fn is_region(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// What a way to the key asks, unsigned. `None` for ways that ask no service of AWS.
pub(crate) fn ask(kind: Kind, settings: &Settings, with_context: bool) -> Option<Ask> {
    let (service, target, value, body) = match kind {
        Kind::SecretsManager => {
            let secret = settings.secret.as_deref()?.trim();
            (Service::SecretsManager, "secretsmanager.GetSecretValue", secret, json!({"SecretId": secret}))
        }
        Kind::Parameter => {
            let name = settings.parameter.as_deref()?.trim();
            let body = json!({"Name": name, "WithDecryption": true});
            (Service::Ssm, "AmazonSSM.GetParameter", name, body)
        }
        Kind::Kms => {
            let blob: String = settings.ciphertext.as_deref()?.split_whitespace().collect();
            let mut body = Map::from_iter([("CiphertextBlob".to_owned(), Value::from(blob))]);
            if with_context {
                let context = json!({"LambdaFunctionName": settings.function_name});
                body.insert("EncryptionContext".to_owned(), context);
            }
            (Service::Kms, "TrentService.Decrypt", "", Value::Object(body))
        }
        Kind::Delegated | Kind::Plain => return None,
    };
    let region = region(value, settings).to_owned();
    let base = service.base(&region, settings);
    let request = Request::new("POST", &base, "/", body.to_string().into_bytes())
        .with("content-type", "application/x-amz-json-1.1")
        .with("x-amz-target", target);
    Some(Ask { service, region, request })
}

/// A question before it is signed.
pub(crate) struct Ask {
    pub(crate) service: Service,
    pub(crate) region: String,
    pub(crate) request: Request,
}

/// The secret in an answer. An error says what is wrong with it.
pub(crate) fn value(kind: Kind, answer: &Value) -> Result<String, &'static str> {
    let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str);
    let decoded = |blob: &str| {
        let bytes = STANDARD.decode(blob).map_err(|_| "is not base64")?;
        String::from_utf8(bytes).map_err(|_| "is not text")
    };
    match kind {
        Kind::SecretsManager => {
            let secret = match (text("/SecretString"), text("/SecretBinary")) {
                (Some(secret), _) => secret.to_owned(),
                (None, Some(blob)) => decoded(blob)?,
                (None, None) => return Err("has no value"),
            };
            of_object(&secret).unwrap_or(Ok(secret))
        }
        Kind::Parameter => text("/Parameter/Value").map(str::to_owned).ok_or("has no value"),
        Kind::Kms => decoded(text("/Plaintext").ok_or("has no value")?),
        Kind::Delegated => text("/data/attributes/api_key").map(str::to_owned).ok_or("has no key"),
        Kind::Plain => Err("is no answer"),
    }
}

/// The key in a secret that is a JSON object, as the console of Secrets Manager makes them. `None` for one that is
/// none.
fn of_object(secret: &str) -> Option<Result<String, &'static str>> {
    const NAMES: [&str; 4] = ["dd_api_key", "apiKey", "api_key", "DD_API_KEY"];
    let Ok(Value::Object(object)) = serde_json::from_str(secret) else { return None };
    let key = NAMES.iter().find_map(|name| object.get(*name)?.as_str());
    Some(key.map(str::to_owned).ok_or("is a JSON object without dd_api_key or apiKey"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As botocore 1.44 has them.
    #[test]
    fn hosts() {
        let check = |service: Service, region: &str, fips: bool, want: &str| {
            assert_eq!(service.host(region, fips), want);
        };
        use Service::{Kms, SecretsManager, Ssm, Sts};
        check(SecretsManager, "eu-west-1", false, "secretsmanager.eu-west-1.amazonaws.com");
        check(SecretsManager, "us-east-1", true, "secretsmanager-fips.us-east-1.amazonaws.com");
        check(SecretsManager, "us-gov-west-1", true, "secretsmanager-fips.us-gov-west-1.amazonaws.com");
        check(Kms, "cn-north-1", false, "kms.cn-north-1.amazonaws.com.cn");
        check(Kms, "us-gov-east-1", true, "kms-fips.us-gov-east-1.amazonaws.com");
        check(Ssm, "us-west-2", true, "ssm-fips.us-west-2.amazonaws.com");
        check(Ssm, "us-gov-west-1", true, "ssm.us-gov-west-1.amazonaws.com");
        check(Sts, "us-gov-west-1", true, "sts.us-gov-west-1.amazonaws.com");
        check(Sts, "eusc-de-east-1", false, "sts.eusc-de-east-1.amazonaws.eu");
        check(Kms, "us-iso-east-1", false, "kms.us-iso-east-1.c2s.ic.gov");
        check(Kms, "us-isob-east-1", false, "kms.us-isob-east-1.sc2s.sgov.gov");
        check(Kms, "eu-isoe-west-1", false, "kms.eu-isoe-west-1.cloud.adc-e.uk");
        check(Kms, "us-isof-south-1", false, "kms.us-isof-south-1.csp.hci.ic.gov");
    }

    #[test]
    fn values() {
        let check = |kind, answer: Value, want: Result<&str, &'static str>| {
            assert_eq!(value(kind, &answer), want.map(str::to_owned), "{answer}");
        };
        use Kind::{Delegated, Kms, Parameter, SecretsManager};
        check(SecretsManager, json!({"SecretString": "abc\n"}), Ok("abc\n"));
        check(SecretsManager, json!({"SecretString": "{\"dd_api_key\":\"a\",\"apiKey\":\"b\"}"}), Ok("a"));
        check(SecretsManager, json!({"SecretString": "{\"apiKey\":\"b\"}"}), Ok("b"));
        check(
            SecretsManager,
            json!({"SecretString": "{\"user\":\"b\"}"}),
            Err("is a JSON object without dd_api_key or apiKey"),
        );
        check(SecretsManager, json!({"SecretString": "12345"}), Ok("12345"));
        check(SecretsManager, json!({"SecretBinary": STANDARD.encode("abc")}), Ok("abc"));
        check(SecretsManager, json!({"SecretBinary": "*"}), Err("is not base64"));
        check(SecretsManager, json!({"SecretBinary": STANDARD.encode([0xff])}), Err("is not text"));
        check(SecretsManager, json!([]), Err("has no value"));
        check(Parameter, json!({"Parameter": {"Value": "abc"}}), Ok("abc"));
        check(Parameter, json!({"Parameter": {"Value": 7}}), Err("has no value"));
        check(Kms, json!({"Plaintext": STANDARD.encode("abc")}), Ok("abc"));
        check(Kms, json!(null), Err("has no value"));
        check(Delegated, json!({"data": {"attributes": {"api_key": "abc"}}}), Ok("abc"));
    }
}
