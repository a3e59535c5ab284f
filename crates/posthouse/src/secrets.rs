//! The installation's own secrets: random master keys in one file, everything else derived from them.
//!
//! The file lies outside the database on purpose: a stolen dump of the database holds no usable DKIM key, no usable
//! credential hash and no way to forge a return path or a session. Keys are derived by HKDF-SHA-256 (RFC 5869) with
//! a label each, so that no two uses share bytes. Losing the file means: every DKIM key must be rotated and every
//! credential made anew; back it up apart from the database. A master key is exchanged with an overlap
//! (docs/design/0014): of a retired one stays what reads hashes and return paths made under it, and nothing that opens a
//! sealed secret.

use crate::config::Config;
use crate::key_file::{Key, KeyFile, KeyKind, Material};
use anyhow::{Context, bail};
use aws_lc_rs::hkdf;
use database::{Keys, MasterKey};
use mail::token::TokenKey;
use mail::{Random, Timestamp};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const KEY_LEN: usize = 32;

/// Where the key that signs people's sessions is.
pub fn session_path(config: &Config) -> PathBuf {
    config.node.data.join("keys/session.key")
}

/// What is derived of the master keys, oldest first.
#[derive(Clone)]
pub struct Secrets {
    path: PathBuf,
    origin: Origin,
    masters: Vec<Derived>,
}

/// Where the file of the keys comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    WasThere,
    MadeNow,
}

#[derive(Clone)]
struct Derived {
    version: u32,
    from: Timestamp,
    /// None of a retired one.
    database: Option<Zeroizing<[u8; KEY_LEN]>>,
    left: Left,
}

/// What must outlive a master key: hashes cannot be made anew, and returned mail comes late.
#[derive(Clone)]
struct Left {
    hashes: Zeroizing<[u8; KEY_LEN]>,
    return_paths: Zeroizing<[u8; KEY_LEN]>,
}

impl Secrets {
    /// Reads the key file, or makes one (mode 0600) if there is none.
    pub fn load_or_create(path: &Path, random: &mut Random) -> anyhow::Result<Secrets> {
        match Secrets::load(path)? {
            Some(secrets) => Ok(secrets),
            None => Secrets::create(path, random),
        }
    }

    /// Reads the key file; none if there is none.
    pub fn load(path: &Path) -> anyhow::Result<Option<Secrets>> {
        let file = read(KeyKind::Master, path)?;
        file.map(|file| Secrets::of(path, Origin::WasThere, &file)).transpose()
    }

    fn of(path: &Path, origin: Origin, file: &KeyFile) -> anyhow::Result<Secrets> {
        let masters: Option<Vec<Derived>> = file.keys().iter().map(Derived::of).collect();
        match masters {
            Some(masters) => Ok(Secrets { path: path.to_path_buf(), origin, masters }),
            None => Err(damaged(path)),
        }
    }

    fn create(path: &Path, random: &mut Random) -> anyhow::Result<Secrets> {
        let file = KeyFile::new(KeyKind::Master, Zeroizing::new(random.bytes::<KEY_LEN>().to_vec()));
        let mut options = std::fs::OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(0o600).open(path);
        let mut opened =
            opened.with_context(|| format!("cannot create the master key {}", path.display()))?;
        opened.write_all(&file.to_octets())?;
        opened.sync_all()?;
        if let Some(directory) = path.parent() {
            std::fs::File::open(directory)?.sync_all()?;
        }
        Secrets::of(path, Origin::MadeNow, &file)
    }

    /// The file of the keys.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file if it did not exist before; says whether it did.
    pub fn take_back(&self) -> bool {
        self.origin == Origin::MadeNow && std::fs::remove_file(&self.path).is_ok()
    }

    /// For what lies in the tables.
    pub fn database(&self) -> Keys {
        let key = |derived: &Derived| match &derived.database {
            Some(database) => MasterKey::derived(derived.version, derived.from, database),
            None => MasterKey {
                version: derived.version,
                from: derived.from,
                sealing: None,
                secrets: derived.left.hashes.clone(),
            },
        };
        Keys::of(key(&self.masters[0]), self.masters[1..].iter().map(key))
    }

    /// For return paths: that which was in force when a message was accepted.
    pub fn return_paths(&self) -> TokenKey {
        let first = TokenKey::new(&self.masters[0].left.return_paths[..]);
        self.masters[1..]
            .iter()
            .fold(first, |keys, master| keys.followed_by(master.from, &master.left.return_paths[..]))
    }
}

impl Derived {
    /// None if the material is not what belongs there.
    fn of(key: &Key) -> Option<Derived> {
        let (version, from) = (key.version, key.from);
        match &key.material {
            Material::Whole(octets) => {
                let master = <&[u8; KEY_LEN]>::try_from(&octets[..]).ok()?;
                let database = derive(master, "database");
                Some(Derived { version, from, database: Some(database), left: Left::of(master) })
            }
            Material::Retired(octets) => {
                let (hashes, return_paths) = octets.split_first_chunk::<KEY_LEN>()?;
                let (hashes, return_paths) = (Zeroizing::new(*hashes), return_paths.try_into().ok()?);
                let left = Left { hashes, return_paths: Zeroizing::new(return_paths) };
                Some(Derived { version, from, database: None, left })
            }
        }
    }
}

impl Left {
    fn of(master: &[u8; KEY_LEN]) -> Left {
        let hashes = MasterKey::derived(1, Timestamp::UNIX_EPOCH, &derive(master, "database")).secrets;
        Left { hashes, return_paths: derive(master, "return path") }
    }
}

/// What stays of a master key that is retired.
pub fn left_of(master: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let left = Left::of(master.try_into().ok()?);
    Some(Zeroizing::new([&left.hashes[..], &left.return_paths[..]].concat()))
}

/// 32 octets for one use; the label names the use.
fn derive(master: &[u8; KEY_LEN], label: &str) -> Zeroizing<[u8; KEY_LEN]> {
    struct Len;
    impl hkdf::KeyType for Len {
        fn len(&self) -> usize {
            KEY_LEN
        }
    }
    let mut key = Zeroizing::new([0; KEY_LEN]);
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"posthouse");
    let filled = salt.extract(master).expand(&[label.as_bytes()], Len).and_then(|okm| okm.fill(&mut key[..]));
    // Only a length over 255 × 32 octets can fail (RFC 5869 §2.3).
    assert!(filled.is_ok(), "HKDF gives 32 octets");
    key
}

/// The keys in a file; none if there is no file. Errs with what to do if others may read it or it is damaged.
pub fn read(kind: KeyKind, path: &Path) -> anyhow::Result<Option<KeyFile>> {
    let octets = match std::fs::read(path) {
        Ok(octets) => Zeroizing::new(octets),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let what = format!("cannot read the {} key {}", kind.as_str(), path.display());
            return Err(error).context(what);
        }
    };
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        let (word, path) = (kind.as_str(), path.display());
        bail!("the {word} key {path} can be read by others; run: chmod 600 {path}");
    }
    match KeyFile::parse(kind, &octets) {
        Ok(file) => Ok(Some(file)),
        Err(line) if kind == KeyKind::Master => {
            Err(damaged(path)).with_context(|| format!("line {line} cannot be read"))
        }
        Err(line) => Err(damaged_session(path)).with_context(|| format!("line {line} cannot be read")),
    }
}

/// Puts other keys into a file that is there, whole or not at all, with its owner and mode: the node's user must be able to
/// read it, whoever runs this.
pub fn replace(path: &Path, file: &KeyFile) -> std::io::Result<()> {
    // Behind a link, not instead of it.
    let path = path.canonicalize()?;
    let (before, temporary) = (std::fs::metadata(&path)?, path.with_extension("new"));
    let _ = std::fs::remove_file(&temporary);
    let write = || {
        let mut options = std::fs::OpenOptions::new();
        let mut opened = options.write(true).create_new(true).mode(0o600).open(&temporary)?;
        fchown(&opened, Some(before.uid()), Some(before.gid()))?;
        opened.set_permissions(before.permissions())?;
        opened.write_all(&file.to_octets())?;
        opened.sync_all()?;
        std::fs::rename(&temporary, &path)?;
        path.parent().map_or(Ok(()), |directory| std::fs::File::open(directory)?.sync_all())
    };
    write().inspect_err(|_| drop(std::fs::remove_file(&temporary)))
}

fn damaged(path: &Path) -> anyhow::Error {
    anyhow::anyhow!("{} is not a posthouse master key; restore it from your backup", path.display())
}

fn damaged_session(path: &Path) -> anyhow::Error {
    let path = path.display();
    anyhow::anyhow!("{path} is damaged; remove it to make a new one (everybody logs in again)")
}

/// The keys that sign people's sessions, made at the first start.
pub fn session_keys(config: &Config) -> anyhow::Result<api::TokenKeys> {
    let path = session_path(config);
    let file = match read(KeyKind::Session, &path)? {
        Some(file) => file,
        None => {
            let key = api::TokenKeys::generate().context("cannot make the session key")?;
            let file = KeyFile::new(KeyKind::Session, Zeroizing::new(key));
            crate::authority::write(&path, &file.to_octets(), 0o600)?;
            file
        }
    };
    let mut keys: Option<api::TokenKeys> = None;
    for key in file.keys() {
        // Nothing of a session key outlives it.
        let Material::Whole(pkcs8) = &key.material else { continue };
        let added = match keys {
            None => api::TokenKeys::from_pkcs8(pkcs8),
            Some(keys) => keys.followed_by(key.from, pkcs8),
        };
        keys = Some(added.with_context(|| damaged_session(&path).to_string())?);
    }
    keys.ok_or_else(|| damaged_session(&path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::MessageId;
    use mail::token::TokenSubject;

    const NOW: Timestamp = Timestamp::from_millis(1_795_425_249_000);

    /// A return path shows by its tag which key there is.
    fn tag(secrets: &Secrets, at: Timestamp) -> String {
        let subject =
            TokenSubject { message: MessageId::mint(at, &mut Random::from_number(1)), recipient: 0 };
        let domain = mail::Domain::parse("rp.client.example").unwrap();
        secrets.return_paths().reverse_path(subject, &domain).to_string()
    }

    #[test]
    fn the_key_is_made_once_and_kept_private() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (directory.path().join("master.key"), directory.path().join("other.key"));
        let made = Secrets::load_or_create(&path, &mut Random::from_number(1)).unwrap();
        let read = Secrets::load_or_create(&path, &mut Random::from_number(2)).unwrap();
        assert_eq!(tag(&made, NOW), tag(&read, NOW));
        let another = Secrets::load_or_create(&other, &mut Random::from_number(2)).unwrap();
        assert_ne!(tag(&made, NOW), tag(&another, NOW));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!read.take_back() && path.exists(), "it was there before");
        assert!(another.take_back() && !other.exists());
    }

    #[test]
    fn no_two_uses_share_a_key() {
        let keys = ["database", "return path"].map(|label| derive(&[1; KEY_LEN], label));
        let hashes = Left::of(&[1; KEY_LEN]).hashes;
        assert!(keys[0] != keys[1] && keys[0] != hashes && keys[1] != hashes);
    }

    #[test]
    fn a_retired_key_still_reads_the_return_paths_of_its_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("master.key");
        let alone = Secrets::load_or_create(&path, &mut Random::from_number(1)).unwrap();
        let mut file = super::read(KeyKind::Master, &path).unwrap().unwrap();
        file.rotate(Zeroizing::new(vec![9; KEY_LEN]), NOW);
        file.retire(1, NOW, Some(left_of)).unwrap();
        let secrets = Secrets::of(&path, Origin::WasThere, &file).unwrap();
        let before = Timestamp::from_millis(NOW.as_millis() - 1);
        assert_eq!(tag(&secrets, before), tag(&alone, before));
        assert_ne!(tag(&secrets, NOW), tag(&alone, NOW));
    }

    #[test]
    fn a_file_is_replaced_behind_its_link_with_its_mode_and_nothing_is_left_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("real.key"), directory.path().join("master.key"));
        Secrets::load_or_create(&path, &mut Random::from_number(1)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut file = super::read(KeyKind::Master, &link).unwrap().unwrap();
        file.rotate(Zeroizing::new(vec![9; KEY_LEN]), NOW);
        replace(&link, &file).unwrap();
        assert_eq!(super::read(KeyKind::Master, &path).unwrap().unwrap().keys().len(), 2);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o400);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
        assert!(replace(&directory.path().join("nothing"), &file).is_err());
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_damaged_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("master.key");
        Secrets::load_or_create(&path, &mut Random::from_number(1)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = || {
            let error = Secrets::load_or_create(&path, &mut Random::from_number(1)).err().unwrap();
            format!("{error:#}")
        };
        assert!(refused().contains("chmod 600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let whole = "A".repeat(43);
        for text in [
            "posthouse-master-key-1 AAAA".to_owned(),
            "posthouse-master-key-1".to_owned(),
            format!(
                "posthouse-master-key-1 {whole}=\nposthouse-master-key-2 retired AAAA from 2026-12-01T00:00:00Z"
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(refused().contains("not a posthouse master key"), "{}", refused());
        }
        std::fs::write(&path, format!("posthouse-master-key-1 {whole}=\n")).unwrap();
        assert!(Secrets::load_or_create(&path, &mut Random::from_number(1)).is_ok());
    }
}
