//! What is set: where the key is to be had, who we are to AWS, and where AWS is. Read by the extension and by the
//! library, each from its own table of settings.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::request::Base;

/// All that is needed to get the key. Absent is `None` or empty.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// `DD_API_KEY`: the key itself.
    pub api_key: Option<String>,
    /// `DD_API_KEY_SECRET_ARN`: a secret of Secrets Manager.
    pub secret: Option<String>,
    /// `DD_API_KEY_SSM_ARN`, `DD_API_KEY_SSM_NAME`: a parameter of Parameter Store, by ARN or by name.
    pub parameter: Option<String>,
    /// `DD_KMS_API_KEY`: the key as KMS has encrypted it, in base64.
    pub ciphertext: Option<String>,
    /// `DD_ORG_UUID`: the organisation that gives the function's role a key.
    pub organisation: Option<String>,
    /// `DD_LAMBDA_FIPS_MODE`; `None`: by the region.
    pub fips: Option<bool>,
    /// `DD_SITE`, or empty for Datadog's first.
    pub site: String,
    pub region: String,
    pub function_name: String,
    pub credentials: Credentials,
    pub endpoints: Endpoints,
}

/// Who we are to AWS, as Lambda says in the environment.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// `AWS_ACCESS_KEY_ID`
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`
    pub secret_access_key: String,
    /// `AWS_SESSION_TOKEN`
    pub session_token: String,
    /// `AWS_CONTAINER_CREDENTIALS_FULL_URI`: where the above are to be had after a restore from a snapshot.
    pub uri: Option<Base>,
    /// `AWS_CONTAINER_AUTHORIZATION_TOKEN`: what opens it.
    pub uri_token: String,
}

/// Other addresses of AWS's services: private ones, and those of tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// `AWS_ENDPOINT_URL`: for all that have none of their own.
    pub all: Option<Base>,
    /// `AWS_ENDPOINT_URL_SECRETS_MANAGER`
    pub secrets_manager: Option<Base>,
    /// `AWS_ENDPOINT_URL_SSM`
    pub ssm: Option<Base>,
    /// `AWS_ENDPOINT_URL_KMS`
    pub kms: Option<Base>,
    /// `AWS_ENDPOINT_URL_STS`
    pub sts: Option<Base>,
    /// Where Datadog's own API is, instead of by the site.
    pub datadog: Option<Base>,
}

/// A way to the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Delegated,
    Kms,
    SecretsManager,
    Parameter,
    Plain,
}

/// What goes before what when several are set, as in Datadog's extension.
pub const EXTENSION_ORDER: &[Kind] =
    &[Kind::Delegated, Kind::Kms, Kind::SecretsManager, Kind::Parameter, Kind::Plain];

/// The same, as in Datadog's libraries.
pub const LIBRARY_ORDER: &[Kind] = &[Kind::SecretsManager, Kind::Parameter, Kind::Kms, Kind::Plain];

impl Settings {
    /// The ways that are set, in an order.
    pub fn ways(&self, order: &[Kind]) -> impl Iterator<Item = Kind> {
        order.iter().copied().filter(|kind| self.is_set(*kind))
    }

    /// Whether nothing has to be asked to have the key.
    pub fn is_plain(&self, order: &[Kind]) -> bool {
        self.ways(order).next() == Some(Kind::Plain)
    }

    fn is_set(&self, kind: Kind) -> bool {
        let value = match kind {
            Kind::Delegated => &self.organisation,
            Kind::Kms => &self.ciphertext,
            Kind::SecretsManager => &self.secret,
            Kind::Parameter => &self.parameter,
            Kind::Plain => &self.api_key,
        };
        value.as_deref().is_some_and(|value| !value.trim().is_empty())
    }

    /// The variable that a way was set with.
    pub fn variable(&self, kind: Kind) -> &'static str {
        match kind {
            Kind::Delegated => "DD_ORG_UUID",
            Kind::Kms => "DD_KMS_API_KEY",
            Kind::SecretsManager => "DD_API_KEY_SECRET_ARN",
            Kind::Parameter if self.parameter.as_deref().is_some_and(|p| p.starts_with("arn:")) => {
                "DD_API_KEY_SSM_ARN"
            }
            Kind::Parameter => "DD_API_KEY_SSM_NAME",
            Kind::Plain => "DD_API_KEY",
        }
    }

    /// Whether addresses with validated cryptography are asked for: as set, or where the law wants them.
    pub fn is_fips(&self) -> bool {
        self.fips.unwrap_or_else(|| self.region.starts_with("us-gov-"))
    }
}

impl Credentials {
    pub(crate) fn are_here(&self) -> bool {
        !self.access_key_id.is_empty() && !self.secret_access_key.is_empty()
    }
}

/// Whether a text is what KMS gives, in base64.
pub fn is_ciphertext(text: &str) -> bool {
    let text: String = text.split_whitespace().collect();
    !text.is_empty() && STANDARD.decode(text).is_ok()
}

/// Without anything that opens something.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ways: Vec<_> = self.ways(EXTENSION_ORDER).collect();
        f.debug_struct("Settings").field("ways", &ways).field("region", &self.region).finish_non_exhaustive()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("are_here", &self.are_here()).finish_non_exhaustive()
    }
}
