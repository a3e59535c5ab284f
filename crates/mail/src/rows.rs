//! Very many equal things kept by number, and the way from a message to its number. For what waits: the queue has a row
//! for each recipient, the journal one for each message.
//!
//! Rows lie in chunks, so that growing neither moves what is there nor holds it twice for a moment. The index keeps
//! numbers only, for the row knows whose it is: some ten octets where a map with its keys takes up to fifty. It is cut
//! into shards, so that no single insertion has to order a million anew. What may surprise: a number is used again
//! after its row was removed, and whoever uses one that is vacant has a bug and panics.

use crate::MessageId;
use hashbrown::HashTable;
use std::ops::{Index, IndexMut};

const CHUNK: usize = 1024;
const SHARDS: usize = 256;

/// Rows by number.
pub struct Rows<T> {
    /// All but the last one are full.
    chunks: Vec<Vec<Option<T>>>,
    vacant: Vec<u32>,
}

/// Numbers by message. Each call is told whose the rows are.
pub struct ByMessage {
    shards: Box<[HashTable<u32>]>,
}

impl<T> Default for Rows<T> {
    fn default() -> Rows<T> {
        Rows { chunks: Vec::new(), vacant: Vec::new() }
    }
}

impl<T> Rows<T> {
    /// The number is that of the row until it is removed; may be one that was used before.
    pub fn insert(&mut self, row: T) -> u32 {
        if let Some(number) = self.vacant.pop() {
            *self.place(number) = Some(row);
            return number;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let full = (self.chunks.len() - 1) * CHUNK;
        let chunk = &mut self.chunks[full / CHUNK];
        chunk.push(Some(row));
        (full + chunk.len() - 1) as u32
    }

    /// Panics if no row has this number: the caller has kept a number too long.
    pub fn remove(&mut self, number: u32) -> T {
        let Some(row) = self.place(number).take() else { vacant(number) };
        self.vacant.push(number);
        if self.is_empty() {
            // Nobody holds a number any more. One chunk stays for who comes next.
            self.chunks.truncate(1);
            self.chunks.iter_mut().for_each(Vec::clear);
            self.vacant = Vec::new();
        }
        row
    }

    /// None if it is vacant.
    pub fn get(&self, number: u32) -> Option<&T> {
        self.chunks.get(number as usize / CHUNK)?.get(number as usize % CHUNK)?.as_ref()
    }

    /// Rows that are kept, without the gaps.
    pub fn len(&self) -> u64 {
        let last = self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len());
        (last - self.vacant.len()) as u64
    }

    /// No row is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each row with its number, in the order of the numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let rows = self.chunks.iter().flatten().enumerate();
        rows.filter_map(|(number, row)| row.as_ref().map(|row| (number as u32, row)))
    }

    /// In the order of their numbers.
    pub fn into_values(self) -> impl Iterator<Item = T> {
        self.chunks.into_iter().flatten().flatten()
    }

    fn place(&mut self, number: u32) -> &mut Option<T> {
        &mut self.chunks[number as usize / CHUNK][number as usize % CHUNK]
    }
}

impl<T> Index<u32> for Rows<T> {
    type Output = T;

    fn index(&self, number: u32) -> &T {
        match &self.chunks[number as usize / CHUNK][number as usize % CHUNK] {
            Some(row) => row,
            None => vacant(number),
        }
    }
}

impl<T> IndexMut<u32> for Rows<T> {
    fn index_mut(&mut self, number: u32) -> &mut T {
        match self.place(number) {
            Some(row) => row,
            None => vacant(number),
        }
    }
}

#[cold]
fn vacant(number: u32) -> ! {
    unreachable!("row {number} is used after it was removed")
}

impl Default for ByMessage {
    fn default() -> ByMessage {
        ByMessage { shards: (0..SHARDS).map(|_| HashTable::new()).collect() }
    }
}

impl ByMessage {
    /// The number of a message's row; `whose` says which message a row is of.
    pub fn find(&self, message: MessageId, whose: impl Fn(u32) -> MessageId) -> Option<u32> {
        let hash = hash(message);
        self.shards[shard(hash)].find(hash, |number| whose(*number) == message).copied()
    }

    /// From now on the message is found at `number`; says where it was found before.
    pub fn insert(
        &mut self,
        message: MessageId,
        number: u32,
        whose: impl Fn(u32) -> MessageId,
    ) -> Option<u32> {
        let hash_of_message = hash(message);
        let shard = &mut self.shards[shard(hash_of_message)];
        match shard.find_mut(hash_of_message, |known| whose(*known) == message) {
            Some(known) => Some(std::mem::replace(known, number)),
            None => {
                shard.insert_unique(hash_of_message, number, |known| hash(whose(*known)));
                None
            }
        }
    }

    /// To be called before the row is removed.
    pub fn remove(&mut self, message: MessageId, whose: impl Fn(u32) -> MessageId) -> Option<u32> {
        let hash = hash(message);
        let found = self.shards[shard(hash)].find_entry(hash, |number| whose(*number) == message).ok()?;
        Some(found.remove().0)
    }
}

/// Ids are drawn by us and nobody can choose them, so they are mixed and need no secret.
fn hash(message: MessageId) -> u64 {
    let bits = message.uuid().as_u128();
    let (high, low) = ((bits >> 64) as u64 ^ 0x9e37_79b9_7f4a_7c15, bits as u64 ^ 0xd1b5_4a32_d192_ed03);
    let product = u128::from(high) * u128::from(low);
    (product >> 64) as u64 ^ product as u64
}

/// Bits that a table uses last: it takes its places from the low ones and its tags from the highest seven.
fn shard(hash: u64) -> usize {
    (hash >> 48) as usize % SHARDS
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Random, Timestamp};
    use std::collections::HashMap;

    #[test]
    fn rows_and_index_agree_with_a_map_whatever_comes_and_goes() {
        let mut random = Random::from_number(5);
        let ids: Vec<MessageId> =
            (0..3_000).map(|_| MessageId::mint(Timestamp::UNIX_EPOCH, &mut random)).collect();
        let (mut rows, mut index): (Rows<(MessageId, u64)>, _) = (Rows::default(), ByMessage::default());
        let mut model: HashMap<MessageId, u64> = HashMap::new();
        for step in 0..40_000 {
            // More come than go, then more go than come, until nothing is left.
            let comes = if step < 20_000 { random.below(4) != 0 } else { random.below(4) == 0 };
            let id = ids[random.below(ids.len() as u64) as usize];
            let known = index.find(id, |number| rows[number].0);
            assert_eq!(known.map(|number| rows[number].1), model.get(&id).copied());
            match (comes, known) {
                (true, Some(number)) => rows[number].1 = step,
                (true, None) => {
                    let number = rows.insert((id, step));
                    assert_eq!(index.insert(id, number, |number| rows[number].0), None);
                }
                (false, Some(number)) => {
                    assert_eq!(index.remove(id, |number| rows[number].0), Some(number));
                    assert_eq!(rows.remove(number).0, id);
                    assert!(rows.get(number).is_none());
                }
                (false, None) => assert_eq!(index.remove(id, |number| rows[number].0), None),
            }
            if comes {
                model.insert(id, step);
            } else {
                model.remove(&id);
            }
            assert_eq!(rows.len(), model.len() as u64);
        }
        let there: HashMap<MessageId, u64> = rows.iter().map(|(_, row)| *row).collect();
        assert_eq!(there, model);
        for id in ids {
            if let Some(number) = index.remove(id, |number| rows[number].0) {
                rows.remove(number);
            }
        }
        assert!(rows.is_empty() && rows.iter().next().is_none());
        assert_eq!(rows.chunks.len(), 1, "the memory of what left is given back");
        assert_eq!(rows.insert((MessageId::mint(Timestamp::UNIX_EPOCH, &mut random), 1)), 0);
    }

    #[test]
    fn a_message_that_is_known_is_found_at_its_new_number() {
        let mut random = Random::from_number(1);
        let id = MessageId::mint(Timestamp::UNIX_EPOCH, &mut random);
        let mut index = ByMessage::default();
        assert_eq!(index.insert(id, 7, |_| id), None);
        assert_eq!(index.insert(id, 9, |_| id), Some(7));
        assert_eq!(index.find(id, |_| id), Some(9));
    }

    #[test]
    #[should_panic(expected = "row 0 is used after it was removed")]
    fn a_vacant_row_is_nobodys() {
        let mut rows: Rows<u8> = Rows::default();
        let (gone, _) = (rows.insert(1), rows.insert(2));
        rows.remove(gone);
        let _ = rows[gone];
    }

    #[test]
    fn ids_spread_over_all_shards_even_if_they_are_counted() {
        let mut counts = [0; SHARDS];
        for number in 0..25_600_u128 {
            counts[shard(hash(MessageId::from_uuid(uuid::Uuid::from_u128(number))))] += 1;
        }
        assert!(counts.iter().all(|count| (40..=200).contains(count)), "{counts:?}");
    }
}
