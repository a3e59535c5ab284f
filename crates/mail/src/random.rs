//! The one generator that is handed to whoever needs randomness.
//!
//! Seeded from the operating system by the binary, from a number by the simulator; the same code runs in both. It is
//! ChaCha20, so it is good enough for secrets when the seed is. Nothing in the pure crates creates one.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// ChaCha20. Whoever draws has it `&mut`, so the same seed gives the same run.
pub struct Random(ChaCha20Rng);

impl Random {
    /// The same seed gives the same numbers on every machine.
    pub fn from_seed(seed: [u8; 32]) -> Random {
        Random(ChaCha20Rng::from_seed(seed))
    }

    /// For simulations and tests: the whole run follows from one number.
    pub fn from_number(seed: u64) -> Random {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Random::from_seed(bytes)
    }

    /// A generator of its own for another task; both go on independently.
    pub fn fork(&mut self) -> Random {
        let mut seed = [0; 32];
        self.fill(&mut seed);
        Random::from_seed(seed)
    }

    /// Overwrites all of it.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// For keys, nonces and ids.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// Any number, each as likely.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in `0..bound`; 0 for a bound of 0. The bias is below 2^-32 for the bounds we use.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(bound)) >> 64) as u64
    }

    /// `value` moved by at most `percent` up or down.
    pub fn jitter(&mut self, value: std::time::Duration, percent: u32) -> std::time::Duration {
        let micros = value.as_micros() as u64;
        let span = micros.saturating_mul(u64::from(percent)) / 100;
        let moved = micros.saturating_sub(span).saturating_add(self.below(span.saturating_mul(2) + 1));
        std::time::Duration::from_micros(moved)
    }
}

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_a_fork_gives_others() {
        let (mut a, mut b) = (Random::from_number(7), Random::from_number(7));
        assert_eq!(a.number(), b.number());
        let mut fork = a.fork();
        assert_ne!(fork.number(), b.number());
    }

    #[test]
    fn below_and_jitter_stay_in_bounds() {
        let mut random = Random::from_number(1);
        assert_eq!(random.below(0), 0);
        for _ in 0..1000 {
            assert!(random.below(10) < 10);
            let moved = random.jitter(Duration::from_secs(100), 20);
            assert!(moved >= Duration::from_secs(80) && moved <= Duration::from_secs(120));
        }
    }
}
