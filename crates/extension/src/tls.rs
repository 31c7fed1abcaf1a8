//! TLS to the intakes. Made at the first connection that needs it: being ready does not wait for it.

use std::cell::OnceCell;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, SupportedProtocolVersion,
    version,
};

use crate::egress::Stream;
use crate::log;

/// What is agreed on with TLS.
const HTTP_1: &[u8] = b"http/1.1";
const HTTP_2: &[u8] = b"h2";

/// The lowest version of TLS that is spoken. There is none below 1.2 here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinTls {
    #[default]
    V12,
    V13,
}

/// One TLS configuration for all connections, so that sessions are resumed.
#[derive(Default)]
pub(crate) struct Tls {
    /// A PEM file of authorities to trust beside the usual ones.
    authorities: Option<PathBuf>,
    min: MinTls,
    /// Nobody's certificate is checked.
    is_unchecked: bool,
    connector: OnceCell<TlsConnector>,
}

impl Tls {
    pub(crate) fn new(authorities: Option<PathBuf>, min: MinTls, is_unchecked: bool) -> Self {
        Self { authorities, min, is_unchecked, connector: OnceCell::new() }
    }

    /// With HTTP/1.1 alone, or HTTP/2 if the server takes it; gives whether it does.
    pub(crate) async fn connect(
        &self,
        host: &str,
        stream: Box<dyn Stream>,
        offers_http2: bool,
    ) -> io::Result<(Box<dyn Stream>, bool)> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let connector = match self.connector.get() {
            Some(connector) => connector,
            None => {
                let made = self.connector().map_err(io::Error::other)?;
                self.connector.get_or_init(|| made)
            }
        };
        let stream = if offers_http2 {
            connector.with_alpn(vec![HTTP_2.to_vec(), HTTP_1.to_vec()]).connect(name, stream).await?
        } else {
            connector.connect(name, stream).await?
        };
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP_2);
        Ok((Box::new(stream), is_http2))
    }

    fn connector(&self) -> Result<TlsConnector, Error> {
        const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
        const NEW: &[&SupportedProtocolVersion] = &[&version::TLS13];
        let versions = match self.min {
            MinTls::V12 => BOTH,
            MinTls::V13 => NEW,
        };
        let provider = Arc::new(ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
        let mut config = if self.is_unchecked {
            log::warn(format_args!(
                "DD_SKIP_SSL_VALIDATION is on: whoever is on the way can read and change what is sent, and has the key"
            ));
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer::new(&provider)))
        } else {
            let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
            self.add_authorities(&mut roots);
            builder.with_root_certificates(roots)
        }
        .with_no_client_auth();
        config.alpn_protocols = vec![HTTP_1.to_vec()];
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

/// Takes every certificate, of which the server still has to have the key.
#[derive(Debug)]
struct AnyServer(WebPkiSupportedAlgorithms);

impl AnyServer {
    fn new(provider: &CryptoProvider) -> Self {
        Self(provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
