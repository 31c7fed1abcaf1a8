//! Whole searches: what is set and what servers answer in, the conversation and its end out.

use std::fmt::Write;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::UnixNanos;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    Base, Credentials, EXTENSION_ORDER, Endpoints, Kind, LIBRARY_ORDER, Request, Resolution, Settings, Step,
};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const SECRET: &str = "arn:aws:secretsmanager:us-west-2:123456789012:secret:dd-AbCdEf";
const NOW: UnixNanos = UnixNanos::from_secs(1_700_000_000);

fn credentials() -> Credentials {
    Credentials {
        access_key_id: "AKID".into(),
        secret_access_key: "hush".into(),
        session_token: "token".into(),
        ..Credentials::default()
    }
}

fn settings() -> Settings {
    Settings {
        region: "eu-west-1".into(),
        function_name: "orders".into(),
        credentials: credentials(),
        ..Settings::default()
    }
}

/// What a server answers; `None`: nothing.
type Answer = Option<(u16, Value)>;

/// The conversation, a line for each request and one for the end.
fn converse(settings: &Settings, order: &[Kind], mut server: impl FnMut(&Request) -> Answer) -> String {
    let mut resolution = Resolution::new(settings, order, 0x1234_5678_9abc_def0);
    let mut told = String::new();
    for _ in 0..40 {
        match resolution.next(NOW) {
            Step::Ask { pause, request } => {
                let target = request.header("x-amz-target").unwrap_or("-");
                let signed = request.header("authorization").is_some();
                let paused = if pause.is_zero() { "" } else { " after a pause" };
                let body = String::from_utf8_lossy(&request.body).into_owned();
                assert!(pause <= Duration::from_millis(400));
                let _ = writeln!(
                    told,
                    "{request:?} {target} {body}{}{paused}",
                    if signed { "" } else { " unsigned" }
                );
                match server(&request) {
                    Some((status, body)) => resolution.told(Ok((status, body.to_string().as_bytes()))),
                    None => resolution.told(Err("nobody listens")),
                }
            }
            Step::Done(resolved) => {
                for failure in &resolved.failures {
                    let _ = writeln!(told, "{failure}{}", if failure.is_passing { " (passing)" } else { "" });
                }
                let key = resolved.key.as_ref().map_or("no key", |key| key.as_str());
                let _ = write!(told, "{key} by {}", resolved.variable.unwrap_or("nothing"));
                return told;
            }
        }
    }
    panic!("it does not end:\n{told}");
}

fn check(settings: &Settings, order: &[Kind], server: impl FnMut(&Request) -> Answer, want: &str) {
    let got = converse(settings, order, server);
    let lines = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    assert_eq!(lines(&got), lines(want.trim()), "{got}");
}

/// All services, each with a key that tells it.
fn aws(request: &Request) -> Answer {
    let answer = match request.header("x-amz-target").unwrap_or_default() {
        "secretsmanager.GetSecretValue" => json!({"SecretString": "by-secret"}),
        "AmazonSSM.GetParameter" => json!({"Parameter": {"Value": "by-parameter"}}),
        "TrentService.Decrypt" => json!({"Plaintext": STANDARD.encode("by-kms")}),
        _ => json!({"data": {"attributes": {"api_key": "by-org"}}}),
    };
    Some((200, answer))
}

fn refusal(code: &str) -> Answer {
    Some((400, json!({"__type": format!("com.amazonaws#{code}"), "message": "as it is"})))
}

#[test]
fn a_plain_key_asks_nobody() {
    let settings = Settings { api_key: Some(format!(" {KEY}\n")), ..settings() };
    check(&settings, EXTENSION_ORDER, aws, &format!("{KEY} by DD_API_KEY"));
    assert!(settings.is_plain(LIBRARY_ORDER));
}

#[test]
fn nothing_set_is_no_key() {
    check(&settings(), EXTENSION_ORDER, aws, "no key by nothing");
    let blank = Settings { api_key: Some(" ".into()), secret: Some(String::new()), ..settings() };
    check(&blank, EXTENSION_ORDER, aws, "no key by nothing");
}

#[test]
fn what_goes_before_what() {
    let mut all = Settings {
        api_key: Some("plain".into()),
        secret: Some(SECRET.into()),
        parameter: Some("/dd/key".into()),
        ciphertext: Some("Y2lwaGVy".into()),
        organisation: Some("org".into()),
        ..settings()
    };
    let end = |settings: &Settings, order| {
        converse(settings, order, aws).lines().last().unwrap_or_default().to_owned()
    };
    assert_eq!(end(&all, LIBRARY_ORDER), "by-secret by DD_API_KEY_SECRET_ARN");
    assert_eq!(end(&all, EXTENSION_ORDER), "by-org by DD_ORG_UUID");
    all.organisation = None;
    assert_eq!(end(&all, EXTENSION_ORDER), "by-kms by DD_KMS_API_KEY");
    all.ciphertext = None;
    assert_eq!(end(&all, EXTENSION_ORDER), "by-secret by DD_API_KEY_SECRET_ARN");
    all.secret = None;
    assert_eq!(end(&all, EXTENSION_ORDER), "by-parameter by DD_API_KEY_SSM_NAME");
    all.parameter = Some("arn:aws:ssm:eu-west-1:123456789012:parameter/dd/key".into());
    assert_eq!(end(&all, LIBRARY_ORDER), "by-parameter by DD_API_KEY_SSM_ARN");
    all.parameter = None;
    assert_eq!(end(&all, EXTENSION_ORDER), "plain by DD_API_KEY");
}

#[test]
fn each_service_is_asked_in_its_region() {
    let secret = Settings { secret: Some(format!("{SECRET}\n")), ..settings() };
    check(
        &secret,
        EXTENSION_ORDER,
        aws,
        &format!(
            "POST secretsmanager.us-west-2.amazonaws.com/ secretsmanager.GetSecretValue {{\"SecretId\":\"{SECRET}\"}}
            by-secret by DD_API_KEY_SECRET_ARN"
        ),
    );
    let by_name = Settings { secret: Some("dd/key".into()), fips: Some(true), ..settings() };
    check(
        &by_name,
        EXTENSION_ORDER,
        aws,
        "POST secretsmanager-fips.eu-west-1.amazonaws.com/ secretsmanager.GetSecretValue {\"SecretId\":\"dd/key\"}
        by-secret by DD_API_KEY_SECRET_ARN",
    );
    let parameter = Settings { parameter: Some("/dd/key".into()), region: "cn-north-1".into(), ..settings() };
    check(
        &parameter,
        EXTENSION_ORDER,
        aws,
        "POST ssm.cn-north-1.amazonaws.com.cn/ AmazonSSM.GetParameter {\"Name\":\"/dd/key\",\"WithDecryption\":true}
        by-parameter by DD_API_KEY_SSM_NAME",
    );
    let government = Settings { secret: Some("dd".into()), region: "us-gov-west-1".into(), ..settings() };
    check(
        &government,
        EXTENSION_ORDER,
        aws,
        "POST secretsmanager-fips.us-gov-west-1.amazonaws.com/ secretsmanager.GetSecretValue {\"SecretId\":\"dd\"}
        by-secret by DD_API_KEY_SECRET_ARN",
    );
    // No region, or one that could change the host.
    for region in ["", "x.example.com/"] {
        let strange = Settings { ciphertext: Some("Y2k=".into()), region: region.into(), ..settings() };
        check(
            &strange,
            EXTENSION_ORDER,
            aws,
            "POST kms.us-east-1.amazonaws.com/ TrentService.Decrypt {\"CiphertextBlob\":\"Y2k=\"}
            by-kms by DD_KMS_API_KEY",
        );
    }
}

#[test]
fn addresses_of_ones_own() {
    let base = |url: &str| Base::parse(url);
    let mut settings = Settings { secret: Some("dd".into()), ..settings() };
    settings.endpoints =
        Endpoints { all: base("http://127.0.0.1:4566"), kms: base("http://kms:1"), ..Endpoints::default() };
    check(
        &settings,
        EXTENSION_ORDER,
        aws,
        "POST 127.0.0.1:4566/ secretsmanager.GetSecretValue {\"SecretId\":\"dd\"}
        by-secret by DD_API_KEY_SECRET_ARN",
    );
    settings.endpoints.secrets_manager = base("https://vpce-1.example.com/prefix/");
    check(
        &settings,
        EXTENSION_ORDER,
        aws,
        "POST vpce-1.example.com/prefix/ secretsmanager.GetSecretValue {\"SecretId\":\"dd\"}
        by-secret by DD_API_KEY_SECRET_ARN",
    );
}

#[test]
fn kms_is_asked_without_and_then_with_the_context() {
    let settings = Settings { ciphertext: Some("Y2\nk=".into()), ..settings() };
    let with = |request: &Request| request.body.windows(10).any(|w| w == b"Encryption");
    let plain = "POST kms.eu-west-1.amazonaws.com/ TrentService.Decrypt {\"CiphertextBlob\":\"Y2k=\"}";
    let context = "POST kms.eu-west-1.amazonaws.com/ TrentService.Decrypt \
         {\"CiphertextBlob\":\"Y2k=\",\"EncryptionContext\":{\"LambdaFunctionName\":\"orders\"}}";
    check(
        &settings,
        EXTENSION_ORDER,
        |request| {
            if with(request) { aws(request) } else { refusal("InvalidCiphertextException") }
        },
        &format!("{plain}\n{context}\nby-kms by DD_KMS_API_KEY"),
    );
    // What was wrong without the context is what is told, if the context was not meant.
    check(
        &settings,
        EXTENSION_ORDER,
        |request| refusal(if with(request) { "InvalidCiphertextException" } else { "AccessDeniedException" }),
        &format!(
            "{plain}\n{context}
            DD_KMS_API_KEY: KMS (kms.eu-west-1.amazonaws.com) answers 400: AccessDeniedException: as it is; \
            allow the function's role kms:Decrypt on the key that it was encrypted with
            no key by nothing"
        ),
    );
}

#[test]
fn a_way_that_fails_is_told_and_the_next_is_gone() {
    let settings = Settings {
        api_key: Some(KEY.into()),
        secret: Some("dd".into()),
        parameter: Some("dd".into()),
        ..settings()
    };
    check(
        &settings,
        LIBRARY_ORDER,
        |request| match request.header("x-amz-target") {
            Some("AmazonSSM.GetParameter") => refusal("ParameterNotFound"),
            _ => refusal("AccessDeniedException"),
        },
        &format!(
            "POST secretsmanager.eu-west-1.amazonaws.com/ secretsmanager.GetSecretValue {{\"SecretId\":\"dd\"}}
            POST ssm.eu-west-1.amazonaws.com/ AmazonSSM.GetParameter {{\"Name\":\"dd\",\"WithDecryption\":true}}
            DD_API_KEY_SECRET_ARN: Secrets Manager (secretsmanager.eu-west-1.amazonaws.com) answers 400: \
            AccessDeniedException: as it is; allow the function's role secretsmanager:GetSecretValue on it, and \
            kms:Decrypt if it is encrypted with a key of your own
            DD_API_KEY_SSM_NAME: Parameter Store (ssm.eu-west-1.amazonaws.com) answers 400: ParameterNotFound: \
            as it is; check its name, its region and its account
            {KEY} by DD_API_KEY"
        ),
    );
}

#[test]
fn what_passes_is_tried_three_times() {
    let settings = Settings { parameter: Some("dd".into()), ..settings() };
    let line =
        "POST ssm.eu-west-1.amazonaws.com/ AmazonSSM.GetParameter {\"Name\":\"dd\",\"WithDecryption\":true}";
    let end = |code: &str, why: &str| {
        format!(
            "{line}\n{line} after a pause\n{line} after a pause
            DD_API_KEY_SSM_NAME: Parameter Store (ssm.eu-west-1.amazonaws.com) {code}; {why} (passing)
            no key by nothing"
        )
    };
    let again = "Parameter Store is asked again later";
    let throttled = end("answers 400: ThrottlingException: as it is", again);
    check(&settings, EXTENSION_ORDER, |_| refusal("ThrottlingException"), &throttled);
    check(&settings, EXTENSION_ORDER, |_| Some((503, Value::Null)), &end("answers 503", again));
    let way =
        "a function in a VPC needs a way there: a NAT gateway, or an interface endpoint for Parameter Store";
    check(&settings, EXTENSION_ORDER, |_| None, &end("cannot be asked: nobody listens", way));
    let mut tries = 0;
    check(
        &settings,
        EXTENSION_ORDER,
        |request| {
            tries += 1;
            if tries < 3 { None } else { aws(request) }
        },
        &format!("{line}\n{line} after a pause\n{line} after a pause\nby-parameter by DD_API_KEY_SSM_NAME"),
    );
}

#[test]
fn after_a_restore_the_credentials_are_fetched() {
    let mut settings = Settings { secret: Some("dd".into()), ..settings() };
    settings.credentials = Credentials {
        uri: Base::parse("http://127.0.0.1:9001/2021-04-23/credentials"),
        uri_token: "open".into(),
        ..Credentials::default()
    };
    let mut session = None;
    let server = |request: &Request| {
        if request.method == "GET" {
            assert_eq!(request.header("authorization"), Some("open"));
            return Some((200, json!({"AccessKeyId": "A", "SecretAccessKey": "S", "Token": "T"})));
        }
        session = request.header("x-amz-security-token").map(str::to_owned);
        aws(request)
    };
    check(
        &settings,
        EXTENSION_ORDER,
        server,
        "GET 127.0.0.1:9001/2021-04-23/credentials -
        POST secretsmanager.eu-west-1.amazonaws.com/ secretsmanager.GetSecretValue {\"SecretId\":\"dd\"}
        by-secret by DD_API_KEY_SECRET_ARN",
    );
    assert_eq!(session.as_deref(), Some("T"));
}

#[test]
fn without_credentials_it_says_so() {
    let settings = Settings {
        secret: Some("dd".into()),
        credentials: Credentials { access_key_id: "A".into(), ..Credentials::default() },
        ..settings()
    };
    check(
        &settings,
        EXTENSION_ORDER,
        aws,
        "DD_API_KEY_SECRET_ARN: there are no credentials of the function's role to ask with: neither \
        AWS_ACCESS_KEY_ID nor AWS_CONTAINER_CREDENTIALS_FULL_URI is set
        no key by nothing",
    );
}

#[test]
fn a_role_proves_who_it_is() {
    let settings = Settings { organisation: Some("org-1".into()), site: "datadoghq.eu".into(), ..settings() };
    let mut proof = String::new();
    let server = |request: &Request| {
        proof = request.header("authorization").unwrap().to_owned();
        aws(request)
    };
    check(
        &settings,
        EXTENSION_ORDER,
        server,
        "POST api.datadoghq.eu/api/v2/intake-key - \nby-org by DD_ORG_UUID",
    );
    let parts: Vec<&str> = proof.strip_prefix("Delegated ").unwrap().split('|').collect();
    let decode = |n: usize| String::from_utf8(STANDARD.decode(parts[n]).unwrap()).unwrap();
    assert_eq!((parts.len(), parts[2]), (4, "POST"));
    assert_eq!(decode(0), "Action=GetCallerIdentity&Version=2011-06-15");
    assert_eq!(decode(3), "https://sts.eu-west-1.amazonaws.com/");
    let headers: Value = serde_json::from_str(&decode(1)).unwrap();
    assert_eq!(headers["x-ddog-org-id"], json!(["org-1"]));
    assert_eq!(headers["host"], json!(["sts.eu-west-1.amazonaws.com"]));
    let signature = headers["authorization"][0].as_str().unwrap();
    assert!(
        signature.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-ddog-org-id,")
    );
}

#[test]
fn nothing_printed_opens_anything() {
    let settings = Settings { api_key: Some(KEY.into()), secret: Some("dd".into()), ..settings() };
    let mut resolution = Resolution::new(&settings, EXTENSION_ORDER, 1);
    let step = resolution.next(NOW);
    let printed = format!("{settings:?} {:?} {resolution:?} {step:?}", settings.credentials);
    for secret in [KEY, "hush", "token", "AKID"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

proptest! {
    /// Whatever is answered, a search ends, and soon.
    #[test]
    fn every_search_ends(
        answers in proptest::collection::vec(
            proptest::option::of((100u16..600, proptest::collection::vec(any::<u8>(), 0..80))), 40),
        set in proptest::array::uniform5(proptest::option::of(".{0,20}")),
        has_credentials: bool,
    ) {
        let [api_key, secret, parameter, ciphertext, organisation] = set;
        let mut settings =
            Settings { api_key, secret, parameter, ciphertext, organisation, ..settings() };
        if !has_credentials {
            settings.credentials = Credentials { uri: Base::parse("http://h/"), ..Credentials::default() };
        }
        let mut resolution = Resolution::new(&settings, EXTENSION_ORDER, 1);
        let mut asked = 0;
        let mut answers = answers.iter();
        while let Step::Ask { .. } = resolution.next(NOW) {
            asked += 1;
            prop_assert!(asked <= 32, "it does not end");
            match answers.next().cloned().flatten() {
                Some((status, body)) => resolution.told(Ok((status, &body))),
                None => resolution.told(Err("no")),
            }
        }
    }
}
