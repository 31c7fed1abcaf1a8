//! The settings of the API key beside the plain one: where else it is to be had, and who the function is to AWS.

use std::time::Duration;

use secrets::Base;

use super::{ADDRESS, ANY, BOOL, BY_REGION, Setting, boolean, maybe, text};
use crate::config::Config;

const SET_BY_LAMBDA: &str =
    "Set by Lambda: who the function's role is to AWS. Used where the key is asked for.";

/// In the order of the page.
pub(super) const TABLE: &[Setting] = &[
    Setting {
        key: "DD_API_KEY_SECRET_ARN",
        aliases: &[],
        default: "none",
        expects: ANY,
        doc: "A secret of Secrets Manager that holds the key, alone or as `dd_api_key` of a JSON object. Of several ways \
              to the key the first of these is gone: `DD_ORG_UUID`, `DD_KMS_API_KEY`, `DD_API_KEY_SECRET_ARN`, \
              `DD_API_KEY_SSM_ARN`, `DD_API_KEY`; one that fails is reported, and the next is gone.",
        secret: false,
        read: |config, value| text(&mut config.keys.secret, value),
    },
    Setting {
        key: "DD_API_KEY_SSM_ARN",
        aliases: &["DD_API_KEY_SSM_NAME"],
        default: "none",
        expects: ANY,
        doc: "A parameter of Parameter Store that holds the key, by ARN or by name.",
        secret: false,
        read: |config, value| text(&mut config.keys.parameter, value),
    },
    Setting {
        key: "DD_KMS_API_KEY",
        aliases: &[],
        default: "none",
        expects: "a text in base64, as KMS encrypts it",
        doc: "The key as KMS has encrypted it, in base64, without an encryption context or with `LambdaFunctionName`.",
        secret: true,
        read: |config, value| secrets::is_ciphertext(value) && text(&mut config.keys.ciphertext, value),
    },
    Setting {
        key: "DD_ORG_UUID",
        aliases: &[],
        default: "none",
        expects: ANY,
        doc: "The Datadog organisation that trusts the function's role and gives it a key: no key has to be kept.",
        secret: false,
        read: |config, value| text(&mut config.keys.organisation, value),
    },
    Setting {
        key: "DD_API_KEY_SECRET_RELOAD_INTERVAL",
        aliases: &[],
        default: "0",
        expects: "a number of seconds, 0 for never",
        doc: "After how many seconds the key is asked for again, beside the sends. An intake that refuses the key has it \
              asked for again anyway.",
        secret: false,
        read: reload,
    },
    Setting {
        key: "DD_LAMBDA_FIPS_MODE",
        aliases: &["AWS_USE_FIPS_ENDPOINT"],
        default: "none",
        expects: BOOL,
        doc: "Whether AWS's FIPS endpoints are asked for the key. Where it is not set: in the regions of GovCloud.",
        secret: false,
        read: |config, value| maybe(&mut config.keys.fips, boolean(value)),
    },
    Setting {
        key: "AWS_ACCESS_KEY_ID",
        aliases: &[],
        default: "none",
        expects: ANY,
        doc: SET_BY_LAMBDA,
        secret: true,
        read: |config, value| word(&mut config.keys.credentials.access_key_id, value),
    },
    Setting {
        key: "AWS_SECRET_ACCESS_KEY",
        aliases: &[],
        default: "none",
        expects: ANY,
        doc: SET_BY_LAMBDA,
        secret: true,
        read: |config, value| word(&mut config.keys.credentials.secret_access_key, value),
    },
    Setting {
        key: "AWS_SESSION_TOKEN",
        aliases: &[],
        default: "none",
        expects: ANY,
        doc: SET_BY_LAMBDA,
        secret: true,
        read: |config, value| word(&mut config.keys.credentials.session_token, value),
    },
    Setting {
        key: "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        aliases: &[],
        default: "none",
        expects: ADDRESS,
        doc: "Set by Lambda for functions with SnapStart: where the role's credentials are to be had.",
        secret: false,
        read: |config, value| maybe(&mut config.keys.credentials.uri, Base::parse(value)),
    },
    Setting {
        key: "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        aliases: &[],
        default: "none",
        expects: ANY,
        doc: "Set by Lambda for functions with SnapStart: what opens that address.",
        secret: true,
        read: |config, value| word(&mut config.keys.credentials.uri_token, value),
    },
    Setting {
        key: "AWS_ENDPOINT_URL",
        aliases: &[],
        default: BY_REGION,
        expects: ADDRESS,
        doc: "Where all of AWS's services that are asked for the key are, as a private endpoint.",
        secret: false,
        read: |config, value| maybe(&mut config.keys.endpoints.all, Base::parse(value)),
    },
    Setting {
        key: "AWS_ENDPOINT_URL_SECRETS_MANAGER",
        aliases: &[],
        default: BY_REGION,
        expects: ADDRESS,
        doc: "Where Secrets Manager is, as a private endpoint.",
        secret: false,
        read: |config, value| maybe(&mut config.keys.endpoints.secrets_manager, Base::parse(value)),
    },
    Setting {
        key: "AWS_ENDPOINT_URL_SSM",
        aliases: &[],
        default: BY_REGION,
        expects: ADDRESS,
        doc: "Where Parameter Store is, as a private endpoint.",
        secret: false,
        read: |config, value| maybe(&mut config.keys.endpoints.ssm, Base::parse(value)),
    },
    Setting {
        key: "AWS_ENDPOINT_URL_KMS",
        aliases: &[],
        default: BY_REGION,
        expects: ADDRESS,
        doc: "Where KMS is, as a private endpoint.",
        secret: false,
        read: |config, value| maybe(&mut config.keys.endpoints.kms, Base::parse(value)),
    },
    Setting {
        key: "AWS_ENDPOINT_URL_STS",
        aliases: &[],
        default: BY_REGION,
        expects: ADDRESS,
        doc: "Where STS is, as a private endpoint.",
        secret: false,
        read: |config, value| maybe(&mut config.keys.endpoints.sts, Base::parse(value)),
    },
];

fn word(field: &mut String, value: &str) -> bool {
    value.clone_into(field);
    true
}

fn reload(config: &mut Config, value: &str) -> bool {
    let secs: Option<u64> = value.parse().ok();
    if let Some(secs) = secs {
        config.key_reload = (secs > 0).then(|| Duration::from_secs(secs));
    }
    secs.is_some()
}
