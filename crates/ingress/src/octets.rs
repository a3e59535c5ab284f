//! Octets of messages that have arrived and are not answered yet: how many the house holds, and who holds them.
//!
//! Both doors count here, SMTP by what a client declares or else as octets arrive and HTTP by the length of the body, so
//! that the memory for mail in flight has one bound. Tenants share it (`registry::Shares`): whoever sends many large
//! messages at once is told to come back, the others are not. What is announced is kept for the one who announced it. A
//! message that grows beyond what was announced takes what is left, and where nothing is, the room of the youngest of its
//! tenant that grows like it: of many such messages at once the oldest come to their end, instead of each being pushed out
//! by the others.
//!
//! What may surprise: a session of which nobody knows whose it is counts as a stranger, and strangers share one part;
//! but they are no household, and none of them pushes another out.

use mail::{Refusal, RefusalKind};
use registry::{Crowded, Party, Shares};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What a client is told to wait; whatever is in flight now is stored or gone by then.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// All of them.
#[derive(Debug)]
pub struct Octets(Mutex<Pool>);

/// What one session or request holds of them; gives it back when dropped.
#[derive(Debug)]
pub struct Held {
    octets: Arc<Octets>,
    party: Party,
    gives_way: GivesWay,
    message: Option<Message>,
}

/// Whether the octets are here already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// They will come: whoever is too much is told so before, and whoever is not is sure of its room.
    Announced,
    /// They are here, or refused; then nothing is held.
    Here,
}

/// Whether the holder listens to `pushed_out`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GivesWay {
    Never,
    WhenAsked,
}

#[derive(Debug)]
struct Message {
    number: u64,
    leave: CancellationToken,
}

#[derive(Debug)]
struct Pool {
    shares: Shares,
    /// Messages by the order in which they began. No row is without octets.
    rows: HashMap<u64, Row>,
    /// Those that have outgrown what they announced and may be pushed out.
    growing: BTreeSet<(Party, u64)>,
    next: u64,
}

#[derive(Debug)]
struct Row {
    party: Party,
    octets: u64,
    announced: u64,
    leave: CancellationToken,
}

impl Octets {
    pub fn new(max: usize) -> Arc<Octets> {
        let (rows, growing) = (HashMap::new(), BTreeSet::new());
        Arc::new(Octets(Mutex::new(Pool { shares: Shares::new(max as u64), rows, growing, next: 0 })))
    }

    /// Nothing yet, for `party`.
    pub fn hold(self: &Arc<Octets>, party: Party) -> Held {
        Held { octets: Arc::clone(self), party, gives_way: GivesWay::Never, message: None }
    }

    /// How many are held in all.
    pub fn held(&self) -> u64 {
        self.lock().shares.used()
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// From now on the holder listens to `pushed_out` and lets go at once.
    pub fn gives_way(mut self) -> Held {
        self.gives_way = GivesWay::WhenAsked;
        self
    }

    /// So many octets are held from now on, what was held before included.
    ///
    /// # Errors
    /// If that is too much for this party or for the house; then nothing is held. `StorageFull` for what is
    /// announced; for what is here `ShareUsedUp` if it is the party's own doing, else `LocalTrouble`.
    /// `ShareUsedUp` too if an older message of the party has taken the room. All say to come back in 5 s.
    pub fn hold(&mut self, octets: usize, arrival: Arrival) -> Result<(), Refusal> {
        let result = match &self.message {
            Some(message) if message.leave.is_cancelled() => Err(pushed_out()),
            Some(_) | None => self.try_hold(octets as u64, arrival),
        };
        if result.is_err() {
            self.clear();
        }
        result
    }

    /// No more than so much is held any longer. Never refused.
    pub fn lower(&mut self, most: usize) {
        if let Some(message) = &self.message {
            self.octets.lock().lower(message.number, most as u64);
        }
        if most == 0 {
            self.message = None;
        }
    }

    /// It is all here: what is complete is not pushed out any more.
    pub fn complete(&mut self) {
        let Some(message) = &self.message else { return };
        let mut pool = self.octets.lock();
        if let Some(row) = pool.rows.get_mut(&message.number) {
            row.announced = row.octets;
            pool.growing.remove(&(self.party, message.number));
        }
    }

    /// Returns when an older message of the same tenant has taken the room.
    pub async fn pushed_out(&self) -> Refusal {
        match &self.message {
            Some(message) => message.leave.cancelled().await,
            None => std::future::pending().await,
        }
        pushed_out()
    }

    /// It is known now whose they are.
    pub fn belongs_to(&mut self, party: Party) {
        self.clear();
        self.party = party;
    }

    /// Gives back all that is held.
    pub fn clear(&mut self) {
        self.lower(0);
    }

    fn try_hold(&mut self, octets: u64, arrival: Arrival) -> Result<(), Refusal> {
        if octets == 0 {
            self.clear();
            return Ok(());
        }
        let mut pool = self.octets.lock();
        let message = self.message.get_or_insert_with(|| pool.begin());
        pool.grow(message, self.party, octets, arrival).map_err(|crowded| refusal(crowded, arrival))?;
        pool.note(message.number, arrival, self.gives_way);
        Ok(())
    }
}

impl Pool {
    fn begin(&mut self) -> Message {
        self.next += 1;
        Message { number: self.next, leave: CancellationToken::new() }
    }

    fn grow(
        &mut self,
        message: &Message,
        party: Party,
        octets: u64,
        arrival: Arrival,
    ) -> Result<(), Crowded> {
        let before = self.rows.get(&message.number).map_or(0, |row| row.octets);
        if octets <= before {
            self.lower(message.number, octets);
            return Ok(());
        }
        while let Err(crowded) = self.shares.take(party, octets - before) {
            let younger = match arrival {
                Arrival::Announced => None,
                Arrival::Here => self.youngest_after(party, message.number),
            };
            self.push_out(younger.ok_or(crowded)?);
        }
        let new = || Row { party, octets: 0, announced: 0, leave: message.leave.clone() };
        self.rows.entry(message.number).or_insert_with(new).octets = octets;
        Ok(())
    }

    fn note(&mut self, number: u64, arrival: Arrival, gives_way: GivesWay) {
        let Some(row) = self.rows.get_mut(&number) else { return };
        if arrival == Arrival::Announced {
            row.announced = row.octets;
        }
        if row.octets > row.announced && gives_way == GivesWay::WhenAsked {
            self.growing.insert((row.party, number));
        } else {
            self.growing.remove(&(row.party, number));
        }
    }

    /// Of one tenant, the message that began last of those that began after this one and may be pushed out.
    fn youngest_after(&self, party: Party, number: u64) -> Option<u64> {
        match party {
            Party::Strangers => None,
            Party::Tenant(_) => {
                let (_, youngest) =
                    self.growing.range((party, number + 1)..=(party, u64::MAX)).next_back()?;
                Some(*youngest)
            }
        }
    }

    /// Its room is free at once; its octets are a moment later.
    fn push_out(&mut self, number: u64) {
        if let Some(row) = self.rows.get(&number) {
            row.leave.cancel();
        }
        self.lower(number, 0);
    }

    fn lower(&mut self, number: u64, most: u64) {
        let Some(row) = self.rows.get_mut(&number).filter(|row| most < row.octets) else { return };
        self.shares.give_back(row.party, row.octets - most);
        row.octets = most;
        row.announced = row.announced.min(most);
        if most == row.announced {
            self.growing.remove(&(row.party, number));
        }
        if most == 0 {
            self.rows.remove(&number);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.clear();
    }
}

fn refusal(crowded: Crowded, arrival: Arrival) -> Refusal {
    let kind = match (arrival, crowded) {
        (Arrival::Announced, _) => RefusalKind::StorageFull,
        (Arrival::Here, Crowded::OwnShare) => RefusalKind::ShareUsedUp,
        (Arrival::Here, Crowded::Everything) => RefusalKind::LocalTrouble,
    };
    let public = match crowded {
        Crowded::OwnShare => "too much mail of your account is arriving at once",
        Crowded::Everything => "too much mail is arriving at once; please try again later",
    };
    Refusal::new(kind, public).with_retry_after(RETRY_AFTER)
}

fn pushed_out() -> Refusal {
    refusal(Crowded::OwnShare, Arrival::Here).with_detail("an older message took the room")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Arrival::{Announced, Here};
    use super::*;
    use mail::{Random, TenantId, Timestamp};

    fn tenant(number: u64) -> Party {
        Party::Tenant(TenantId::mint(Timestamp::from_millis(1), &mut Random::from_number(number)))
    }

    #[test]
    fn octets_are_refused_over_the_share_and_given_back() {
        let octets = Octets::new(100);
        let (mut a, mut b) = (octets.hold(tenant(1)), octets.hold(Party::Strangers));
        a.hold(50, Here).unwrap();
        let refusal = a.hold(60, Here).unwrap_err();
        assert_eq!((refusal.kind, refusal.retry_after_seconds()), (RefusalKind::ShareUsedUp, Some(5)));
        assert!(refusal.public().contains("your account"));
        assert_eq!(octets.held(), 0, "a message that is refused is not kept");
        a.hold(50, Here).unwrap();
        assert_eq!(a.hold(60, Announced).unwrap_err().kind, RefusalKind::StorageFull);
        a.hold(50, Here).unwrap();
        b.hold(50, Here).unwrap();
        a.hold(30, Here).unwrap();
        drop((a, b));
        assert_eq!(octets.held(), 0);
    }

    #[test]
    fn what_a_stranger_held_is_forgotten_when_it_says_who_it_is() {
        let octets = Octets::new(100);
        let mut held = octets.hold(Party::Strangers);
        held.hold(10, Here).unwrap();
        held.belongs_to(tenant(1));
        assert_eq!(octets.held(), 0);
        held.hold(40, Here).unwrap();
        drop(held);
        assert_eq!(octets.held(), 0);
    }

    #[test]
    fn the_oldest_takes_the_room_of_the_youngest_that_grows_like_it_and_of_nobody_else() {
        let octets = Octets::new(200);
        let new = |party| octets.hold(party).gives_way();
        let (mut a, mut b, mut c) = (new(tenant(1)), new(tenant(1)), new(tenant(1)));
        let (mut sure, mut done, mut http) = (new(tenant(1)), new(tenant(1)), octets.hold(tenant(1)));
        for held in [&mut a, &mut b, &mut c] {
            held.hold(1, Announced).unwrap();
        }
        for held in [&mut a, &mut b, &mut c, &mut done, &mut http] {
            held.hold(10, Here).unwrap();
        }
        sure.hold(20, Announced).unwrap();
        done.complete();
        // 70 of the 100 that one may have are held. The third has to go, then the second, then nobody.
        a.hold(45, Here).unwrap();
        let gone = |held: &Held| held.message.as_ref().is_some_and(|message| message.leave.is_cancelled());
        assert_eq!([&a, &b, &c, &sure, &done, &http].map(gone), [false, false, true, false, false, false]);
        assert_eq!(c.hold(10, Here).unwrap_err().kind, RefusalKind::ShareUsedUp);
        // Whoever comes now is younger than all, and pushes nobody out.
        c.hold(5, Here).unwrap();
        assert!(c.hold(30, Here).is_err() && !gone(&b));
        a.hold(60, Here).unwrap();
        assert!(gone(&b));
        assert!(a.hold(61, Here).is_err());
        drop((a, b, c, sure, done, http));
        let pool = octets.lock();
        assert_eq!((pool.shares.used(), pool.rows.len(), pool.growing.len()), (0, 0, 0));
    }

    #[test]
    fn nobody_pushes_out_another_tenants_or_a_strangers() {
        let octets = Octets::new(200);
        let new = |party| octets.hold(party).gives_way();
        let mut all = [new(tenant(1)), new(tenant(2)), new(Party::Strangers), new(Party::Strangers)];
        for held in &mut all {
            held.hold(20, Here).unwrap();
        }
        for index in [0, 2] {
            assert!(all[index].hold(90, Here).is_err());
        }
        assert_eq!(octets.held(), 40);
    }

    /// However many begin at once: whoever is oldest ends, then the next, until none is left.
    #[test]
    fn of_any_number_of_messages_that_grow_together_all_come_to_their_end() {
        let octets = Octets::new(1_000);
        let mut random = Random::from_number(3);
        let mut waiting: Vec<(Held, usize)> =
            (0..50).map(|_| (octets.hold(tenant(1)).gives_way(), 0)).collect();
        let (mut ended, mut refused) = (0, 0);
        for step in 0.. {
            assert!(step < 100_000, "{ended} ended");
            if waiting.is_empty() {
                break;
            }
            let index = random.below(waiting.len() as u64) as usize;
            let (held, size) = &mut waiting[index];
            let arrival = if *size == 0 { Announced } else { Here };
            match held.hold(*size + 10, arrival) {
                Ok(()) if *size + 10 == 300 => {
                    ended += 1;
                    waiting.swap_remove(index);
                }
                Ok(()) => *size += 10,
                Err(_) => {
                    refused += 1;
                    *size = 0;
                }
            }
        }
        println!("50 messages of 300 in 500: all ended, {refused} refusals on the way");
        assert_eq!((ended, octets.held()), (50, 0));
    }
}
