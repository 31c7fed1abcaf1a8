//! Metrics straight to the API, with a server that is both Datadog's and Secrets Manager.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::agent::{Manner, answer, read_request};
use super::world::World;
use crate::agent::lock;
use crate::api::Api;
use crate::datadog::Datadog;
use crate::metric;
use crate::out::Out;
use crate::settings::Settings;

const PATH: &str = "POST /api/v1/distribution_points HTTP/1.1";
const GOOD: &str = "0123456789abcdef0123456789abcdef";
const OLD: &str = "ffffffffffffffffffffffffffffffff";
/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

/// Answers in the order in which they are given, the last again and again; `None`: nothing.
#[derive(Clone)]
struct Server {
    url: String,
    seen: Arc<Mutex<Vec<(String, Value)>>>,
    changed: Arc<Notify>,
}

impl Server {
    /// A secret's values, and what a request with a key is answered with.
    async fn start(
        secrets: &'static [&'static str],
        reply: impl Fn(&str, usize) -> Option<&'static str> + Clone + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { url, seen: Arc::default(), changed: Arc::default() };
        let this = server.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (this, reply) = (this.clone(), reply.clone());
                tokio::spawn(async move {
                    while let Some(request) = read_request(&mut stream).await {
                        let header = |name: &str| {
                            let line = request.head.lines().find_map(|line| line.strip_prefix(name));
                            line.unwrap_or_default().to_owned()
                        };
                        let body = serde_json::from_slice(&request.body).unwrap_or_default();
                        let is_secret = header("x-amz-target: ") == "secretsmanager.GetSecretValue";
                        let key = if is_secret { "secret".to_owned() } else { header("dd-api-key: ") };
                        assert!(is_secret || request.line == PATH, "{}", request.line);
                        let before = this.note(key.clone(), body, is_secret);
                        if is_secret {
                            let value = secrets.get(before).or(secrets.last());
                            match value {
                                Some(value) => {
                                    let body = json!({ "SecretString": value }).to_string();
                                    answer(&mut stream, "200 OK", &body).await;
                                }
                                None => {
                                    let body = r#"{"__type":"AccessDeniedException"}"#;
                                    answer(&mut stream, "400 Bad Request", body).await;
                                }
                            }
                        } else if let Some(head) = reply(&key, before) {
                            answer(&mut stream, head, "{}").await;
                        }
                    }
                });
            }
        });
        server
    }

    /// Keeps a request; how many of its kind came before.
    fn note(&self, key: String, body: Value, is_secret: bool) -> usize {
        let mut seen = lock(&self.seen);
        let before = seen.iter().filter(|(key, _)| (key == "secret") == is_secret).count();
        seen.push((key, body));
        self.changed.notify_waiters();
        before
    }

    /// Who asked, in order: `secret`, or the key of a request.
    fn keys(&self) -> Vec<String> {
        lock(&self.seen).iter().map(|(key, _)| key.clone()).collect()
    }

    /// All values that arrived, those of refused requests too.
    fn values(&self) -> Vec<Value> {
        let seen = lock(&self.seen);
        let bodies = seen.iter().filter(|(key, _)| key != "secret");
        bodies.map(|(_, body)| body["series"][0]["points"][0][1].clone()).collect()
    }
}

fn ok(_: &str, _: usize) -> Option<&'static str> {
    Some("202 Accepted")
}

fn good_only(key: &str, _: usize) -> Option<&'static str> {
    Some(if key == GOOD { "202 Accepted" } else { "403 Forbidden" })
}

fn settings(server: &Server) -> Settings {
    let mut settings = Settings { metrics_url: secrets::Base::parse(&server.url), ..Settings::default() };
    settings.keys.endpoints.all = settings.metrics_url.clone();
    settings.keys.credentials.access_key_id = "AKID".to_owned();
    settings.keys.credentials.secret_access_key = "hush".to_owned();
    settings
}

fn plain(server: &Server) -> Settings {
    let mut settings = settings(server);
    settings.keys.api_key = Some(GOOD.to_owned());
    settings
}

fn secret(server: &Server) -> Settings {
    let mut settings = settings(server);
    settings.keys.secret = Some("dd".to_owned());
    settings
}

fn datadog(settings: Settings) -> Arc<Datadog> {
    Arc::new(Datadog::new(settings, Out::Memory(Mutex::default())))
}

fn lines(datadog: &Datadog) -> String {
    let Out::Memory(lines) = &datadog.out else { unreachable!() };
    std::mem::take(&mut *lock(lines)).join("\n")
}

/// Sends one value, and waits for the end of it.
async fn send(datadog: &Arc<Datadog>, value: f64) {
    metric("orders", value).send_to(datadog);
    tokio::time::timeout(LONG, Api::flush(datadog, LONG)).await.unwrap();
}

#[tokio::test]
async fn an_invocation_sends_its_metrics_when_it_is_over() {
    let server = Server::start(&[], ok).await;
    let mut all = plain(&server);
    all.env = Some("dev".to_owned());
    all.tags = vec![("team".to_owned(), "shop".to_owned())];
    let world = World::with(Manner::Answers, |settings| {
        let function_name = std::mem::take(&mut settings.function_name);
        *settings = Settings { function_name, ..all };
    })
    .await;
    let (datadog, seen) = (world.datadog.clone(), server.clone());
    let handler = service_fn(move |_: LambdaEvent<Value>| {
        let (datadog, seen) = (datadog.clone(), seen.clone());
        async move {
            metric("orders.received", 2.0).tag("channel", "web").send_to(&datadog);
            metric("orders.received", 3.0).tag("channel", "web").send_to(&datadog);
            Ok::<_, Error>(json!({ "requests": seen.keys().len() }))
        }
    });
    let response = world.call("{}", handler).await.unwrap();
    assert_eq!(response, json!({"requests": 0}), "nothing is sent before the response");
    let (key, body) = lock(&server.seen).pop().unwrap();
    assert_eq!(key, GOOD);
    let series = &body["series"][0];
    assert_eq!((&series["metric"], &series["type"]), (&json!("orders.received"), &json!("distribution")));
    let library = concat!("dd_lambda_layer:datadog-rust_", env!("CARGO_PKG_VERSION"));
    let tags = ["channel:web", library, "env:dev", "functionname:orders-api", "team:shop"];
    assert_eq!(series["tags"], json!(tags));
    let values: f64 = series["points"].as_array().unwrap().iter().fold(0.0, |sum, point| {
        sum + point[1].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).sum::<f64>()
    });
    assert!((values - 5.0).abs() < 1e-9, "{body}");
    // What is about the function itself is printed, as it is without the API.
    let names: Vec<_> = world.lines().iter().filter_map(|l| Some(l.get("m")?.clone())).collect();
    assert_eq!(names, [json!("aws.lambda.enhanced.invocations")]);
}

#[tokio::test]
async fn connections_and_keys_are_kept() {
    let server = Server::start(&[GOOD], good_only).await;
    let datadog = datadog(secret(&server));
    for value in [1.0, 2.0, 3.0] {
        send(&datadog, value).await;
    }
    assert_eq!(server.keys(), ["secret", GOOD, GOOD, GOOD]);
    assert_eq!(lines(&datadog), "");
}

#[tokio::test]
async fn a_key_that_was_replaced_is_searched_again() {
    let server = Server::start(&[OLD, GOOD], good_only).await;
    let datadog = datadog(secret(&server));
    send(&datadog, 1.0).await;
    assert_eq!(server.keys(), ["secret", OLD, "secret", GOOD]);
    assert_eq!(server.values(), [json!([1.0]), json!([1.0])]);
    assert_eq!(lines(&datadog), "");
}

#[tokio::test]
async fn a_key_that_stays_bad_is_told_and_the_metrics_are_printed() {
    let server = Server::start(&[OLD], good_only).await;
    let datadog = datadog(secret(&server));
    for value in [1.0, 2.0] {
        send(&datadog, value).await;
    }
    assert_eq!(server.keys(), ["secret", OLD, "secret", OLD]);
    let lines = lines(&datadog);
    assert_eq!(lines.matches("answers 403").count(), 1, "{lines}");
    assert!(lines.contains("DD_API_KEY_SECRET_ARN"), "{lines}");
    assert_eq!(lines.matches(r#"{"m":"orders","v":"#).count(), 2, "{lines}");
    assert!(!lines.contains(OLD), "{lines}");
}

#[tokio::test]
async fn without_a_key_the_metrics_are_printed() {
    let server = Server::start(&[], ok).await;
    let datadog = datadog(secret(&server));
    for value in [1.0, 2.0] {
        send(&datadog, value).await;
    }
    assert_eq!(server.keys(), ["secret"]);
    let lines = lines(&datadog);
    assert_eq!(lines.matches("AccessDeniedException").count(), 1, "{lines}");
    assert_eq!(lines.matches(r#"{"m":"orders","v":"#).count(), 2, "{lines}");
}

#[tokio::test]
async fn what_fails_is_tried_once_more() {
    for first in ["503 Service Unavailable", "429 Too Many Requests"] {
        let reply = move |_: &str, before| Some(if before == 0 { first } else { "202 Accepted" });
        let server = Server::start(&[], reply).await;
        let datadog = datadog(plain(&server));
        send(&datadog, 1.0).await;
        assert_eq!(server.values(), [json!([1.0]), json!([1.0])]);
        assert_eq!(lines(&datadog), "");
    }
}

#[tokio::test]
async fn a_server_that_fails_is_left_alone_and_nothing_is_lost() {
    let server = Server::start(&[], |_: &str, _| Some("500 Internal Server Error")).await;
    let datadog = datadog(plain(&server));
    for value in [1.0, 2.0, 3.0] {
        send(&datadog, value).await;
    }
    assert_eq!(server.values(), [json!([1.0]), json!([1.0])]);
    let lines = lines(&datadog);
    assert!(lines.contains("could not be sent") && lines.contains("it answers 500"), "{lines}");
    let waiting = datadog.api.as_ref().unwrap().take_all();
    let values: Vec<_> = waiting.iter().flat_map(|metric| metric.values.clone()).collect();
    assert_eq!(values, [1.0, 2.0, 3.0]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_left_alone() {
    let server = Server::start(&[], ok).await;
    let mut settings = plain(&server);
    // A port that nobody can listen on.
    settings.metrics_url = secrets::Base::parse("http://127.0.0.1:1");
    let datadog = datadog(settings);
    for value in [1.0, 2.0] {
        send(&datadog, value).await;
    }
    let lines = lines(&datadog);
    assert_eq!(lines.matches("cannot connect").count(), 1, "{lines}");
}

/// The second invocation does not wait for what the first has left on its way.
#[tokio::test]
async fn a_server_that_hangs_costs_one_budget() {
    let server = Server::start(&[], |_: &str, _| None).await;
    let datadog = datadog(plain(&server));
    metric("orders", 1.0).send_to(&datadog);
    Api::flush(&datadog, Duration::from_millis(10)).await;
    metric("orders", 2.0).send_to(&datadog);
    tokio::select! {
        biased;
        () = Api::flush(&datadog, LONG) => {}
        () = std::future::ready(()) => panic!("it waits"),
    }
    // What was on its way goes on without us.
    loop {
        let changed = server.changed.notified();
        if !server.keys().is_empty() {
            break;
        }
        tokio::time::timeout(LONG, changed).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_refused_is_dropped_and_counted() {
    let server = Server::start(&[], |_: &str, _| Some("400 Bad Request")).await;
    let datadog = datadog(plain(&server));
    metric("orders", 1.0).send_to(&datadog);
    send(&datadog, 2.0).await;
    let lines = lines(&datadog);
    assert!(lines.contains("answers 400 to metrics, which are lost"), "{lines}");
    assert!(lines.contains("2 values of metrics were dropped"), "{lines}");
    assert!(datadog.api.as_ref().unwrap().take_all().is_empty());
}

#[tokio::test]
async fn after_a_restore_the_key_is_searched_again() {
    let server = Server::start(&[OLD, GOOD], ok).await;
    let datadog = datadog(Settings { initialization_type: "snap-start".to_owned(), ..secret(&server) });
    metric("orders", 1.0).send_to(&datadog);
    assert_eq!(server.keys(), [""; 0], "no key is part of a snapshot");
    send(&datadog, 1.0).await;
    datadog.restored(crate::ids::now());
    send(&datadog, 2.0).await;
    assert_eq!(server.keys(), ["secret", OLD, "secret", GOOD]);
}

#[tokio::test]
async fn an_invocation_that_runs_out_of_time_prints_what_waits() {
    let server = Server::start(&[], ok).await;
    let datadog = datadog(plain(&server));
    metric("orders", 1.0).send_to(&datadog);
    datadog.send_now(&[], Duration::from_millis(1));
    assert!(lines(&datadog).starts_with(r#"{"m":"orders","v":1.0,"#));
    assert_eq!(server.keys(), [""; 0]);
}
