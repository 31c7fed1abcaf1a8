//! Why a way did not lead to the key, in words for whoever has set it.

use std::fmt;

use serde_json::Value;

use crate::service::Service;
use crate::settings::Kind;

/// More of a service's own words than this is not repeated.
const MAX_WORDS: usize = 300;

/// One way that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The variable that names the way, such as `DD_API_KEY_SECRET_ARN`.
    pub variable: &'static str,
    /// What happened.
    pub what: String,
    /// What there is to do about it; may be empty.
    pub advice: String,
    /// It may be different the next time.
    pub is_passing: bool,
}

/// `VARIABLE: what happened; what to do`.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.what)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, "; {}", self.advice) }
    }
}

/// What a server said instead of giving the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// The service's name for the error, such as `AccessDeniedException`.
    pub(crate) code: String,
    pub(crate) words: String,
}

impl Refusal {
    pub(crate) fn read(status: u16, body: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        // Who stands before a service may answer in XML, whatever the service speaks.
        let xml = String::from_utf8_lossy(body);
        let text = |names: &[&str], element: &str| {
            let of_json = names.iter().find_map(|name| json.get(*name).and_then(Value::as_str));
            of_json.or_else(|| within(&xml, element)).unwrap_or_default().to_owned()
        };
        // `com.amazonaws.kms#NotFoundException` and `NotFoundException:http://…` have been seen.
        let code = text(&["__type"], "Code");
        let code = code.rsplit('#').next().unwrap_or_default();
        let code = code.split(':').next().unwrap_or_default();
        let words = text(&["message", "Message"], "Message");
        let printable = |text: &str| -> String {
            text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_WORDS).collect()
        };
        Self { status, code: printable(code), words: printable(&words) }
    }

    /// Worth another try at once.
    pub(crate) fn is_passing(&self) -> bool {
        const CODES: [&str; 6] = [
            "Throttl",
            "TooManyRequests",
            "LimitExceeded",
            "InternalService",
            "DependencyTimeout",
            "RequestTimeout",
        ];
        self.status >= 500 || self.status == 429 || CODES.iter().any(|part| self.code.contains(part))
    }

    /// KMS cannot make anything of the value, with this context.
    pub(crate) fn is_of_ciphertext(&self) -> bool {
        self.code == "InvalidCiphertextException"
    }

    pub(crate) fn into_failure(self, variable: &'static str, kind: Kind, server: &str) -> Failure {
        let title = match kind {
            Kind::Delegated => "Datadog",
            kind => service(kind).map_or("the server", Service::title),
        };
        let mut what = format!("{title} ({server}) answers {}", self.status);
        for part in [&self.code, &self.words] {
            if !part.is_empty() {
                what.push_str(": ");
                what.push_str(part);
            }
        }
        let (advice, is_passing) = (self.advice(kind), self.is_passing());
        Failure { variable, what, advice, is_passing }
    }

    fn advice(&self, kind: Kind) -> String {
        let Some(service) = service(kind) else {
            return "check the organisation's id and that it trusts the function's role".to_owned();
        };
        let title = service.title();
        match self.code.as_str() {
            _ if self.is_passing() => format!("{title} is asked again later"),
            "AccessDeniedException" | "AccessDenied" | "NotAuthorized" => {
                let own = match service {
                    Service::Kms => "on the key that it was encrypted with",
                    _ => "on it, and kms:Decrypt if it is encrypted with a key of your own",
                };
                format!("allow the function's role {} {own}", service.action())
            }
            "ResourceNotFoundException" | "ParameterNotFound" | "NotFoundException" => {
                "check its name, its region and its account".to_owned()
            }
            "InvalidCiphertextException" | "IncorrectKeyException" => {
                "the value has to be the base64 text that `aws kms encrypt` gives in this region, made without an \
                 encryption context or with LambdaFunctionName"
                    .to_owned()
            }
            "DisabledException" | "KMSInvalidStateException" | "DecryptionFailure" | "InvalidKeyId" => {
                "the KMS key that it is encrypted with cannot be used".to_owned()
            }
            "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "InvalidClientTokenId"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "ExpiredTokenException" => {
                "the credentials in AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN are not \
                 those of the function's role"
                    .to_owned()
            }
            _ => String::new(),
        }
    }
}

/// What the first element of a name holds.
fn within<'a>(xml: &'a str, element: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{element}>"))?;
    rest.split_once(&format!("</{element}>")).map(|(text, _)| text)
}

/// No answer came.
pub(crate) fn unreachable(variable: &'static str, kind: Kind, server: &str, why: &str) -> Failure {
    let (title, advice) = match service(kind) {
        None => ("Datadog", "check that the function has a way to the internet".to_owned()),
        Some(service) => {
            let title = service.title();
            let advice = format!(
                "a function in a VPC needs a way there: a NAT gateway, or an interface endpoint for {title}"
            );
            (title, advice)
        }
    };
    let what = format!("{title} ({server}) cannot be asked: {why}");
    Failure { variable, what, advice, is_passing: true }
}

fn service(kind: Kind) -> Option<Service> {
    match kind {
        Kind::SecretsManager => Some(Service::SecretsManager),
        Kind::Parameter => Some(Service::Ssm),
        Kind::Kms => Some(Service::Kms),
        Kind::Delegated | Kind::Plain => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_in_both_forms() {
        let check = |body: &str, want: (&str, &str)| {
            let refusal = Refusal::read(403, body.as_bytes());
            assert_eq!((refusal.code.as_str(), refusal.words.as_str()), want, "{body}");
        };
        check(r#"{"__type":"a.b#Denied:http://x","message":"no"}"#, ("Denied", "no"));
        check(r#"{"__type":"Denied","Message":"no"}"#, ("Denied", "no"));
        check("<E><Error><Code>Denied</Code><Message>no</Message></Error></E>", ("Denied", "no"));
        check("<Code>", ("", ""));
        check("", ("", ""));
    }
}
