//! TLS for the doors: rustls on aws-lc-rs, TLS 1.2 and newer, and a certificate that may be replaced while we run.
//!
//! The two files are read again every few seconds and compared by content, because certificate robots replace files
//! in every possible way (rename, symbolic link, rewrite) and not all of them change the time of modification. A pair
//! that does not fit, as it is for a moment when the robot has written one file only, is logged once and the old one
//! stays in use. Sessions that are open keep what they have.

use crate::config::TlsConfig;
use crate::error::Fault;
use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// The certificate in use.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    check_every: Duration,
    current: ArcSwap<Current>,
}

struct Current {
    server: Arc<ServerConfig>,
    /// Of both files: what this was made from.
    fingerprint: [u8; 32],
}

/// Both files as they are on the disk now.
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// Both files are PEM: the chain with our own certificate first, and its key (PKCS#8, PKCS#1 or SEC1).
    ///
    /// # Errors
    /// `TlsFile` if one cannot be read, `TlsPem` if it holds no certificate or no key, `TlsPair` if the two
    /// do not fit or the key is of a kind that cannot be used.
    pub async fn load(certificate: &Path, key: &Path, config: &TlsConfig) -> Result<Arc<Tls>, Fault> {
        let files = Files::read(certificate, key).await?;
        let current = Current { server: files.server(certificate, key)?, fingerprint: files.fingerprint() };
        Ok(Arc::new(Tls {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            check_every: Duration::from_secs(config.reload_check_s.max(1)),
            current: ArcSwap::from_pointee(current),
        }))
    }

    /// What the next handshake uses.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.load().server))
    }

    /// Takes the files into use if they changed; whether they did.
    ///
    /// # Errors
    /// As [`Tls::load`] does; then the old ones stay in use.
    pub async fn reload(&self) -> Result<bool, Fault> {
        let files = Files::read(&self.certificate, &self.key).await?;
        let fingerprint = files.fingerprint();
        if fingerprint == self.current.load().fingerprint {
            return Ok(false);
        }
        let server = files.server(&self.certificate, &self.key)?;
        self.current.store(Arc::new(Current { server, fingerprint }));
        Ok(true)
    }

    /// Looks at the files until `shutdown`.
    pub(crate) async fn watch(self: Arc<Tls>, shutdown: CancellationToken) {
        let mut failing = false;
        while shutdown.run_until_cancelled(tokio::time::sleep(self.check_every)).await.is_some() {
            match self.reload().await {
                Ok(true) => tracing::info!("the TLS certificate was replaced; new connections use it"),
                Ok(false) => {}
                Err(fault) if !failing => {
                    tracing::error!(
                        error = &fault as &dyn std::error::Error,
                        "the new TLS certificate cannot be used, the old one stays"
                    );
                    failing = true;
                    continue;
                }
                Err(_) => continue,
            }
            failing = false;
        }
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Files {
    async fn read(certificate: &Path, key: &Path) -> Result<Files, Fault> {
        Ok(Files { certificate: read(certificate).await?, key: read(key).await? })
    }

    fn fingerprint(&self) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        // The length in front, so that octets cannot move from one file to the other unseen.
        context.update(&(self.certificate.len() as u64).to_be_bytes());
        context.update(&self.certificate);
        context.update(&self.key);
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(context.finish().as_ref());
        fingerprint
    }

    fn server(&self, certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, Fault> {
        let pem = |path: &Path| {
            let path = path.to_path_buf();
            move |source| Fault::TlsPem { path, source }
        };
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(pem(certificate))?;
        if chain.is_empty() {
            return Err(pem(certificate)(rustls::pki_types::pem::Error::NoItemsFound));
        }
        let private = PrivateKeyDer::from_pem_slice(&self.key).map_err(pem(key))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
            .map_err(|source| Fault::TlsPair { source })?;
        // Tickets instead of a table of sessions: many senders connect anew for every message.
        if let Ok(ticketer) = rustls::crypto::aws_lc_rs::Ticketer::new() {
            server.ticketer = ticketer;
        }
        Ok(Arc::new(server))
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    tokio::fs::read(path).await.map_err(|source| Fault::TlsFile { path: path.to_path_buf(), source })
}
