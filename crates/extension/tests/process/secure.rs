//! TLS to the intake, and how many connections it takes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use intake::Intake;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::agent::Agent;
use crate::fake_lambda::FakeLambda;
use crate::faults::invocation;
use crate::{arrives, to};

/// Takes TLS off, and counts connections.
struct Terminator {
    url: String,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// A certificate for 127.0.0.1 and its authority, of which nobody has the key any more.
fn file(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/process/tls").join(name).to_str().unwrap().to_owned()
}

impl Terminator {
    async fn start(intake: &Intake) -> Self {
        let certificate = CertificateDer::from_pem_file(file("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let (behind, counter) = (intake.url().replace("http://", ""), connections.clone());
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let (acceptor, behind) = (acceptor.clone(), behind.clone());
                tokio::spawn(async move {
                    let Ok(mut front) = acceptor.accept(tcp).await else { return };
                    let mut back = TcpStream::connect(behind).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut front, &mut back).await;
                });
            }
        });
        Self { url, connections, task }
    }
}

impl Drop for Terminator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn all_signals_of_all_invocations_share_one_tls_connection() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let terminator = Terminator::start(&intake).await;
    let authority = file("authority.pem");
    let mut variables = to(&terminator.url).to_vec();
    variables.push(("DD_TLS_CERT_FILE", &authority));
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    for number in 1..4 {
        agent.metric("orders:1|c");
        invocation(&lambda, &agent, number, number as u64).await;
    }
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    arrives(&intake, "three spans", |s| s.counts().spans == 3).await;
    assert!(!intake.store().snapshot().metrics.is_empty());
    assert_eq!(terminator.connections.load(Ordering::SeqCst), 1, "{}", agent.printed());
}

#[tokio::test]
async fn an_unknown_authority_is_not_trusted() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let terminator = Terminator::start(&intake).await;
    let mut variables = to(&terminator.url).to_vec();
    variables.push(("DD_TLS_CERT_FILE", "/does/not/exist.pem"));
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    invocation(&lambda, &agent, 1, 1).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    assert_eq!(intake.store().snapshot().counts.requests, 0);
    let printed = agent.printed();
    assert!(printed.contains("DD_TLS_CERT_FILE: /does/not/exist.pem cannot be used"), "{printed}");
    assert!(printed.contains("UnknownIssuer"), "{printed}");
}
