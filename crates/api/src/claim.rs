//! What a call with an `Idempotency-Key` may rely on: the same messages get the same ids, however often it is begun.
//!
//! The ids follow from who calls, the key, the request, and the time at which the key was first taken, which PostgreSQL
//! keeps before anything is done. So a call whose process died is not done twice: whoever begins it again asks which of
//! its messages the tables know and offers the others only. The tables are asked when they know everything that was in
//! the journal; a message that waits there is not written twice anyway (`ingress::Submission::accept_as`). What may
//! surprise: a call that is begun for the first time asks nobody, and so costs nothing. See design/0010.

use crate::problem::Problem;
use crate::state::Api;
use aws_lc_rs::digest;
use database::{Holder, Taken};
use mail::{MessageId, Random, TenantId, Timestamp};
use registry::Access;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What the seed is for: nothing else hashes these things to the same value.
const PURPOSE: &[u8] = b"posthouse message ids of a call";

/// An extension of the request.
#[derive(Debug, Clone)]
pub struct Claim {
    access: Access,
    key: String,
    holder: Holder,
    seed: [u8; 32],
    claimed_at: Timestamp,
    begun: Begun,
    kept: Arc<AtomicBool>,
}

/// Whether anything can be done already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    First,
    Again,
}

/// A message of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nothing waits for it and it may have any id.
    Free,
    /// To be accepted under this id.
    Claimed(MessageId),
    /// Accepted when the call was begun before.
    Done(MessageId),
}

impl Claim {
    pub fn new((access, key): (&Access, &str), hash: &[u8; 32], (taken, begun): (Taken, Begun)) -> Claim {
        let Taken { holder, claimed_at } = taken;
        let seed = seed(&access.actor().to_string(), key, hash, claimed_at);
        let (access, key, kept) = (access.clone(), key.to_owned(), Arc::default());
        Claim { access, key, holder, seed, claimed_at, begun, kept }
    }

    /// Whoever called.
    pub fn access(&self) -> &Access {
        &self.access
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn holder(&self) -> Holder {
        self.holder
    }

    /// Its answer is kept with what it changes, if that comes to be.
    pub fn set_kept(&self) {
        self.kept.store(true, Ordering::Release);
    }

    /// Whether a change that went well has kept its answer.
    pub fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Acquire)
    }

    /// The ids of the first `count` messages.
    fn messages(&self, count: usize) -> Vec<MessageId> {
        messages(self.seed, self.claimed_at, count)
    }
}

fn messages(seed: [u8; 32], claimed_at: Timestamp, count: usize) -> Vec<MessageId> {
    let mut random = Random::from_seed(seed);
    (0..count).map(|_| MessageId::mint(claimed_at, &mut random)).collect()
}

fn seed(owner: &str, key: &str, hash: &[u8; 32], claimed_at: Timestamp) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    let at = claimed_at.as_millis().to_be_bytes();
    for part in [PURPOSE, owner.as_bytes(), key.as_bytes(), hash, &at] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut seed = [0; 32];
    seed.copy_from_slice(context.finish().as_ref());
    seed
}

/// What is known of the `count` messages of a call before any of them is offered.
pub async fn places(
    api: &Api,
    (access, tenant): (&Access, TenantId),
    claim: Option<&Claim>,
    count: usize,
) -> Result<Vec<Place>, Problem> {
    let Some(claim) = claim else { return Ok(vec![Place::Free; count]) };
    let ids = claim.messages(count);
    let done = match claim.begun {
        Begun::First => HashSet::new(),
        Begun::Again => {
            let wait = Duration::from_secs(api.config().idempotency_wait_seconds);
            // As long as the tables are behind, what became of the call is not known: it must not be done again.
            tokio::time::timeout(wait, api.told()).await.map_err(|_| Problem::unavailable())?;
            api.database().messages_known(access, tenant, &ids).await?
        }
    };
    let place = |id| if done.contains(&id) { Place::Done(id) } else { Place::Claimed(id) };
    Ok(ids.into_iter().map(place).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn the_same_call_has_the_same_ids_and_more_of_them_change_none() {
        let access = Access::house("test");
        let seed = seed(&access.actor().to_string(), "k", &[1; 32], at(5));
        let ids = messages(seed, at(5), 500);
        assert_eq!(ids, messages(seed, at(5), 500));
        assert_eq!(ids[..3], messages(seed, at(5), 3));
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 500);
    }

    #[test]
    fn whatever_makes_it_another_call_makes_other_ids() {
        let id = |owner: &str, key: &str, hash: u8, millis: i64| {
            messages(seed(owner, key, &[hash; 32], at(millis)), at(millis), 1)[0]
        };
        let calls = [
            id("key_1", "k", 1, 5),
            id("key_2", "k", 1, 5),
            id("key_1", "kk", 1, 5),
            id("key_1", "k", 2, 5),
            id("key_1", "k", 1, 6),
            // The parts do not run into each other.
            id("key_1k", "", 1, 5),
        ];
        assert_eq!(calls.iter().collect::<HashSet<_>>().len(), calls.len());
    }
}
