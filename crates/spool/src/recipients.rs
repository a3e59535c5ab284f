//! How far the recipients of one waiting message are: which are open, how often each was tried, when it is due again.
//!
//! There is one of these for every waiting message, and most messages have one recipient: that one needs no memory of
//! its own. Pure.

use crate::RecipientState;
use mail::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Recipients {
    /// One, and it is open. `next_at` counts only after an attempt.
    One {
        attempt: u32,
        next_at: i64,
    },
    Many(Box<Many>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Many {
    /// One bit per open recipient.
    open: Box<[u64]>,
    /// By recipient; empty until the first attempt.
    due: Box<[Due]>,
    /// How many are open and were never tried.
    untried: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Due {
    attempt: u32,
    next_at: i64,
}

/// Whether anybody is still waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    Some,
    None,
}

impl Recipients {
    /// All open and untried; none if there are no recipients.
    pub(crate) fn new(count: usize) -> Option<Recipients> {
        if count <= 1 {
            return (count == 1).then_some(Recipients::One { attempt: 0, next_at: 0 });
        }
        let mut open = vec![u64::MAX; count / 64];
        open.extend((!count.is_multiple_of(64)).then_some((1 << (count % 64)) - 1));
        Some(Recipients::Many(Box::new(Many {
            open: open.into(),
            due: Box::default(),
            untried: count as u32,
        })))
    }

    /// Those of `count` that are listed are open; none if none is.
    pub(crate) fn of(count: usize, states: &[RecipientState]) -> Option<Recipients> {
        let mut recipients = Recipients::new(count)?;
        if let Recipients::Many(many) = &mut recipients {
            many.open.fill(0);
            many.untried = 0;
        }
        let mut any = false;
        for state in states.iter().filter(|state| (state.recipient as usize) < count) {
            any = true;
            if let Recipients::Many(many) = &mut recipients
                && !many.is_open(state.recipient)
            {
                many.open[state.recipient as usize / 64] |= 1 << (state.recipient % 64);
                many.untried += 1;
            }
            if let Some(next_at) = state.next_at {
                recipients.attempt(state.recipient, state.attempt, next_at);
            }
        }
        any.then_some(recipients)
    }

    /// The last attempt counts. One that does not exist or is closed already is nobody's.
    pub(crate) fn attempt(&mut self, recipient: u32, attempt: u32, next_at: Timestamp) {
        let new = Due { attempt, next_at: next_at.as_millis() };
        match self {
            Recipients::One { attempt, next_at } if recipient == 0 => {
                (*attempt, *next_at) = (new.attempt, new.next_at);
            }
            Recipients::One { .. } => {}
            Recipients::Many(many) if many.is_open(recipient) => {
                if many.due.is_empty() {
                    many.due = vec![Due::default(); many.open.len() * 64].into();
                }
                let before = many.was_tried(recipient);
                many.due[recipient as usize] = new;
                // Whatever a record says: the count is that of the states.
                match (before, many.was_tried(recipient)) {
                    (false, true) => many.untried -= 1,
                    (true, false) => many.untried += 1,
                    (false, false) | (true, true) => {}
                }
            }
            Recipients::Many(_) => {}
        }
    }

    pub(crate) fn close(&mut self, recipient: u32) -> Left {
        match self {
            Recipients::One { .. } if recipient == 0 => Left::None,
            Recipients::One { .. } => Left::Some,
            Recipients::Many(many) => {
                if many.is_open(recipient) {
                    many.open[recipient as usize / 64] &= !(1 << (recipient % 64));
                    many.untried -= u32::from(!many.was_tried(recipient));
                }
                if many.open.iter().all(|word| *word == 0) { Left::None } else { Left::Some }
            }
        }
    }

    /// Whether each open one has been tried: nobody wants the message before one of them is due again.
    pub(crate) fn all_were_tried(&self) -> bool {
        match self {
            Recipients::One { attempt, .. } => *attempt > 0,
            Recipients::Many(many) => many.untried == 0,
        }
    }

    /// The open ones.
    pub(crate) fn states(&self) -> Vec<RecipientState> {
        match self {
            Recipients::One { attempt, next_at } => {
                vec![state(0, Due { attempt: *attempt, next_at: *next_at })]
            }
            Recipients::Many(many) => {
                let all = (0..many.open.len() as u32 * 64).filter(|recipient| many.is_open(*recipient));
                all.map(|at| state(at, many.due.get(at as usize).copied().unwrap_or_default())).collect()
            }
        }
    }
}

impl Many {
    fn is_open(&self, recipient: u32) -> bool {
        self.open.get(recipient as usize / 64).is_some_and(|word| word >> (recipient % 64) & 1 == 1)
    }

    fn was_tried(&self, recipient: u32) -> bool {
        self.due.get(recipient as usize).is_some_and(|due| due.attempt > 0)
    }
}

fn state(recipient: u32, due: Due) -> RecipientState {
    let next_at = (due.attempt > 0).then_some(Timestamp::from_millis(due.next_at));
    RecipientState { recipient, attempt: due.attempt, next_at }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(recipients: &Recipients) -> Vec<u32> {
        recipients.states().iter().map(|state| state.recipient).collect()
    }

    #[test]
    fn each_is_closed_once_and_out_of_range_is_ignored() {
        for count in [1_usize, 2, 63, 64, 65, 128, 1_000] {
            let mut recipients = Recipients::new(count).unwrap();
            assert_eq!(open(&recipients).len(), count);
            assert_eq!(recipients.close(count as u32 + 5), Left::Some);
            for recipient in (1..count as u32).rev() {
                assert_eq!(recipients.close(recipient), Left::Some);
                assert_eq!(recipients.close(recipient), Left::Some);
            }
            assert_eq!(open(&recipients), [0]);
            assert_eq!(recipients.close(0), Left::None, "{count}");
        }
        assert_eq!(Recipients::new(0), None);
    }

    #[test]
    fn the_last_attempt_counts_and_a_closed_one_has_none() {
        for count in [1_usize, 2, 100] {
            let mut recipients = Recipients::new(count).unwrap();
            recipients.attempt(0, 1, Timestamp::from_millis(5));
            recipients.attempt(0, 2, Timestamp::from_millis(9));
            recipients.attempt(count as u32, 7, Timestamp::from_millis(1));
            let next_at = Some(Timestamp::from_millis(9));
            assert_eq!(recipients.states()[0], RecipientState { recipient: 0, attempt: 2, next_at });
            if count > 1 {
                recipients.close(0);
                recipients.attempt(0, 3, Timestamp::from_millis(11));
                assert_eq!(
                    recipients.states()[0],
                    RecipientState { recipient: 1, attempt: 0, next_at: None }
                );
            }
        }
    }

    #[test]
    fn all_were_tried_when_each_open_one_was() {
        for count in [1_u32, 2, 3, 70] {
            let mut recipients = Recipients::new(count as usize).unwrap();
            for recipient in 1..count {
                recipients.attempt(recipient, 1, Timestamp::from_millis(5));
                recipients.attempt(recipient, 2, Timestamp::from_millis(6));
                assert!(!recipients.all_were_tried(), "{recipient} of {count}");
                let again = Recipients::of(count as usize, &recipients.states()).unwrap();
                assert!(!again.all_were_tried());
            }
            if count > 2 {
                // A record that says there was no attempt is none.
                recipients.attempt(2, 0, Timestamp::from_millis(7));
                assert_eq!(recipients.close(2), Left::Some);
                assert_eq!(recipients.close(2), Left::Some);
            }
            assert!(!recipients.all_were_tried());
            if count > 1 {
                let mut other = recipients.clone();
                assert_eq!(other.close(0), Left::Some);
                assert!(other.all_were_tried(), "the one that was not is settled");
            }
            recipients.attempt(0, 1, Timestamp::from_millis(5));
            assert!(recipients.all_were_tried());
            assert!(Recipients::of(count as usize, &recipients.states()).unwrap().all_were_tried());
        }
    }

    #[test]
    fn a_state_written_down_is_the_same_state_again() {
        for count in [1_usize, 2, 70] {
            let mut recipients = Recipients::new(count).unwrap();
            recipients.attempt(count as u32 - 1, 3, Timestamp::from_millis(-4));
            if count > 1 {
                recipients.close(0);
            }
            let again = Recipients::of(count, &recipients.states()).unwrap();
            assert_eq!(again.states(), recipients.states());
        }
        assert_eq!(Recipients::of(3, &[]), None);
        let beyond = RecipientState { recipient: 3, attempt: 0, next_at: None };
        assert_eq!(Recipients::of(3, &[beyond]), None, "what does not exist is not open");
    }
}
