//! HTTP/2 to an intake of another make than the libraries here.

mod node {
    use std::path::Path;
    use std::process::Stdio;
    use std::time::Duration;

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use model::{Batch, Signal};
    use serde_json::Value;
    use tokio::io::{AsyncBufReadExt, BufReader, Lines};
    use tokio::process::{Child, ChildStdout, Command};
    use tokio::time::timeout;

    use crate::agent::Agent;
    use crate::fake_lambda::{FakeLambda, PATIENCE};
    use crate::functions::folder;
    use crate::records::{delivery, runtime_done, start, traces};

    const INVOCATIONS: u64 = 10;

    struct Server {
        process: Child,
        lines: Lines<BufReader<ChildStdout>>,
    }

    impl Server {
        fn start(keys: &Path) -> Self {
            let mut process = Command::new("node")
                .arg(folder("node").join("http2.js"))
                .arg(keys)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            let lines = BufReader::new(process.stdout.take().unwrap()).lines();
            Self { process, lines }
        }

        async fn line(&mut self) -> Option<Value> {
            let line = timeout(PATIENCE, self.lines.next_line()).await.expect("it says nothing").unwrap();
            line.map(|line| serde_json::from_str(&line).unwrap())
        }

        /// All that it said, and the end.
        async fn ended(mut self) -> Vec<Value> {
            self.process.start_kill().unwrap();
            let mut said = Vec::new();
            while let Some(line) = self.line().await {
                said.push(line);
            }
            said
        }
    }

    /// It takes two requests at once, 1 kB at a time, and leaves every connection after five.
    #[tokio::test]
    #[ignore = "needs Node: cargo xtask test --only real"]
    async fn everything_arrives_once_at_an_intake_of_nghttp2() {
        let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/process/tls");
        let (lambda, mut server) = (FakeLambda::start().await, Server::start(&keys));
        let authority = format!("127.0.0.1:{}", server.line().await.expect("a port")["port"]);
        let (url, trusted) = (format!("https://{authority}"), keys.join("authority.pem"));
        let mut variables =
            ["DD_DD_URL", "DD_APM_DD_URL", "DD_LOGS_CONFIG_LOGS_DD_URL"].map(|name| (name, &*url)).to_vec();
        variables.extend([
            ("DD_TLS_CERT_FILE", trusted.to_str().unwrap()),
            ("DD_HTTP_PROTOCOL", "auto"),
            ("DD_SERVERLESS_FLUSH_STRATEGY", "end"),
            ("DD_FLUSH_TIMEOUT", "20"),
            ("DD_LAMBDA_CONNECT_TIMEOUT", "20"),
        ]);
        let mut agent = Agent::start(&lambda, &variables);
        lambda.asked(1).await;
        for number in 1..=INVOCATIONS {
            let id = format!("r-{number}");
            lambda.invoke(&id, 10 * PATIENCE);
            agent.telemetry(&delivery(&[start(&id)])).await;
            assert_eq!(agent.put_traces(&traces(number)).await.status, 200);
            agent.telemetry(&delivery(&[runtime_done(&id)])).await;
            lambda.asked(usize::try_from(number).unwrap() + 1).await;
        }
        lambda.shutdown(Duration::from_secs(20));
        assert!(agent.ended().await.success());
        assert_eq!(agent.printed(), "");
        let said = server.ended().await;
        let (requests, connections): (Vec<_>, Vec<_>) =
            said.iter().partition(|line| line["headers"].is_object());
        assert!(connections.len() > 1 && requests.len() > 5, "{} {}", connections.len(), requests.len());
        let mut spans = Vec::new();
        for request in requests {
            let headers = &request["headers"];
            let body = STANDARD.decode(request["body"].as_str().unwrap()).unwrap();
            assert_eq!(headers[":authority"], *authority, "{headers}");
            assert_eq!(
                (&headers[":scheme"], &headers[":method"]),
                (&"https".into(), &"POST".into()),
                "{headers}"
            );
            assert_eq!(headers["content-length"], body.len().to_string(), "{headers}");
            for none in ["host", "connection", "transfer-encoding"] {
                assert!(headers[none].is_null(), "{headers}");
            }
            if headers[":path"] != "/api/v0.2/traces" {
                continue;
            }
            let plain = payload::decompress(&body, "zstd", 1 << 22).unwrap();
            let Batch::Traces(payloads) = payload::decode(Signal::Traces, &plain).unwrap() else { panic!() };
            let all = payloads.iter().flat_map(|payload| &payload.chunks).flat_map(|chunk| &chunk.spans);
            spans.extend(all.filter(|span| span.name == "work").map(|span| span.span_id.get()));
        }
        spans.sort_unstable();
        assert_eq!(spans, (1..=INVOCATIONS).collect::<Vec<_>>());
    }
}
