//! TLS towards sites: opportunistic without checking, or required with a certificate that is checked.
//!
//! Opportunistic TLS (RFC 7435) accepts any certificate: the alternative is plain text, and old exchangers have
//! certificates that no library likes. Where a profile requires TLS, the certificate must lead to a known root and
//! name the exchanger. The lab has no public roots; there encryption is required and nobody is checked.

use crate::config::Config;
use crate::error::Fault;
use mail::classify::TlsMode;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::sync::Arc;
use tokio_rustls::TlsConnector;

pub(crate) struct Tls {
    unchecked: TlsConnector,
    checked: TlsConnector,
}

impl Tls {
    pub fn new(config: &Config) -> Result<Tls, Fault> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = || {
            ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .map_err(Fault::Tls)
        };
        let anyone = Arc::new(Anyone { provider: Arc::clone(&provider) });
        let unchecked = builder()?.dangerous().with_custom_certificate_verifier(anyone).with_no_client_auth();
        let unchecked = TlsConnector::from(Arc::new(unchecked));
        let checked = match config.lab_loopback_only {
            true => unchecked.clone(),
            false => TlsConnector::from(Arc::new(
                builder()?.with_root_certificates(roots(config)?).with_no_client_auth(),
            )),
        };
        Ok(Tls { unchecked, checked })
    }

    pub fn connector(&self, mode: TlsMode) -> &TlsConnector {
        match mode {
            TlsMode::Opportunistic | TlsMode::RequiredUnverified => &self.unchecked,
            TlsMode::Required => &self.checked,
        }
    }
}

/// Without any root nobody is trusted: required TLS then fails, and the mail waits.
fn roots(config: &Config) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    let path = &config.tls_roots;
    match CertificateDer::pem_file_iter(path) {
        Ok(certificates) => {
            roots.add_parsable_certificates(certificates.filter_map(Result::ok));
        }
        Err(rustls::pki_types::pem::Error::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), "no root certificates: sites that require verified TLS get no mail");
        }
        Err(source) => return Err(Fault::Roots { path: path.clone(), source }),
    }
    Ok(roots)
}

/// The name for SNI and for the certificate.
pub(crate) fn server_name(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).ok()
}

/// Accepts every certificate and every signature.
#[derive(Debug)]
struct Anyone {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
