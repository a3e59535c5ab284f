//! Small numbers for large keys: a domain or a site is kept once, however many recipients wait for it.
//!
//! A number stays valid while somebody uses it; when the last user releases it, key and number are free again, so a
//! register is never larger than what waits. Used by `queue.rs` only. What may surprise: `acquire` counts, `find`
//! does not.

use hashbrown::HashTable;
use mail::rows::Rows;
use std::hash::{BuildHasher, Hash, RandomState};

pub(crate) struct Register<K, R> {
    /// Holds no keys: they are in the rows.
    numbers: HashTable<u32>,
    rows: Rows<Row<K, R>>,
    /// Names come from outside, so it has a secret.
    hasher: RandomState,
}

struct Row<K, R> {
    key: K,
    users: u32,
    value: R,
}

impl<K, R> Default for Register<K, R> {
    fn default() -> Register<K, R> {
        Register { numbers: HashTable::new(), rows: Rows::default(), hasher: RandomState::new() }
    }
}

impl<K: Clone + Eq + Hash, R> Register<K, R> {
    /// The number of `key` with one more user; `make` gives the row of a key that is new.
    pub fn acquire(&mut self, key: &K, make: impl FnOnce() -> R) -> u32 {
        if let Some(number) = self.find(key) {
            self.retain(number);
            return number;
        }
        let number = self.rows.insert(Row { key: key.clone(), users: 1, value: make() });
        let (rows, hasher) = (&self.rows, &self.hasher);
        self.numbers.insert_unique(hasher.hash_one(key), number, |known| hasher.hash_one(&rows[*known].key));
        number
    }

    pub fn retain(&mut self, number: u32) {
        self.rows[number].users += 1;
    }

    /// One user less. Gives the row back when that was the last one.
    pub fn release(&mut self, number: u32) -> Option<R> {
        let row = &mut self.rows[number];
        row.users -= 1;
        if row.users > 0 {
            return None;
        }
        let hash = self.hasher.hash_one(&row.key);
        if let Ok(found) = self.numbers.find_entry(hash, |known| *known == number) {
            found.remove();
        }
        Some(self.rows.remove(number).value)
    }

    /// One user less without letting go, for a row that others are about to use.
    pub fn disown(&mut self, number: u32) {
        self.rows[number].users -= 1;
    }

    pub fn users(&self, number: u32) -> u32 {
        self.rows[number].users
    }

    /// The row of a number that may have been released meanwhile.
    pub fn get(&self, number: u32) -> Option<&R> {
        self.rows.get(number).map(|row| &row.value)
    }

    pub fn len(&self) -> u64 {
        self.rows.len()
    }

    /// Every number with its key.
    pub fn keys(&self) -> impl Iterator<Item = (u32, &K)> {
        self.rows.iter().map(|(number, row)| (number, &row.key))
    }

    pub fn find(&self, key: &K) -> Option<u32> {
        self.numbers.find(self.hasher.hash_one(key), |number| self.rows[*number].key == *key).copied()
    }

    pub fn key(&self, number: u32) -> &K {
        &self.rows[number].key
    }

    pub fn value(&self, number: u32) -> &R {
        &self.rows[number].value
    }

    pub fn value_mut(&mut self, number: u32) -> &mut R {
        &mut self.rows[number].value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_lives_as_long_as_it_has_users_and_its_number_is_used_again() {
        let mut register: Register<String, u8> = Register::default();
        let a = register.acquire(&"a".to_owned(), || 1);
        assert_eq!(register.acquire(&"a".to_owned(), || 9), a);
        assert_eq!(register.release(a), None);
        assert_eq!(register.find(&"a".to_owned()), Some(a));
        assert_eq!(register.release(a), Some(1));
        assert_eq!(register.find(&"a".to_owned()), None);
        assert_eq!(register.acquire(&"b".to_owned(), || 2), a);
        assert_eq!((register.key(a).as_str(), *register.value(a)), ("b", 2));
    }
}
