//! TLS to the intake: how many connections it takes, and whom it trusts.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ALL_VERSIONS, ServerConfig, SupportedProtocolVersion, version};

use crate::agent::Agent;
use crate::cloud::Cloud;
use crate::fake_lambda::FakeLambda;
use crate::faults::invocation;
use crate::watched::Intake;
use crate::{arrives, to};

/// Takes TLS off, and counts connections.
pub(crate) struct Terminator {
    pub(crate) url: String,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// A certificate for 127.0.0.1, 0.0.0.0 and what is below `datadog.test`, and its authority, of which nobody has the key
/// any more.
pub(crate) fn file(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/process/tls").join(name).to_str().unwrap().to_owned()
}

impl Terminator {
    /// In front of a server, given by its address.
    pub(crate) async fn start(behind: &str) -> Self {
        Self::speaking(behind, ALL_VERSIONS, &[]).await
    }

    /// Offers these protocols.
    pub(crate) async fn offering(behind: &str, protocols: &[&str]) -> Self {
        Self::speaking(behind, ALL_VERSIONS, protocols).await
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    async fn speaking(
        behind: &str,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> Self {
        let certificate = CertificateDer::from_pem_file(file("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let (behind, counter) = (behind.replace("http://", ""), connections.clone());
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
    let terminator = Terminator::start(&intake.url()).await;
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
    assert_eq!(terminator.connections(), 1, "{}", agent.printed());
}

#[tokio::test]
async fn an_unknown_authority_is_not_trusted() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let terminator = Terminator::start(&intake.url()).await;
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

/// A server that is too old gets nothing, and the other way round all is there.
#[tokio::test]
async fn the_lowest_version_of_tls_is_kept_to() {
    for (lowest, reaches) in [("tlsv1.3", false), ("tlsv1.2", true)] {
        let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
        let terminator = Terminator::speaking(&intake.url(), &[&version::TLS12], &[]).await;
        let authority = file("authority.pem");
        let mut variables = to(&terminator.url).to_vec();
        variables.extend([("DD_TLS_CERT_FILE", &*authority), ("DD_MIN_TLS_VERSION", lowest)]);
        let mut agent = Agent::start(&lambda, &variables);
        lambda.asked(1).await;
        invocation(&lambda, &agent, 1, 1).await;
        lambda.shutdown(Duration::from_secs(2));
        assert!(agent.ended().await.success());
        let printed = agent.printed();
        assert_eq!(intake.store().snapshot().counts.spans > 0, reaches, "{lowest}: {printed}");
        assert_eq!(printed.contains("cannot connect"), !reaches, "{lowest}: {printed}");
    }
}

/// Whoever gives the key is known, whatever is set.
#[tokio::test]
async fn skipping_the_check_of_certificates_is_for_intakes_only() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let cloud = Cloud::start(&["ffffffffffffffffffffffffffffffff"], "").await;
    let (terminator, aws) = (Terminator::start(&intake.url()).await, Terminator::start(&cloud.url).await);
    let mut variables = to(&terminator.url).to_vec();
    variables.extend([
        ("DD_SKIP_SSL_VALIDATION", "true"),
        ("DD_API_KEY_SECRET_ARN", "dd"),
        ("AWS_ENDPOINT_URL", &aws.url),
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", "hush"),
    ]);
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    invocation(&lambda, &agent, 1, 1).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    arrives(&intake, "a span", |s| s.counts().spans > 0).await;
    let printed = agent.printed();
    assert_eq!(cloud.seen(), [], "{printed}");
    assert!(printed.contains("DD_API_KEY_SECRET_ARN") && printed.contains("UnknownIssuer"), "{printed}");
    assert_eq!(printed.matches("DD_SKIP_SSL_VALIDATION is on").count(), 1, "{printed}");
}
