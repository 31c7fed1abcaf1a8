//! The real process, and the clients that talk to it.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::fake_lambda::{FakeLambda, PATIENCE};
use crate::ports::Ports;

/// How long an answer is waited for: of a large body that takes longer than anything else, where many tests share a
/// processor.
const ANSWER: Duration = PATIENCE.saturating_mul(3);

pub(crate) struct Agent {
    pub(crate) child: Child,
    output: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
    pub(crate) ports: Ports,
}

impl Agent {
    /// Starts the process with free ports; `variables` come on top.
    pub(crate) fn start(lambda: &FakeLambda, variables: &[(&str, &str)]) -> Self {
        Self::start_on(lambda, Ports::free(), variables)
    }

    pub(crate) fn start_on(lambda: &FakeLambda, ports: Ports, variables: &[(&str, &str)]) -> Self {
        let mut all: BTreeMap<&str, String> = BTreeMap::from([
            ("AWS_LAMBDA_RUNTIME_API", lambda.address.clone()),
            ("AWS_LAMBDA_FUNCTION_NAME", "orders".to_owned()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".to_owned()),
            ("AWS_REGION", "eu-west-1".to_owned()),
            ("DD_API_KEY", "0123456789abcdef0123456789abcdef".to_owned()),
        ]);
        all.extend(ports.variables());
        all.extend(variables.iter().map(|(name, value)| (*name, (*value).to_owned())));
        // Another binary than that of this build, such as the layer's.
        let other = std::env::var_os("AGENT_BINARY");
        let mut child = Command::new(other.unwrap_or_else(|| env!("CARGO_BIN_EXE_datadog-agent").into()))
            .env_clear()
            .envs(all)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let output = Arc::new(Mutex::new(Vec::new()));
        let stdout = collect(child.stdout.take().unwrap(), "", output.clone());
        let stderr = collect(child.stderr.take().unwrap(), "stderr: ", output.clone());
        Self { child, output, readers: vec![tokio::spawn(stdout), tokio::spawn(stderr)], ports }
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let status = timeout(PATIENCE, self.child.wait()).await.expect("the process does not end").unwrap();
        for reader in self.readers.drain(..) {
            reader.await.unwrap();
        }
        status
    }

    /// All that it printed so far.
    pub(crate) fn printed(&self) -> String {
        self.output.lock().unwrap().join("\n")
    }

    pub(crate) async fn put_traces(&self, body: &[u8]) -> Answer {
        let headers = [("datadog-meta-lang", "rust"), ("datadog-meta-tracer-version", "1.0")];
        http(self.ports.traces, "PUT", "/v0.4/traces", &headers, body).await
    }

    /// What Lambda would deliver.
    pub(crate) async fn telemetry(&self, records: &str) {
        let answer = http(self.ports.telemetry, "POST", "/", &[], records.as_bytes()).await;
        assert_eq!(answer.status, 200);
    }

    pub(crate) fn metric(&self, line: &str) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(line.as_bytes(), ("127.0.0.1", self.ports.dogstatsd)).unwrap();
    }
}

async fn collect(from: impl AsyncRead + Unpin, prefix: &str, to: Arc<Mutex<Vec<String>>>) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        to.lock().unwrap().push(format!("{prefix}{line}"));
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim())
    }
}

/// One request on a connection of its own.
pub(crate) async fn http(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let mut bytes = request.into_bytes();
    bytes.extend_from_slice(body);
    let answer = raw(port, &bytes).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// Sends bytes, gives what comes back until the other side closes.
pub(crate) async fn raw(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    let exchange = async {
        let mut tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (mut reader, mut writer) = tcp.split();
        // The other side may close before it has read all of it.
        let _ = tokio::join!(writer.write_all(bytes), reader.read_to_end(&mut answer));
    };
    timeout(ANSWER, exchange).await.expect("no answer");
    answer
}
