//! Admit and release: every connection and every message of every path passes here.
//!
//! `admit` checks, in this order, what is cheapest to explain: a hold, a dead path, the window, the site's own limit,
//! that of its family, the rates. A refusal names the barrier and, if it is known, the time; a time that is
//! not known means that a release or a resume changes it. Nothing is counted unless everything allows it.
//!
//! State is kept per path while it is in use and for an hour after; `sweep` forgets the rest, so that what is kept
//! is bounded by the paths that carry mail.

use crate::hold::{Hold, TenantHolds};
use crate::pace::{Pace, Rate};
use crate::permit::{Barrier, NotBefore, Permit};
use crate::rule::Limits;
use crate::window::{Feedback, Window};
use mail::{EgressPath, Instant, Random, SiteName, SourceName, TenantId};
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// How long an unused path is remembered.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// How often a lowered rate grows again, and by how much: a quarter of the full rate in an hour.
const RECOVERY_STEP: Duration = Duration::from_secs(15 * 60);
const RECOVERY_PERCENT: u32 = 6;
/// A rate is never lowered below this part of what the rule says.
const RATE_PERCENT_MIN: u32 = 1;
/// Messages may come early by the share of this time; connections by the initial window.
const MESSAGE_BURST_TIME: Duration = Duration::from_secs(1);
/// How long it is believed that a site takes so many messages over one connection and no more.
const MESSAGES_BELIEVED: Duration = Duration::from_secs(24 * 3600);
/// A dead path is probed later than its pause says, by up to so much of it: when our own line breaks, all paths die in
/// one second, and all of their sites would be called in one second a minute later, and again two minutes after that.
const PROBE_SPREAD_PERCENT: u32 = 40;

/// All paths of the node. One owner, no locks; idle paths are forgotten.
pub struct Shaper {
    paths: HashMap<EgressPath, PathState>,
    /// Open connections per site, over all sources.
    sites: HashMap<SiteName, u32>,
    /// Open connections per source and family.
    families: HashMap<(SourceName, u32), u32>,
    tenant_holds: TenantHolds,
    random: Random,
}

/// What an outcome says about its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// Success or trouble, for the window.
    Feedback(Feedback),
    /// Too many connections.
    FewerConnections,
    /// Too fast: this many per cent of the present rate of messages.
    LowerRate {
        /// 1 to 100.
        percent: u32,
        /// What it says about the site besides.
        feedback: Feedback,
    },
    /// So many messages went over the connection, and the site takes no more over one.
    MessagesPerConnection(u32),
    /// Leave us alone for a while.
    Pause {
        /// From now on.
        time: Duration,
        /// The site's words, for whoever looks at the path.
        reason: String,
    },
}

/// What an operator may see of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathView {
    /// Source and site.
    pub path: EgressPath,
    /// Connections now.
    pub open: u32,
    /// Connections allowed now, rounded down.
    pub window: u32,
    /// Of the provider's rate of messages, what is left after trouble: 100 is all.
    pub rate_percent: u32,
    /// Set while it is suspended.
    pub hold: Option<Hold>,
    /// When it is tried again; none while the site answers.
    pub dead_until: Option<Instant>,
}

struct PathState {
    limits: Limits,
    window: Window,
    connections: Option<Pace>,
    messages: Option<Pace>,
    /// What is left of the rule's rate of messages after trouble.
    rate_percent: u32,
    rate_moved: Instant,
    /// What an operator said last.
    hold: Option<Hold>,
    /// What the site said, the longest of it.
    pause: Option<Hold>,
    /// What the site takes over one connection, as it has shown, and until when that is believed.
    messages_learned: Option<(u32, Instant)>,
    open: u32,
    used: Instant,
}

impl Shaper {
    /// Knows no path; the generator spreads probes of dead ones.
    pub fn new(random: Random) -> Shaper {
        Shaper {
            paths: HashMap::new(),
            sites: HashMap::new(),
            families: HashMap::new(),
            tenant_holds: TenantHolds::default(),
            random,
        }
    }

    /// One connection on `path`, and the first message over it.
    ///
    /// # Errors
    /// The first barrier, and nothing is counted: `Held` until the hold ends, if it does; `Dead` until the
    /// probe; `Window`, `Site` or `Family`, without a time, for a release changes them; `ConnectionRate` or
    /// `MessageRate` until the next may come.
    pub fn admit(&mut self, path: &EgressPath, limits: &Limits, now: Instant) -> Result<Permit, NotBefore> {
        let at_site = self.sites.get(&path.site).copied().unwrap_or(0);
        let family = limits.family.map(|family| (path.source.clone(), family.number));
        let in_family = family.as_ref().and_then(|key| self.families.get(key)).copied().unwrap_or(0);
        let state = self.state(path, limits, now);
        state.check_open(now)?;
        if state.open >= state.window.size(now) {
            return Err(NotBefore { barrier: Barrier::Window, at: None });
        }
        if limits.connections_per_site.is_some_and(|limit| at_site >= limit) {
            return Err(NotBefore { barrier: Barrier::Site, at: None });
        }
        if limits.family.is_some_and(|family| in_family >= family.connections) {
            return Err(NotBefore { barrier: Barrier::Family, at: None });
        }
        check(&state.connections, Barrier::ConnectionRate, now)?;
        check(&state.messages, Barrier::MessageRate, now)?;
        let counted = [&mut state.connections, &mut state.messages]
            .map(|pace| pace.as_mut().map(|pace| pace.count(now)));
        state.open += 1;
        let messages = state.messages_per_connection(now);
        *self.sites.entry(path.site.clone()).or_default() += 1;
        if let Some(key) = family {
            *self.families.entry(key).or_default() += 1;
        }
        let family = limits.family.map(|family| family.number);
        Ok(Permit { path: path.clone(), family, messages, counted })
    }

    /// One more message over a connection that is open already.
    ///
    /// # Errors
    /// `Held`, `Dead` or `MessageRate`, with the times that [`Shaper::admit`] gives; nothing is counted then.
    pub fn admit_message(
        &mut self,
        path: &EgressPath,
        limits: &Limits,
        now: Instant,
    ) -> Result<(), NotBefore> {
        let state = self.state(path, limits, now);
        state.check_open(now)?;
        check(&state.messages, Barrier::MessageRate, now)?;
        if let Some(pace) = &mut state.messages {
            pace.count(now);
        }
        Ok(())
    }

    /// What one delivery, or one attempt to connect, said about the path.
    pub fn learn(&mut self, path: &EgressPath, signal: Signal, now: Instant) {
        let Some(state) = self.paths.get_mut(path) else { return };
        let was_dead = state.window.wakes(now).is_some();
        match signal {
            Signal::Feedback(feedback) => state.window.feedback(feedback, state.open, now),
            // With one connection there is nothing to take away but that one.
            Signal::FewerConnections if state.open <= 1 => {
                state.window.feedback(Feedback::Gone, state.open, now);
            }
            Signal::FewerConnections => state.window.shrink(state.open, now),
            Signal::MessagesPerConnection(messages) => {
                let known = state.messages_per_connection(now);
                state.messages_learned = Some((known.min(messages.max(1)), now + MESSAGES_BELIEVED));
            }
            Signal::LowerRate { percent, feedback } => {
                state.rate_percent = (state.rate_percent * percent.min(100) / 100).max(RATE_PERCENT_MIN);
                state.rate_moved = now;
                state.apply_rates();
                state.window.feedback(feedback, state.open, now);
            }
            Signal::Pause { time, reason } => {
                // No wave at the end of a pause: it starts again with one connection.
                state.window.collapse(now + time);
                state.pause(Hold { until: Some(now + time), reason });
            }
        }
        if !was_dead && let Some(wakes) = state.window.wakes(now) {
            let pause = wakes.saturating_since(now);
            let room = pause * PROBE_SPREAD_PERCENT / 100;
            let room = room.min(state.limits.window.pause_max.saturating_sub(pause));
            let more = Duration::from_micros(self.random.below(room.as_micros() as u64 + 1));
            state.window.oversleep(more, now);
        }
    }

    /// The connection is closed. What it taught was said with `learn`.
    pub fn release(&mut self, permit: Permit, now: Instant) {
        if let Some(state) = self.paths.get_mut(&permit.path) {
            state.open = state.open.saturating_sub(1);
            state.used = now;
        }
        one_less(&mut self.sites, &permit.path.site);
        if let Some(number) = permit.family {
            one_less(&mut self.families, &(permit.path.source, number));
        }
    }

    /// The connection was never opened, for a reason of ours: what `admit` counted of the rates is free again. A site that
    /// was spoken to, or called, has had its turn.
    pub fn give_back(&mut self, permit: Permit, now: Instant) {
        if let Some(state) = self.paths.get_mut(&permit.path) {
            let paces = [&mut state.connections, &mut state.messages];
            for (pace, counted) in paces.into_iter().zip(permit.counted) {
                if let (Some(pace), Some(counted)) = (pace, counted) {
                    pace.give_back(counted, now);
                }
            }
        }
        self.release(permit, now);
    }

    /// Suspends a path by hand, in place of an earlier hold by hand. A pause that the site asked for is kept besides.
    pub fn hold(&mut self, path: &EgressPath, limits: &Limits, hold: Hold, now: Instant) {
        self.state(path, limits, now).hold = Some(hold);
    }

    /// Suspends the mail of one tenant on a path; the others go on.
    pub fn hold_tenant(&mut self, path: &EgressPath, tenant: TenantId, hold: Hold, now: Instant) {
        self.tenant_holds.suspend(path, tenant, hold, now);
    }

    /// Whether the mail of `tenant` may go on `path`; asked before `admit`.
    ///
    /// # Errors
    /// `Held` while this tenant is held back there, until its hold ends, if it does. Of a hold of the whole
    /// path `admit` knows.
    pub fn check_tenant(&self, path: &EgressPath, tenant: TenantId, now: Instant) -> Result<(), NotBefore> {
        match self.tenant_holds.on(path, tenant, now) {
            Some(hold) => Err(NotBefore { barrier: Barrier::Held(hold.reason.clone()), at: hold.until }),
            None => Ok(()),
        }
    }

    /// Why the mail of `tenant` for `site` is suspended, if it is.
    pub fn tenant_hold(&self, site: &SiteName, tenant: TenantId, now: Instant) -> Option<&Hold> {
        self.tenant_holds.at_site(site, tenant, now)
    }

    /// Connections that a path may have open, as far as it is known.
    pub fn window(&self, path: &EgressPath, now: Instant) -> Option<u32> {
        self.paths.get(path).map(|state| state.window.size(now))
    }

    /// Messages that a connection of a path may carry, by what is known now.
    pub fn messages_per_connection(&self, path: &EgressPath, now: Instant) -> Option<u32> {
        self.paths.get(path).map(|state| state.messages_per_connection(now))
    }

    /// Ends a hold, those of single tenants too, and lets a dead path be probed at once.
    pub fn resume(&mut self, path: &EgressPath, now: Instant) {
        self.tenant_holds.resume(path);
        if let Some(state) = self.paths.get_mut(path) {
            (state.hold, state.pause) = (None, None);
            state.window.wake(now);
        }
    }

    /// Forgets paths that carried nothing for an hour and are not held.
    pub fn sweep(&mut self, now: Instant) {
        self.tenant_holds.sweep(now);
        self.paths.retain(|_, state| {
            let busy = state.open > 0 || state.window.wakes(now).is_some();
            state.suspended(now).is_some() || busy || now.saturating_since(state.used) < REMEMBERED
        });
    }

    /// Every path that is remembered, in no order.
    pub fn paths(&self, now: Instant) -> impl Iterator<Item = PathView> {
        self.paths.iter().map(move |(path, state)| PathView {
            path: path.clone(),
            open: state.open,
            window: state.window.size(now),
            rate_percent: state.rate_percent,
            hold: state.suspended(now).cloned(),
            dead_until: state.window.wakes(now),
        })
    }

    /// Paths that are remembered.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// No path is remembered.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    fn state(&mut self, path: &EgressPath, limits: &Limits, now: Instant) -> &mut PathState {
        // Two look-ups for a new path, one without copying two names for a known one.
        if !self.paths.contains_key(path) {
            self.paths.insert(path.clone(), PathState::new(*limits, now));
        }
        let Some(state) = self.paths.get_mut(path) else { unreachable!("it was put in above") };
        state.used = now;
        if state.limits != *limits {
            state.limits = *limits;
            state.window.set_rule(limits.window);
            state.apply_rates();
        }
        state.recover(now);
        state
    }
}

impl PathState {
    fn new(limits: Limits, now: Instant) -> PathState {
        let mut state = PathState {
            limits,
            window: Window::new(limits.window),
            connections: None,
            messages: None,
            rate_percent: 100,
            rate_moved: now,
            hold: None,
            pause: None,
            messages_learned: None,
            open: 0,
            used: now,
        };
        state.apply_rates();
        state
    }

    fn check_open(&self, now: Instant) -> Result<(), NotBefore> {
        if let Some(hold) = self.suspended(now) {
            return Err(NotBefore { barrier: Barrier::Held(hold.reason.clone()), at: hold.until });
        }
        match self.window.wakes(now) {
            Some(at) => Err(NotBefore { barrier: Barrier::Dead, at: Some(at) }),
            None => Ok(()),
        }
    }

    fn messages_per_connection(&self, now: Instant) -> u32 {
        let learned = self.messages_learned.filter(|(_, until)| *until > now);
        learned.map_or(self.limits.messages_per_connection, |(most, _)| {
            most.min(self.limits.messages_per_connection)
        })
    }

    fn pause(&mut self, pause: Hold) {
        if self.pause.as_ref().is_none_or(|known| pause.is_longer_than(known)) {
            self.pause = Some(pause);
        }
    }

    /// The stricter of what an operator and the site said, while it lasts.
    fn suspended(&self, now: Instant) -> Option<&Hold> {
        let [hold, pause] = [&self.hold, &self.pause].map(|one| one.as_ref().filter(|one| !one.is_over(now)));
        match (hold, pause) {
            (Some(hold), Some(pause)) if pause.is_longer_than(hold) => Some(pause),
            (None, pause) => pause,
            (hold, _) => hold,
        }
    }

    fn recover(&mut self, now: Instant) {
        while self.rate_percent < 100 && now.saturating_since(self.rate_moved) >= RECOVERY_STEP {
            self.rate_percent = (self.rate_percent + RECOVERY_PERCENT).min(100);
            self.rate_moved = self.rate_moved + RECOVERY_STEP;
            self.apply_rates();
        }
    }

    fn apply_rates(&mut self) {
        adjust(&mut self.connections, self.limits.connection_rate, self.limits.window.initial);
        let lowered = self.limits.message_rate.map(|rate| Rate {
            // Of the time, not of the count: a tenth of 1/s is one in ten seconds.
            per: rate.per * 100 / self.rate_percent,
            ..rate
        });
        let burst = lowered.map_or(0, |rate| rate.within(MESSAGE_BURST_TIME));
        adjust(&mut self.messages, lowered, burst);
    }
}

/// Counts down, and forgets what is at zero.
fn one_less<K: Eq + Hash>(counts: &mut HashMap<K, u32>, key: &K) {
    if let Some(open) = counts.get_mut(key) {
        *open = open.saturating_sub(1);
        if *open == 0 {
            counts.remove(key);
        }
    }
}

fn check(pace: &Option<Pace>, barrier: Barrier, now: Instant) -> Result<(), NotBefore> {
    match pace.as_ref().map(|pace| pace.check(now)) {
        Some(Err(at)) => Err(NotBefore { barrier, at: Some(at) }),
        Some(Ok(())) | None => Ok(()),
    }
}

/// Gives `pace` the rate, keeping what it has counted.
fn adjust(pace: &mut Option<Pace>, rate: Option<Rate>, burst: u32) {
    match (pace, rate) {
        (pace, None) => *pace = None,
        (Some(pace), Some(rate)) => pace.set_rate(rate, burst),
        (pace @ None, Some(rate)) => *pace = Some(Pace::new(rate, burst)),
    }
}
