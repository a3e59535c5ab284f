//! D1: kill -9 at a random moment under mixed load, again and again.
//!
//! Several worlds at once, each with a house, a lab, a database and a ledger of its own: while one starts, another is
//! under load.

use crate::site::Site;
use posthouse_tests::arrivals::Arrivals;
use posthouse_tests::house::{House, let_pass, now_ms, rounds};
use posthouse_tests::ledger::{Cut, Ledger, Verdict};
use posthouse_tests::load::{Load, Mix, Shape};
use std::sync::Arc;
use std::time::Duration;

const MIX: Mix = Mix { smtp: 6, http: 2 };
const WORLDS: usize = 2;
/// To the one site there is: no kill may double more deliveries than that.
const CONNECTIONS: usize = 10;

/// What became of one world.
struct Told {
    verdict: Verdict,
    /// Connections with the site at each kill.
    open: Vec<usize>,
}

#[test]
fn d1_nothing_acknowledged_is_lost_over_many_kills() {
    let rounds = rounds(200, 2_000);
    let began = now_ms();
    let worlds: Vec<_> = (0..WORLDS)
        .map(|world| {
            let share = (rounds + world) / WORLDS;
            std::thread::spawn(move || live(world, share))
        })
        .collect();
    let told: Vec<Told> = worlds.into_iter().map(|world| world.join().unwrap()).collect();
    let minutes = (now_ms() - began) as f64 / 60_000.0;
    let sum = |count: fn(&Verdict) -> usize| told.iter().map(|one| count(&one.verdict)).sum::<usize>();
    let (messages, recipients) = (sum(|one| one.messages), sum(|one| one.recipients));
    let (extra, unacknowledged) = (sum(Verdict::extra_copies), sum(|one| one.unacknowledged));
    let worst = told.iter().map(|one| one.verdict.extra_per_cut_max()).max().unwrap_or(0);
    let window = told.iter().map(|one| one.verdict.window_ms).max().unwrap_or(0);
    let open: Vec<usize> = told.iter().flat_map(|one| &one.open).copied().collect();
    println!(
        "D1: {rounds} kills in {minutes:.1} minutes, {messages} messages to {recipients} recipients acknowledged, 0 \
         lost; {extra} extra copies ({:.2} for a kill, {:.2} % of recipients), at most {worst} for a kill, with {:.1} \
         connections open on average and {CONNECTIONS} at most; their first copies at most {window} ms before it; \
         {unacknowledged} came without an answer",
        extra as f64 / rounds as f64,
        extra as f64 * 100.0 / recipients as f64,
        open.iter().sum::<usize>() as f64 / open.len() as f64,
    );
    assert!(messages >= rounds * 5, "only {messages} messages were acknowledged");
    assert!(worst <= CONNECTIONS, "{worst} extra copies for one kill with {CONNECTIONS} connections at most");
}

fn live(world: usize, rounds: usize) -> Told {
    let mut site = Site::new();
    // Small segments: a restart writes the last one anew, and many are begun.
    site.plot.set("spool.segment_octets_max", "2097152");
    site.plot.set("egress.limits.connections", &CONNECTIONS.to_string());
    let mut house = site.start();
    let (tenant, _) = house.onboard("kilo", "kilo.example", &format!("127.2.1.{}", 80 + world));
    house.lab("PUT", "/providers/plain", Some(&serde_json::json!({"defer_rate": 0.05})));
    let operator = house.operator();
    let ledger = Arc::new(Ledger::default());
    let (mut arrivals, mut cuts, mut open) = (Arrivals::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let load = Load::start(&site.door(&house, &tenant), &ledger, MIX, Shape::Mixed);
        // Co-prime steps: the kills fall everywhere between group commits, deliveries and records.
        let_pass(Duration::from_millis(100 + (round * WORLDS + world) as u64 * 137 % 401));
        open.extend(connections(&house, &operator));
        let from_ms = now_ms();
        house.kill();
        load.finish();
        arrivals.collect(&site.lab);
        cuts.push(Cut { from_ms, to_ms: now_ms() });
        house = site.start();
    }
    let verdict = ledger.settle(&house, &site.lab, &mut arrivals, &cuts);
    ledger.is_told(&house, &tenant.key, &arrivals);
    assert_eq!(house.stop().code(), Some(0));
    Told { verdict, open }
}

/// With all sites. The operator's token is good for fifteen minutes; after that nobody counts.
fn connections(house: &House, operator: &str) -> Option<usize> {
    let (status, paths) = house.api("GET", "/v1/paths", operator, None);
    let paths = paths["data"].as_array().filter(|_| status == 200)?;
    Some(paths.iter().filter_map(|path| path["open"].as_u64()).sum::<u64>() as usize)
}
