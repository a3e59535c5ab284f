//! Key files: the keys of one kind that an installation has, one a line, the oldest first.
//!
//! A line is `posthouse-KIND-key-VERSION BASE64`, and of all but the first ` from TIME`: known at once and used from then
//! on, so that every node can have a key before the first of them uses it. A retired one keeps its line, with `retired`
//! before what is left of it. A file of one binary key is what older versions wrote for sessions. Everything here is text
//! and values; `secrets.rs` derives from them, `roles/keys.rs` changes them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail::Timestamp;
use std::fmt::Write;
use zeroize::Zeroizing;

/// More than a line has.
const LINE_OCTETS: usize = 512;
/// How a DER SEQUENCE begins, as every PKCS#8 key does; no line does.
const BINARY_START: u8 = 0x30;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum KeyKind {
    /// What DKIM keys, webhook secrets and credentials are kept under
    Master,
    /// What the logins of people are signed with
    Session,
}

/// At least one key, with versions and times that go up.
pub struct KeyFile {
    kind: KeyKind,
    keys: Vec<Key>,
}

pub struct Key {
    pub version: u32,
    /// Used from then on.
    pub from: Timestamp,
    pub material: Material,
}

pub enum Material {
    Whole(Zeroizing<Vec<u8>>),
    /// What must outlive the key.
    Retired(Zeroizing<Vec<u8>>),
}

/// Makes of a key what must outlive it; none if it is not what a key of its kind is.
pub type Left = fn(&[u8]) -> Option<Zeroizing<Vec<u8>>>;

/// What a key does at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// Known, and not used yet.
    Next,
    InForce,
    /// Opens and reads what it sealed and signed.
    Before,
    Retired,
}

/// Why a file of keys cannot be changed so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoChange {
    NoSuchVersion,
    /// It is the one in force, or one that will be.
    Needed,
    Already,
    /// It is not what a key of its kind is.
    Damaged,
}

impl KeyKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            KeyKind::Master => "master",
            KeyKind::Session => "session",
        }
    }
}

impl KeyState {
    pub const fn as_str(self) -> &'static str {
        match self {
            KeyState::Next => "next",
            KeyState::InForce => "in force",
            KeyState::Before => "before",
            KeyState::Retired => "retired",
        }
    }
}

impl KeyFile {
    /// With a first key, used since ever.
    pub fn new(kind: KeyKind, material: Zeroizing<Vec<u8>>) -> KeyFile {
        let first = Key { version: 1, from: Timestamp::UNIX_EPOCH, material: Material::Whole(material) };
        KeyFile { kind, keys: vec![first] }
    }

    /// Errs with the number of the line that cannot be read, from 1.
    pub fn parse(kind: KeyKind, octets: &[u8]) -> Result<KeyFile, usize> {
        if kind == KeyKind::Session && octets.first() == Some(&BINARY_START) {
            return Ok(KeyFile::new(kind, Zeroizing::new(octets.to_vec())));
        }
        let text = std::str::from_utf8(octets).map_err(|_| 1_usize)?;
        let mut keys: Vec<Key> = Vec::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let key = parse_line(kind, line).ok_or(number + 1)?;
            let follows = keys.last().is_none_or(|last| {
                last.version < key.version && last.from <= key.from && key.from != Timestamp::UNIX_EPOCH
            });
            if !follows {
                return Err(number + 1);
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(1) } else { Ok(KeyFile { kind, keys }) }
    }

    /// As `parse` reads it. A first session key alone is written as older versions know it.
    pub fn to_octets(&self) -> Zeroizing<Vec<u8>> {
        match (&self.keys[..], self.kind) {
            (
                [Key { version: 1, from: Timestamp::UNIX_EPOCH, material: Material::Whole(key) }],
                KeyKind::Session,
            ) => key.clone(),
            _ => Zeroizing::new(self.to_text().as_bytes().to_vec()),
        }
    }

    fn to_text(&self) -> Zeroizing<String> {
        // With room for all, so that no half of it is left behind in memory.
        let mut text = Zeroizing::new(String::with_capacity(self.keys.len() * LINE_OCTETS));
        for key in &self.keys {
            let (word, octets) = match &key.material {
                Material::Whole(octets) => ("", octets),
                Material::Retired(octets) => ("retired ", octets),
            };
            let octets = Zeroizing::new(STANDARD.encode(octets));
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "posthouse-{}-key-{} {word}{}",
                self.kind.as_str(),
                key.version,
                octets.as_str()
            );
            if key.from != Timestamp::UNIX_EPOCH {
                let _ = write!(text, " from {}", key.from);
            }
            text.push('\n');
        }
        text
    }

    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    pub fn state(&self, key: &Key, now: Timestamp) -> KeyState {
        match key.material {
            Material::Retired(_) => KeyState::Retired,
            Material::Whole(_) if key.version == self.in_force(now).version => KeyState::InForce,
            Material::Whole(_) if key.from > now => KeyState::Next,
            Material::Whole(_) => KeyState::Before,
        }
    }

    fn in_force(&self, now: Timestamp) -> &Key {
        self.keys.iter().rev().find(|key| key.from <= now).unwrap_or(&self.keys[0])
    }

    /// Adds a key that is used from a time on, and returns its version. One that was to be used later is in force for no
    /// time then.
    pub fn rotate(&mut self, material: Zeroizing<Vec<u8>>, from: Timestamp) -> u32 {
        for key in &mut self.keys {
            key.from = key.from.min(from);
        }
        let version = self.keys.last().map_or(0, |key| key.version) + 1;
        self.keys.push(Key { version, from, material: Material::Whole(material) });
        version
    }

    /// Takes a key out of use for good, when another one is in force. `left` makes of the key what must outlive it;
    /// without it its line goes.
    pub fn retire(&mut self, version: u32, now: Timestamp, left: Option<Left>) -> Result<(), NoChange> {
        let place = self.keys.iter().position(|key| key.version == version).ok_or(NoChange::NoSuchVersion)?;
        match self.state(&self.keys[place], now) {
            KeyState::Retired => return Err(NoChange::Already),
            KeyState::InForce | KeyState::Next => return Err(NoChange::Needed),
            KeyState::Before => {}
        }
        let key = &mut self.keys[place];
        let Material::Whole(octets) = &key.material else { return Err(NoChange::Already) };
        match left {
            Some(left) => key.material = Material::Retired(left(octets).ok_or(NoChange::Damaged)?),
            None => drop(self.keys.remove(place)),
        }
        Ok(())
    }

    /// The key after this one.
    pub fn successor(&self, version: u32) -> Option<&Key> {
        self.keys.iter().find(|key| key.version > version)
    }

    /// What seals and signs.
    pub fn version_in_force(&self, now: Timestamp) -> u32 {
        self.in_force(now).version
    }
}

fn parse_line(kind: KeyKind, line: &str) -> Option<Key> {
    let rest = line.trim().strip_prefix("posthouse-")?.strip_prefix(kind.as_str())?.strip_prefix("-key-")?;
    let mut words = rest.split_ascii_whitespace();
    let version = words.next()?.parse().ok().filter(|version| *version > 0)?;
    let word = words.next()?;
    let decode =
        |word: &str| STANDARD.decode(word).ok().filter(|octets| !octets.is_empty()).map(Zeroizing::new);
    let material = match word {
        "retired" => Material::Retired(decode(words.next()?)?),
        word => Material::Whole(decode(word)?),
    };
    let from = match words.next() {
        None => Timestamp::UNIX_EPOCH,
        Some("from") => Timestamp::parse_rfc3339(words.next()?)?,
        Some(_) => return None,
    };
    words.next().is_none().then_some(Key { version, from, material })
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyFile({:?}, {} keys)", self.kind, self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_425_249_000);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(NOW.as_millis() + seconds * 1000)
    }

    fn material(octet: u8) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(vec![octet; 32])
    }

    fn states(file: &KeyFile, now: Timestamp) -> Vec<KeyState> {
        file.keys().iter().map(|key| file.state(key, now)).collect()
    }

    #[test]
    fn a_new_key_is_known_at_once_and_in_force_from_its_time_on() {
        let mut file = KeyFile::new(KeyKind::Master, material(1));
        assert_eq!(file.rotate(material(2), at(60)), 2);
        let file = KeyFile::parse(KeyKind::Master, &file.to_octets()).unwrap();
        assert_eq!(states(&file, at(59)), [KeyState::InForce, KeyState::Next]);
        assert_eq!(states(&file, at(60)), [KeyState::Before, KeyState::InForce]);
        assert_eq!(file.successor(1).map(|key| key.from), Some(at(60)));
    }

    /// Otherwise a key that is planned for later would stand in the way of one that is needed at once.
    #[test]
    fn a_key_that_is_needed_earlier_goes_before_one_that_was_planned() {
        let mut file = KeyFile::new(KeyKind::Master, material(1));
        file.rotate(material(2), at(60));
        assert_eq!(file.rotate(material(3), at(10)), 3);
        let file = KeyFile::parse(KeyKind::Master, &file.to_octets()).unwrap();
        assert_eq!(states(&file, at(9)), [KeyState::InForce, KeyState::Next, KeyState::Next]);
        assert_eq!(states(&file, at(10)), [KeyState::Before, KeyState::Before, KeyState::InForce]);
    }

    #[test]
    fn a_key_that_is_needed_is_not_retired() {
        let mut file = KeyFile::new(KeyKind::Master, material(1));
        assert_eq!(file.retire(1, NOW, None), Err(NoChange::Needed));
        file.rotate(material(2), at(60));
        for (version, now, refused) in [
            (1, at(59), NoChange::Needed),
            (2, at(59), NoChange::Needed),
            (2, at(60), NoChange::Needed),
            (3, at(60), NoChange::NoSuchVersion),
        ] {
            assert_eq!(file.retire(version, now, None), Err(refused));
        }
        assert_eq!(file.retire(1, at(60), Some(|_| None)), Err(NoChange::Damaged));
        assert_eq!(file.keys().len(), 2, "it stays");
        file.retire(1, at(60), Some(|octets| Some(Zeroizing::new(octets[..4].to_vec())))).unwrap();
        assert_eq!(file.retire(1, at(60), None), Err(NoChange::Already));
        let file = KeyFile::parse(KeyKind::Master, &file.to_octets()).unwrap();
        assert_eq!(states(&file, at(60)), [KeyState::Retired, KeyState::InForce]);
        assert!(matches!(&file.keys()[0].material, Material::Retired(left) if left.len() == 4));
    }

    #[test]
    fn a_key_with_nothing_left_goes_and_versions_are_not_used_again() {
        let mut file = KeyFile::new(KeyKind::Session, material(0x30));
        assert_eq!(file.to_octets()[..], [0x30; 32], "as older versions read it");
        file.rotate(material(2), NOW);
        file.retire(1, NOW, None).unwrap();
        let mut file = KeyFile::parse(KeyKind::Session, &file.to_octets()).unwrap();
        assert_eq!(states(&file, NOW), [KeyState::InForce]);
        assert_eq!(file.rotate(material(3), NOW), 3);
    }

    #[test]
    fn files_of_older_versions_are_read_and_damaged_ones_name_the_line() {
        let master = KeyFile::parse(KeyKind::Master, b"posthouse-master-key-1 AAAA\n").unwrap();
        assert_eq!((master.keys().len(), master.keys()[0].from), (1, Timestamp::UNIX_EPOCH));
        let session = KeyFile::parse(KeyKind::Session, &[0x30, 0x2e, 2, 1]).unwrap();
        assert!(matches!(&session.keys()[0].material, Material::Whole(octets) if octets.len() == 4));
        let first = "posthouse-master-key-1 AAAA";
        let second = "posthouse-master-key-2 AAAA from 2026-11-28T12:00:00Z";
        for (text, line) in [
            (String::new(), 1),
            ("\n\n".to_owned(), 1),
            ("posthouse-session-key-1 AAAA".to_owned(), 1),
            (format!("{first} from"), 1),
            (format!("{first} from noon"), 1),
            (format!("{first} AAAA"), 1),
            ("posthouse-master-key-0 AAAA".to_owned(), 1),
            ("posthouse-master-key-1".to_owned(), 1),
            ("posthouse-master-key-1 retired".to_owned(), 1),
            ("posthouse-master-key-1 A=A".to_owned(), 1),
            (format!("{first}\n\n{first}"), 3),
            (format!("{first}\nposthouse-master-key-2 AAAA"), 2),
            (format!("{second}\n{first}"), 2),
            (format!("{second}\nposthouse-master-key-3 AAAA from 2026-11-28T11:00:00Z"), 2),
        ] {
            assert_eq!(KeyFile::parse(KeyKind::Master, text.as_bytes()).err(), Some(line), "{text}");
        }
    }
}
