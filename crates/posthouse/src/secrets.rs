//! The installation's own secret: one random master key in one file, everything else derived from it.
//!
//! The file lies outside the database on purpose: a stolen dump of the database holds no usable DKIM key, no usable
//! credential hash and no way to forge a return path or a session. Keys are derived by HKDF-SHA-256 (RFC 5869) with
//! a label each, so that no two uses share bytes. Losing the file means: every DKIM key must be rotated and every
//! credential made anew; back it up apart from the database.

use crate::config::Config;
use anyhow::{Context, bail};
use aws_lc_rs::hkdf;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail::Random;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

const KEY_LEN: usize = 32;
const FILE_HEADER: &str = "posthouse-master-key-1";

#[derive(Clone)]
pub struct Secrets {
    master: [u8; KEY_LEN],
}

impl Secrets {
    /// Reads the key file, or makes one (mode 0600) if there is none.
    pub fn load_or_create(path: &Path, random: &mut Random) -> anyhow::Result<Secrets> {
        match std::fs::read_to_string(path) {
            Ok(text) => Secrets::parse(path, &text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Secrets::create(path, random),
            Err(error) => {
                Err(error).with_context(|| format!("cannot read the master key {}", path.display()))
            }
        }
    }

    fn parse(path: &Path, text: &str) -> anyhow::Result<Secrets> {
        let mode = std::fs::metadata(path)?.permissions().mode();
        if mode & 0o077 != 0 {
            bail!("the master key {0} can be read by others; run: chmod 600 {0}", path.display());
        }
        let key = text.trim().strip_prefix(FILE_HEADER).map(str::trim);
        let bytes = key.and_then(|key| STANDARD.decode(key).ok()).and_then(|bytes| bytes.try_into().ok());
        match bytes {
            Some(master) => Ok(Secrets { master }),
            None => bail!("{} is not a posthouse master key; restore it from your backup", path.display()),
        }
    }

    fn create(path: &Path, random: &mut Random) -> anyhow::Result<Secrets> {
        let master = random.bytes();
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(path);
        let mut file = file.with_context(|| format!("cannot create the master key {}", path.display()))?;
        writeln!(file, "{FILE_HEADER} {}", STANDARD.encode(master))?;
        file.sync_all()?;
        if let Some(directory) = path.parent() {
            std::fs::File::open(directory)?.sync_all()?;
        }
        Ok(Secrets { master })
    }

    /// 32 octets for one use; the label names the use.
    pub fn derive(&self, label: &str) -> [u8; KEY_LEN] {
        struct Len;
        impl hkdf::KeyType for Len {
            fn len(&self) -> usize {
                KEY_LEN
            }
        }
        let mut key = [0; KEY_LEN];
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"posthouse");
        let filled =
            salt.extract(&self.master).expand(&[label.as_bytes()], Len).and_then(|okm| okm.fill(&mut key));
        // Only a length over 255 × 32 octets can fail (RFC 5869 §2.3).
        assert!(filled.is_ok(), "HKDF gives 32 octets");
        key
    }
}

/// The key that signs operators' sessions: one file per installation, made at the first start.
pub fn session_keys(config: &Config) -> anyhow::Result<api::TokenKeys> {
    let path = config.node.data.join("keys/session.key");
    if !path.exists() {
        let key = api::TokenKeys::generate().context("cannot make the session key")?;
        crate::authority::write(&path, &key, 0o600)?;
    }
    let key = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    api::TokenKeys::from_pkcs8(&key).with_context(|| {
        format!("{} is damaged; remove it to make a new one (everybody logs in again)", path.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_kept_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("master.key");
        let made = Secrets::load_or_create(&path, &mut Random::from_number(1)).unwrap();
        let read = Secrets::load_or_create(&path, &mut Random::from_number(2)).unwrap();
        assert_eq!(made.derive("a"), read.derive("a"));
        assert_ne!(made.derive("a"), made.derive("b"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_damaged_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("master.key");
        Secrets::load_or_create(&path, &mut Random::from_number(1)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = Secrets::load_or_create(&path, &mut Random::from_number(1)).err().unwrap().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "posthouse-master-key-1 AAAA").unwrap();
        let error = Secrets::load_or_create(&path, &mut Random::from_number(1)).err().unwrap().to_string();
        assert!(error.contains("not a posthouse master key"), "{error}");
    }
}
