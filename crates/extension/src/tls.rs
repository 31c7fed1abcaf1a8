//! TLS to the intakes. Made at the first connection that needs it: being ready does not wait for it.

use std::cell::OnceCell;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore};

use crate::log;

/// One TLS configuration for all connections, so that sessions are resumed.
#[derive(Default)]
pub(crate) struct Tls {
    /// A PEM file of authorities to trust beside the usual ones.
    authorities: Option<PathBuf>,
    connector: OnceCell<TlsConnector>,
}

impl Tls {
    pub(crate) fn new(authorities: Option<PathBuf>) -> Self {
        Self { authorities, connector: OnceCell::new() }
    }

    pub(crate) async fn connect(&self, host: &str, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let connector = match self.connector.get() {
            Some(connector) => connector,
            None => {
                let made = self.connector().map_err(io::Error::other)?;
                self.connector.get_or_init(|| made)
            }
        };
        connector.connect(name, tcp).await
    }

    fn connector(&self) -> Result<TlsConnector, Error> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        self.add_authorities(&mut roots);
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }

    /// Adds what the file has; one that cannot be read is told and left out.
    fn add_authorities(&self, roots: &mut RootCertStore) {
        let Some(path) = &self.authorities else { return };
        let certificates =
            CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let added = match certificates {
            Ok(all) => Ok(roots.add_parsable_certificates(all).0),
            Err(error) => Err(error.to_string()),
        };
        if !matches!(added, Ok(1..)) {
            let why = added.err().unwrap_or_else(|| "it has no certificate".to_owned());
            log::warn(format_args!(
                "DD_TLS_CERT_FILE: {} cannot be used: {why}; the usual authorities are used",
                path.display()
            ));
        }
    }
}
