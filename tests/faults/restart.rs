//! A start with a large queue (D11): the door takes mail and delivers it while the journal is still gone through for what
//! waits from before, and afterwards all of that comes, once.

use crate::site::Site;
use posthouse_tests::arrivals::{Arrivals, body_of, hash_of};
use posthouse_tests::client::Door;
use posthouse_tests::house::{House, now_ms, rounds, wait_for};
use posthouse_tests::ledger::{Cut, Ledger};
use posthouse_tests::load::{Load, Mix, Press, Shape};
use posthouse_tests::strace::{SLOW_READS, can_trace};
use serde_json::json;
use std::sync::Arc;

/// Of each message of `Shape::Wide`.
const OF_ONE: usize = 50;
fn percent(house: &House) -> Option<u64> {
    let (_, ready) = house.api("GET", "/ready", "", None);
    assert!(ready["journal"].is_object(), "{ready}");
    ready["journal"]["loading_percent"].as_u64()
}

/// One after the other, in the ledger; the first recipient of each.
fn submit(door: &Door, ledger: &Ledger, count: usize) -> Vec<String> {
    let mut press = Press::new("meanwhile", &door.sender, Shape::Small);
    let mut client = door.connect().unwrap();
    let one = |_| {
        let message = press.next();
        let number = ledger.offer(message.recipients.clone(), hash_of(body_of(&message.raw)));
        let reply = client.submit(&door.sender, &message.recipients, &message.raw).unwrap();
        ledger.acknowledge(number, reply.message().unwrap_or_else(|| panic!("{reply:?}")));
        message.recipients[0].clone()
    };
    (0..count).map(one).collect()
}

#[test]
fn d11_thousands_of_waiting_recipients_do_not_keep_the_door_closed_at_a_start() {
    if !can_trace("D11") {
        return;
    }
    let wanted = rounds(10_000, 30_000).max(10_000);
    let mut site = Site::new();
    for (key, value) in [
        ("spool.segment_octets_max", "65536"),
        ("egress.limits.connections", "50"),
        ("egress.limits.connections_per_minute", "0"),
        ("egress.limits.messages_per_connection", "1000"),
    ] {
        site.plot.set(key, value);
    }
    let house = site.start();
    let (tenant, _) = house.onboard("many", "many.example", "127.2.0.178");
    house.lab("PUT", "/providers/plain", Some(&json!({"outage": true})));
    // Nothing of it is told, so that today's quotas stand in the journal alone.
    let untold = site.database.hold("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE");
    let (ledger, mut arrivals) = (Arc::new(Ledger::default()), Arrivals::new());
    let load = Load::start(&site.door(&house, &tenant), &ledger, Mix { smtp: 8, http: 0 }, Shape::Wide);
    wait_for("a large queue", || (ledger.acknowledged() >= wanted / OF_ONE).then_some(()));
    load.finish();
    let waiting = ledger.acknowledged() * OF_ONE;
    let from_ms = now_ms();
    house.kill();
    drop(untold);
    site.lab.control_put("/providers/plain", &json!({"outage": false}));

    site.plot.start_through(&SLOW_READS);
    let house = site.start();
    let started_ms = now_ms() - from_ms;
    let cut = Cut { from_ms, to_ms: now_ms() };
    let first = percent(&house).expect("/ready says that it is loading");
    let meanwhile = submit(&site.door(&house, &tenant), &ledger, 20);
    meanwhile.iter().for_each(|recipient| drop(house.arrivals(recipient, 1)));
    let then = percent(&house).expect("the mail came while it was still loading");
    let came_ms = now_ms() - from_ms;
    // Nothing from before can be handed out before all is read.
    arrivals.collect(&site.lab);
    let early = arrivals.copies.len() - meanwhile.len();
    wait_for("the journal to be read", || percent(&house).is_none().then_some(()));
    let loaded_ms = now_ms() - from_ms;
    let verdict = ledger.settle(&house, &site.lab, &mut arrivals, &[cut]);
    println!(
        "D11: {waiting} recipients waiting at a kill: up after {started_ms} ms; at {first} to {then} % of the journal 20 \
         messages taken and delivered ({came_ms} ms); all read after {loaded_ms} ms, all delivered after {} ms; 0 lost, \
         {} twice",
        now_ms() - from_ms,
        verdict.extra_copies()
    );
    assert!(first <= then && then < 100);
    assert_eq!((early, verdict.extra_copies()), (0, 0), "no session was open at the kill");
    let log = site.plot.log();
    assert!(
        log.contains("what was used today is not known to the end of the journal yet"),
        "the doors waited for it"
    );
    ledger.is_told(&house, &tenant.key, &arrivals);
    assert_eq!(house.stop().code(), Some(0));
}
