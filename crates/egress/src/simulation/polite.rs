//! Worlds that watch our manners: what a site allows, asks for, or does when it comes back.

use super::{Model, World};
use mail::{Reply, TenantId};
use spool::{OutcomeRecord, Settlement};
use std::collections::HashMap;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

impl World {
    /// How many of these times fall into each span after `from`.
    fn per_span(times: &[Duration], from: Duration, span: Duration) -> Vec<usize> {
        let mut counts = Vec::new();
        for at in times.iter().filter(|at| **at >= from) {
            let index = ((*at - from).as_micros() / span.as_micros()) as usize;
            counts.resize(counts.len().max(index + 1), 0);
            counts[index] += 1;
        }
        counts
    }

    fn delivered(&self) -> usize {
        self.settled().filter(|(_, one)| one.settlement == Settlement::Delivered).count()
    }

    /// Attempts that were for nothing.
    fn deferred(&self) -> Vec<Duration> {
        let attempted = |(at, record): &(Duration, OutcomeRecord)| {
            matches!(record, OutcomeRecord::Attempted(_)).then_some(*at)
        };
        self.records.iter().filter_map(attempted).collect()
    }
}

/// N10: two connections, three messages over each, then a 421.
#[test]
fn a_site_that_takes_two_connections_and_three_messages_over_each_is_given_that() {
    let mut world = World::new(31, |_| {});
    let model = Model { connections_max: 2, messages_max: 3, ..Model::default() };
    world.models.insert("mx.some.example".to_owned(), model);
    world.accept(0, "some.example", 600);
    world.run(SECOND);
    let left = world.lines.len();
    world.most_lines.clear();
    world.run(9 * MINUTE);
    // Once it has said so, never more than two are open.
    assert_eq!((left, world.most_lines["mx.some.example"]), (2, 2));
    assert_eq!(world.delivered(), 600);
    // The first five connections found out about two, and each of those learned three, without an attempt.
    assert_eq!(world.deferred().len(), 3);
    assert!((598 / 3..=220).contains(&world.opened.len()), "{} connections for 600", world.opened.len());
    world.check(600);
}

/// N10, the other half: the house that was told 421 does not come back at once, nor all together.
#[test]
fn a_site_that_answers_every_connection_with_421_is_not_hammered() {
    for words in
        ["too many connections", "too busy", "Too many messages in this session", "rate limit exceeded"]
    {
        let mut world = World::new(32, |_| {});
        let model = Model { down: Some((Duration::ZERO, HOUR)), down_words: Some(words), ..Model::default() };
        world.models.insert("mx.some.example".to_owned(), model);
        world.accept(0, "some.example", 5_000);
        world.run(HOUR);
        assert!(world.opened.len() <= 15, "{words}: {} connections in an hour", world.opened.len());
        world.run(3 * HOUR);
        assert_eq!(world.delivered(), 5_000, "{words}");
    }
}

/// A message that the disk does not give comes back with each retry; the site has not heard of it.
#[test]
fn mail_that_cannot_be_read_takes_no_turn_from_the_rest() {
    let mut world = World::new(35, |config| {
        config.limits.connections_per_minute = Some(1);
        config.limits.messages_per_connection = Some(1);
        config.retry_seconds = vec![5];
    });
    let unread = world.accept(0, "some.example", 1);
    world.unreadable.insert(unread);
    world.run(10 * MINUTE);
    let attempts = world.deferred().len();
    assert!((100..=130).contains(&attempts), "{attempts} attempts in ten minutes");
    world.opened.clear();
    world.accept(0, "some.example", 20);
    world.run(10 * MINUTE + SECOND);
    // Five at once are allowed after a quiet time, whatever could not be read meanwhile.
    assert_eq!(world.delivered(), 5);
    world.unreadable.clear();
    world.run(13 * MINUTE + SECOND);
    assert_eq!(world.delivered(), 5 + 3, "one in a minute, and not one for each that could not be read");
    world.run(HOUR);
    assert_eq!(world.delivered(), 21);
    world.check(21);
}

/// N11: 50,000 messages for one site, which is down for ten minutes and up again.
#[test]
fn a_site_that_comes_back_is_met_by_one_probe_and_a_gentle_ramp() {
    for (seed, words) in [(33, None), (34, Some("4.3.2 system not accepting network messages"))] {
        let mut world = World::new(seed, |_| {});
        let up = 10 * MINUTE;
        let model = Model {
            down: Some((Duration::ZERO, up)),
            down_words: words,
            pace: 20 * SECOND / 1000,
            ..Model::default()
        };
        world.models.insert("mx.some.example".to_owned(), model);
        for _ in 0..50 {
            world.accept(0, "some.example", 1_000);
        }
        world.run(up);
        // Five at first; then one probe at a time, each at the end of a pause of at least a minute.
        let probes = &world.opened[5..];
        assert!((2..=4).contains(&probes.len()), "{probes:?}");
        assert!(probes.windows(2).all(|pair| pair[1] - pair[0] >= MINUTE), "{probes:?}");
        world.run(2 * HOUR);
        assert_eq!(world.delivered(), 50_000);
        world.check(50_000);
        // One connection meets it, and in ten seconds there are no more than twice as many.
        let back = *world.opened.iter().find(|at| **at >= up).unwrap();
        let opened = World::per_span(&world.opened, back, 10 * SECOND);
        assert_eq!(World::per_span(&world.opened, back, 20 * SECOND / 1000)[0], 1);
        // A connection that has carried its hundred messages is followed by another one, so these are messages too.
        assert!(opened[0] <= 10 && opened.windows(2).all(|pair| pair[1] <= 2 * pair[0]), "{opened:?}");
        println!("{words:?}: back after {back:?}, {:?} new connections in ten seconds each", &opened[..6]);
    }
}

/// N10: our own line is broken for ten minutes, and all sites seem to be down.
#[test]
fn sites_that_die_together_are_probed_apart() {
    let mut world = World::new(42, |_| {});
    let up = 10 * MINUTE;
    for site in 0..500 {
        let model = Model { down: Some((Duration::ZERO, up)), ..Model::default() };
        world.models.insert(format!("mx.d{site}.example"), model);
        world.accept(site % 10, &format!("d{site}.example"), 20);
    }
    world.run(up);
    let first = World::per_span(&world.opened, Duration::ZERO, SECOND);
    let probes: usize = first.iter().skip(30).sum();
    let worst = *first.iter().skip(30).max().unwrap();
    println!("{} connections at first, then {probes} probes, {worst} in one second at worst", first[0]);
    assert!((1_000..=2_000).contains(&probes), "{probes} probes of 500 sites in ten minutes");
    assert!(worst <= 40, "{worst} probes in one second");
    world.run(2 * HOUR);
    assert_eq!(world.delivered(), 10_000);
    world.check(10_000);
}

/// N11, the other kind of herd: everything was refused in one minute and is due again.
#[test]
fn what_was_deferred_together_comes_back_spread() {
    let mut world = World::new(35, |config| config.limits.connections = Some(10));
    let model = Model { deferred: 1000, pace: SECOND / 1000, ..Model::default() };
    world.models.insert("mx.some.example".to_owned(), model.clone());
    for _ in 0..50 {
        world.accept(0, "some.example", 1_000);
    }
    world.run(30 * SECOND);
    let due: Vec<Duration> = world
        .records
        .iter()
        .filter_map(|(at, record)| match record {
            OutcomeRecord::Attempted(one) => {
                let ahead = one.next_at.as_millis() - super::START;
                assert!(Duration::from_millis(ahead as u64) > *at);
                Some(Duration::from_millis(ahead as u64))
            }
            OutcomeRecord::Settled(_) => None,
        })
        .collect();
    assert_eq!(due.len(), 50_000, "all were refused once");
    let worst = *World::per_span(&due, Duration::ZERO, SECOND).iter().max().unwrap();
    println!("{worst} of {} are due in the same second at worst", due.len());
    assert!(worst * 20 <= due.len(), "{worst} of {} in one second", due.len());
    world.models.insert("mx.some.example".to_owned(), Model { deferred: 0, ..model });
    world.run(HOUR);
    assert_eq!(world.delivered(), 50_000);
}

#[test]
fn a_pause_is_kept_to_its_end_is_told_and_ends_without_a_wave() {
    let mut world = World::new(36, |_| {});
    let words = "4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume";
    let first = world.accept(0, "mx.yahoodns.net", 1);
    world.refused.insert(first, Reply::new(421, None, words));
    let waits = world.accept(1, "mx.yahoodns.net", 200);
    world.run(SECOND);
    let before = world.opened.len();
    let view = world.dispatcher.why(waits, world.now()).unwrap().pop().unwrap();
    assert_eq!(view.reason.code(), "held");
    assert!(view.reason.sentence().contains("TSS04"), "{}", view.reason.sentence());
    let until = Duration::from_millis((view.until.unwrap().as_millis() - super::START) as u64);
    assert!(until >= HOUR, "{until:?}");
    world.refused.clear();
    world.run(until - SECOND);
    assert_eq!(world.opened.len(), before, "nothing is sent in a pause");
    world.run(until + 10 * MINUTE);
    let after = World::per_span(&world.opened, until, SECOND / 20);
    assert_eq!(after[0], 1, "one connection at first");
    world.run(until + 5 * HOUR);
    assert_eq!(world.delivered(), 201);
}

#[test]
fn an_operator_ends_a_pause_early() {
    let mut world = World::new(37, |_| {});
    let first = world.accept(0, "mx.yahoodns.net", 1);
    world.refused.insert(first, Reply::new(421, None, "4.7.0 [TSS04] temporarily deferred"));
    world.run(SECOND);
    let waits = world.accept(1, "mx.yahoodns.net", 1);
    world.run(2 * SECOND);
    assert_eq!(world.dispatcher.why(waits, world.now()).unwrap()[0].reason.code(), "held");
    let path = world.dispatcher.paths(world.now())[0].path.clone();
    world.dispatcher.handle_resume(&path, world.now());
    world.refused.clear();
    world.run(3 * SECOND);
    assert!(world.dispatcher.why(waits, world.now()).is_none());
    // What was to begin at the end of the pause begins now: more than one connection, long before that.
    for _ in 0..2_000 {
        world.accept(1, "mx.yahoodns.net", 1);
    }
    let most = |world: &World| world.dispatcher.paths(world.now())[0].window;
    let mut seen = 0;
    for second in 4..120 {
        world.run(second * SECOND);
        seen = seen.max(most(&world));
    }
    assert!(seen > 1, "{seen} connection two minutes after the resumption");
}

/// The profile of Comcast says of this reply that it is about the tenant.
#[test]
fn a_reply_about_one_tenant_holds_that_tenant_and_nobody_else() {
    let mut world = World::new(38, |_| {});
    let domain = "a.comcast.net";
    let throttled = world.accept(0, domain, 1);
    let words = "4.1.0 192.0.2.7 Throttled - try again later. RL000010";
    world.refused.insert(throttled, Reply::new(450, None, words));
    world.run(SECOND);
    let (held, goes) = (world.accept(0, domain, 3), world.accept(1, domain, 3));
    world.run(2 * SECOND);
    let told = |world: &World, message| world.dispatcher.why(message, world.now());
    assert!(told(&world, goes).is_none(), "the other tenant is through");
    let view = told(&world, held).unwrap().pop().unwrap();
    assert_eq!((view.reason.code(), view.reason.sentence().contains("RL000010")), ("held", true));
    let queues = world.dispatcher.queues(10, world.now());
    assert_eq!((queues.len(), queues[0].ready), (1, 3));
    world.refused.clear();
    world.run(5 * MINUTE - SECOND);
    assert!(told(&world, held).is_some());
    world.run(5 * MINUTE + 2 * SECOND);
    assert!(told(&world, held).is_none(), "it ended by itself");
    world.run(HOUR);
    let by_tenant = world.settled().fold(HashMap::<TenantId, usize>::new(), |mut counts, (_, one)| {
        *counts.entry(one.tenant).or_default() += 1;
        counts
    });
    assert_eq!(by_tenant.values().sum::<usize>(), 7);
}

/// N6: ten thousand domains whose servers are dead, and one tenant whose domains are new but well.
#[test]
fn domains_that_nobody_answers_for_do_not_delay_the_others() {
    let worst = |dead: usize| {
        let mut world = World::new(40, |_| {});
        for number in 0..dead {
            world.accept(0, &format!("dead{number}.example"), 1);
        }
        let mut accepted = HashMap::new();
        for second in 1..60 {
            world.run(second * SECOND);
            accepted.insert(world.accept(1, &format!("well{second}.example"), 1), world.clock);
        }
        world.run(61 * SECOND);
        let dwell = |(at, one): (Duration, &spool::Settled)| Some(at - *accepted.get(&one.message)?);
        let dwells: Vec<Duration> = world.settled().filter_map(dwell).collect();
        assert_eq!(dwells.len(), 59);
        assert!(
            world.settled().all(|(_, one)| one.settlement == Settlement::Delivered),
            "none of them bounced"
        );
        dwells.into_iter().max().unwrap()
    };
    let (alone, beside) = (worst(0), worst(10_000));
    println!("at worst {alone:?} alone, {beside:?} beside 10,000 dead domains");
    assert!(beside <= alone * 3 / 2, "{alone:?} alone, {beside:?} beside them");
}

/// N6, within one tenant: its dead domains, asked for the first time and then again and again, and its new ones.
#[test]
fn dead_domains_of_a_tenant_do_not_delay_its_own_new_ones() {
    let mut world = World::new(43, |_| {});
    for number in 0..1_500 {
        world.accept(0, &format!("dead{number}.example"), 1);
    }
    let mut accepted = HashMap::new();
    for second in 1..900 {
        world.run(second * SECOND);
        accepted.insert(world.accept(0, &format!("well{second}.example"), 1), world.clock);
    }
    world.run(920 * SECOND);
    let dwell = |(at, one): (Duration, &spool::Settled)| {
        let since = *accepted.get(&one.message)?;
        Some((since, at - since))
    };
    let dwells: Vec<(Duration, Duration)> = world.settled().filter_map(dwell).collect();
    assert_eq!(dwells.len(), 899);
    // At least fifty places of the tenant for ten seconds each: five minutes until all dead domains are known.
    let worst = |from: Duration, to: Duration| {
        let within = dwells.iter().filter(|(since, _)| (from..to).contains(since));
        within.map(|(_, dwell)| *dwell).max().unwrap()
    };
    let (first, again) = (worst(Duration::ZERO, 320 * SECOND), worst(320 * SECOND, HOUR));
    println!("at worst {first:?} while they are new, {again:?} while they are asked for again");
    assert!(world.deferred().len() >= 2_500, "{} attempts in vain", world.deferred().len());
    assert!(first <= 12 * SECOND && again <= SECOND, "{first:?}, then {again:?}");
}

/// F3: messages that keep a connection for half a minute each, and small ones of somebody else for the same site.
#[test]
fn large_messages_leave_a_connection_for_small_ones() {
    let mut world = World::new(41, |_| {});
    for _ in 0..100 {
        let large = world.accept_with(0, "some.example", 1, |accepted| accepted.size = 20 << 20);
        world.slow.insert(large, SECOND * 30);
    }
    let mut accepted = HashMap::new();
    for second in 1..120 {
        world.run(second * SECOND);
        accepted.insert(world.accept(1, "some.example", 1), world.clock);
    }
    world.run(121 * SECOND);
    let dwell = |(at, one): (Duration, &spool::Settled)| Some(at - *accepted.get(&one.message)?);
    let dwells: Vec<Duration> = world.settled().filter_map(dwell).collect();
    let worst = *dwells.iter().max().unwrap();
    assert!(dwells.len() >= 118 && worst <= SECOND / 2, "{} of 119, {worst:?} at worst", dwells.len());
    world.run(2 * HOUR);
    assert_eq!(world.delivered(), 219);
    world.check(219);
}

/// Nothing ticks: with nothing to do there is no time to come back at, and with something it is that time.
#[test]
fn with_nothing_due_nobody_asks_to_be_woken() {
    let mut world = World::new(39, |config| config.idle_seconds = 10);
    assert_eq!(world.dispatcher.poll_timeout(), None);
    world.accept(0, "some.example", 3);
    world.run(5 * SECOND);
    assert_eq!(world.delivered(), 3);
    world.run(MINUTE);
    assert_eq!(world.dispatcher.poll_timeout(), None, "connections are closed and nothing waits");
    let later = world.now().timestamp.saturating_add(HOUR);
    let due = world.now().instant + HOUR;
    world.accept_with(0, "some.example", 1, |accepted| accepted.not_before = Some(later));
    world.run(2 * MINUTE);
    assert_eq!(world.dispatcher.poll_timeout(), Some(due));
    world.run(2 * HOUR);
    let settled = world.settled().last().unwrap().0;
    assert!(settled < MINUTE + HOUR + SECOND, "{settled:?}");
}

/// S6: no descriptor is left for connections. That is nobody's attempt, and no reason to try all the time.
#[test]
fn mail_waits_without_an_attempt_while_we_have_nothing_to_connect_with() {
    let mut world = World::new(38, |_| {});
    for site in 0..20 {
        let short = Some((Duration::ZERO, MINUTE));
        world.models.insert(format!("mx.d{site}.example"), Model { short, ..Model::default() });
        world.accept(0, &format!("d{site}.example"), 50);
    }
    world.run(MINUTE);
    assert_eq!(world.records.len(), 0);
    // At the first go every site may open its five; from then on one is tried every second.
    assert!((150..=161).contains(&world.opened.len()), "{} connections were tried", world.opened.len());
    world.run(2 * MINUTE);
    assert_eq!((world.delivered(), world.deferred().len()), (1_000, 0));
    world.check(1_000);
}

/// What is known of domains is bounded, and a reply is judged by whom it is of all the same.
#[test]
fn a_reply_is_judged_by_its_provider_whatever_was_forgotten_meanwhile() {
    let mut world = World::new(45, |config| config.domains_remembered_max = 1);
    let first = world.accept(0, "mx.yahoodns.net", 1);
    world.slow.insert(first, 30 * SECOND);
    world.refused.insert(first, Reply::new(421, None, "4.7.0 [TSS04] temporarily deferred"));
    world.run(SECOND);
    for number in 0..5 {
        world.accept(1, &format!("other{number}.example"), 1);
        world.run((number + 2) * SECOND);
    }
    world.run(MINUTE);
    let held = world.dispatcher.paths(world.now()).into_iter().filter(|view| view.hold.is_some());
    assert_eq!(held.map(|view| view.path.site.to_string()).collect::<Vec<_>>(), ["mx.mx.yahoodns.net"]);
}
