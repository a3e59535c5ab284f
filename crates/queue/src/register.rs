//! Small numbers for large keys: a domain or a site is kept once, however many recipients wait for it.
//!
//! A number stays valid while somebody uses it; when the last user releases it, key and number are free again, so a
//! register is never larger than what waits. Used by `queue.rs` only. What may surprise: `acquire` counts, `find`
//! does not.

use std::collections::HashMap;
use std::hash::Hash;

pub(crate) struct Register<K, R> {
    numbers: HashMap<K, u32>,
    rows: Vec<Option<Row<K, R>>>,
    free: Vec<u32>,
}

struct Row<K, R> {
    key: K,
    users: u32,
    value: R,
}

impl<K, R> Default for Register<K, R> {
    fn default() -> Register<K, R> {
        Register { numbers: HashMap::new(), rows: Vec::new(), free: Vec::new() }
    }
}

impl<K: Clone + Eq + Hash, R> Register<K, R> {
    /// The number of `key` with one more user; `make` gives the row of a key that is new.
    pub fn acquire(&mut self, key: &K, make: impl FnOnce() -> R) -> u32 {
        if let Some(number) = self.find(key) {
            self.retain(number);
            return number;
        }
        let row = Some(Row { key: key.clone(), users: 1, value: make() });
        let number = match self.free.pop() {
            Some(number) => {
                self.rows[number as usize] = row;
                number
            }
            None => {
                self.rows.push(row);
                (self.rows.len() - 1) as u32
            }
        };
        self.numbers.insert(key.clone(), number);
        number
    }

    pub fn retain(&mut self, number: u32) {
        self.row_mut(number).users += 1;
    }

    /// One user less. Gives the row back when that was the last one.
    pub fn release(&mut self, number: u32) -> Option<R> {
        let row = self.row_mut(number);
        row.users -= 1;
        if row.users > 0 {
            return None;
        }
        let row = self.rows[number as usize].take()?;
        self.numbers.remove(&row.key);
        self.free.push(number);
        Some(row.value)
    }

    /// One user less without letting go, for a row that others are about to use.
    pub fn disown(&mut self, number: u32) {
        self.row_mut(number).users -= 1;
    }

    pub fn users(&self, number: u32) -> u32 {
        self.row(number).users
    }

    /// The row of a number that may have been released meanwhile.
    pub fn get(&self, number: u32) -> Option<&R> {
        self.rows.get(number as usize)?.as_ref().map(|row| &row.value)
    }

    pub fn len(&self) -> u64 {
        self.numbers.len() as u64
    }

    /// Every number with its key.
    pub fn keys(&self) -> impl Iterator<Item = (u32, &K)> {
        let rows = self.rows.iter().enumerate();
        rows.filter_map(|(number, row)| row.as_ref().map(|row| (number as u32, &row.key)))
    }

    pub fn find(&self, key: &K) -> Option<u32> {
        self.numbers.get(key).copied()
    }

    pub fn key(&self, number: u32) -> &K {
        &self.row(number).key
    }

    pub fn value(&self, number: u32) -> &R {
        &self.row(number).value
    }

    pub fn value_mut(&mut self, number: u32) -> &mut R {
        &mut self.row_mut(number).value
    }

    fn row(&self, number: u32) -> &Row<K, R> {
        match &self.rows[number as usize] {
            Some(row) => row,
            None => unreachable!("number {number} of a register is used after its release"),
        }
    }

    fn row_mut(&mut self, number: u32) -> &mut Row<K, R> {
        match &mut self.rows[number as usize] {
            Some(row) => row,
            None => unreachable!("number {number} of a register is used after its release"),
        }
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
