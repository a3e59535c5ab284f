//! The name of this node's journal: made once, kept beside its segments, so that a directory that is replaced has another.
//!
//! The tables keep by it how far this journal is told. Several nodes share the tables, and each has a journal of its own:
//! under one name they would take each other's place for theirs, and what lies between would be told to nobody.

use crate::authority;
use crate::exit::Failure;
use mail::Random;
use std::io::ErrorKind;
use std::path::Path;

const FILE: &str = "journal.name";
/// 128 bits, in hexadecimal digits.
const OCTETS: usize = 16;

/// Reads the name that is kept in the journal's `directory`, or makes one. Blocking; called while the journal is held, so
/// that no two processes make one.
pub fn ensure(directory: &Path, random: &mut Random) -> anyhow::Result<String> {
    let file = directory.join(FILE);
    match std::fs::read_to_string(&file) {
        Ok(text) => {
            let name = text.trim();
            if name.len() == 2 * OCTETS && name.bytes().all(|octet| octet.is_ascii_hexdigit()) {
                return Ok(name.to_owned());
            }
            Err(Failure::Unavailable(format!(
                "{} is damaged: it should hold {} hexadecimal digits. Remove it, and what the journal holds is told once \
                 more, which changes nothing",
                file.display(),
                2 * OCTETS
            ))
            .into())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut octets = [0; OCTETS];
            random.fill(&mut octets);
            let name: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
            authority::write(&file, format!("{name}\n").as_bytes(), 0o644)?;
            Ok(name)
        }
        Err(error) => Err(Failure::Unavailable(format!("cannot read {}: {error}", file.display())).into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_keeps_its_name_and_another_has_another() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut random = Random::from_number(1);
        let name = ensure(one.path(), &mut random).unwrap();
        assert_eq!(name.len(), 32);
        assert_eq!(ensure(one.path(), &mut random).unwrap(), name);
        assert_ne!(ensure(other.path(), &mut random).unwrap(), name);
        std::fs::write(one.path().join(FILE), "half a na").unwrap();
        let refused = ensure(one.path(), &mut random).unwrap_err().to_string();
        assert!(refused.contains("is damaged") && refused.contains("Remove it"), "{refused}");
        assert!(ensure(Path::new("/nonexistent"), &mut random).is_err());
    }
}
