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
use rustls::pki_types::pem::{self, PemObject};
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

/// Without any root nobody is trusted: required TLS then fails, and the mail waits. So a file that is not there is told,
/// and one that is there and good for nothing is refused.
fn roots(config: &Config) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    let path = &config.tls_roots;
    match CertificateDer::pem_file_iter(path) {
        Ok(certificates) => {
            let (mut good, mut bad) = (Vec::new(), Vec::new());
            certificates.for_each(|certificate| match certificate {
                Ok(certificate) => good.push(certificate),
                Err(error) => bad.push(error),
            });
            let (added, ignored) = roots.add_parsable_certificates(good);
            let unusable = ignored + bad.len();
            if added == 0 {
                let source = bad.into_iter().next().unwrap_or(pem::Error::NoItemsFound);
                return Err(Fault::Roots { path: path.clone(), source });
            }
            if unusable > 0 {
                tracing::warn!(path = %path.display(), added, unusable, "some root certificates cannot be used");
            }
        }
        Err(pem::Error::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What is made of a file with this text.
    fn read(text: &str) -> Result<usize, Fault> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let config = Config { tls_roots: file.path().to_owned(), ..Config::default() };
        roots(&config).map(|roots| roots.len())
    }

    #[test]
    fn a_file_of_roots_that_is_good_for_nothing_is_refused_and_a_bad_one_among_good_is_not() {
        let good = rcgen::generate_simple_self_signed(["root.example".to_owned()]).unwrap().cert.pem();
        let garbled = "-----BEGIN CERTIFICATE-----\nMIIB!!!\n-----END CERTIFICATE-----\n";
        let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for text in ["", "no PEM at all", garbled, no_certificate] {
            let refused = read(text);
            assert!(matches!(refused, Err(Fault::Roots { .. })), "{text}: {refused:?}");
        }
        assert_eq!(read(&good).unwrap(), 1);
        for text in [garbled, no_certificate] {
            assert_eq!(read(&format!("{text}{good}")).unwrap(), 1, "{text}");
        }
        let absent = Config { tls_roots: "/nonexistent/roots.pem".into(), ..Config::default() };
        assert_eq!(roots(&absent).unwrap().len(), 0);
    }
}
