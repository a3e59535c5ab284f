//! What the house itself cannot do just now: a message for which there is no memory, or that the journal cannot read. It is
//! no attempt, nobody is called for it, and it goes out when there is room.
#![allow(clippy::unwrap_used)]

mod house;

use bytes::Bytes;
use house::metrics::Metrics;
use house::site::{Say, Site, free_port, good, scripted, usual};
use house::{House, Told};
use mail::MessageId;
use smtp::server::TlsMode;
use spool::Settlement;

#[tokio::test]
async fn a_message_that_cannot_be_read_for_want_of_memory_waits_until_it_can() {
    let metrics = Metrics::new();
    let _counting = metrics.count();
    let (port, _keep) = free_port().await;
    let site = good(141, port, TlsMode::None).await;
    let journal = spool::Config { body_cache_octets_max: 0, ..spool::Config::default() };
    let mut house = House::with_spool(port, journal, |config| config.retry_seconds = vec![600]).await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    house.disk.fail_reads(Some(libc::ENOMEM));
    house.send(&["a@dest.example"]).await;
    while metrics.counter("posthouse_egress_shortages_total") < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(site.connections(), 0, "no connection is opened for what cannot be sent over it");
    assert_eq!(house.handle().paths().await.unwrap()[0].dead_until, None);
    house.disk.fail_reads(None);
    // Nothing was told before it, and it was the first attempt.
    let settled = house.settled().await;
    assert_eq!((settled.settlement, settled.attempt), (Settlement::Delivered, 1));
    house.stop().await;
}

/// The journal lets a reader wait for five seconds; then it says that it is busy.
#[tokio::test]
async fn a_message_for_which_there_is_no_room_waits_for_the_one_that_has_it() {
    fn slow(_: u32, line: &str) -> Say {
        if line == "." { Say::Late(6_500, "250 taken") } else { usual(line) }
    }
    let metrics = Metrics::new();
    let _counting = metrics.count();
    let (port, _keep) = free_port().await;
    let (first, second) = (scripted(142, port, slow).await, good(143, port, TlsMode::None).await);
    let journal = spool::Config { loaded_octets_max: 1 << 20, ..spool::Config::default() };
    let mut house = House::with_spool(port, journal, |config| config.retry_seconds = vec![600]).await;
    house.route("slow.example", 10, "mx.slow.example", first.address);
    house.route("dest.example", 10, "mx.dest.example", second.address);
    let large = Bytes::from(format!("Subject: x\r\n\r\n{}", "0123456789abcde\r\n".repeat(40_000)));
    let slow = house.send_body(&["a@slow.example"], large.clone(), |_| {}).await;
    while first.final_dots() == 0 {
        tokio::task::yield_now().await;
    }
    let waits = house.send_body(&["a@dest.example"], large, |_| {}).await;
    // A small one passes by.
    let small = house.send(&["b@dest.example"]).await;
    for message in [small, slow, waits] {
        let settled = house.settled().await;
        assert_eq!((settled.message, settled.attempt), (message, 1));
        assert_eq!(settled.settlement, Settlement::Delivered);
    }
    assert_eq!(metrics.counter("posthouse_egress_crowded_total"), 1);
    assert_eq!(second.arrivals().len(), 2);
    house.stop().await;
}

/// A house that has sent `a`, and to which the disk gives none of what was taken since: `b`, `c` and `d`, the first of
/// which is owed at least.
async fn owed(
    port: u16,
    site: &Site,
    change: impl FnOnce(&mut egress::Config),
) -> (House, MessageId, Vec<MessageId>) {
    let journal = spool::Config {
        body_cache_octets_max: 0,
        recent_records_max: 0,
        read_retry_seconds_max: 0,
        ..spool::Config::default()
    };
    let mut house = House::with_spool(port, journal, change).await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    let sent = house.send(&["a@dest.example"]).await;
    assert_eq!(house.settled().await.settlement, Settlement::Delivered);
    house.disk.fail_reads(Some(libc::EIO));
    let mut waiting = Vec::new();
    for name in ["b@dest.example", "c@dest.example", "d@dest.example"] {
        waiting.push(house.send(&[name]).await);
    }
    // What of the three is not passed over yet comes in its turn.
    while house.segments_owed() == 0 {
        tokio::task::yield_now().await;
    }
    (house, sent, waiting)
}

/// What came of so many messages, at their first attempt; in the order of their names.
async fn settled(house: &mut House, messages: usize) -> Vec<(MessageId, Settlement)> {
    let mut settled = Vec::new();
    for _ in 0..messages {
        let one = house.settled().await;
        assert!(one.attempt <= 1, "{one:?}");
        settled.push((one.message, one.settlement));
    }
    settled.sort_unstable_by_key(|(message, _)| *message);
    settled
}

#[tokio::test]
async fn mail_that_the_disk_did_not_give_goes_out_once_and_without_a_start_when_it_does() {
    let (port, _keep) = free_port().await;
    let site = good(144, port, TlsMode::None).await;
    let (mut house, _, mut waiting) = owed(port, &site, |_| {}).await;
    house.disk.fail_reads(None);
    waiting.push(house.send(&["e@dest.example"]).await);
    waiting.sort_unstable();
    let expected: Vec<_> = waiting.into_iter().map(|message| (message, Settlement::Delivered)).collect();
    assert_eq!((settled(&mut house, 4).await, site.arrivals().len()), (expected, 5));
    house.stop().await;
}

/// Of what is owed more is taken back than can be remembered: whoever is told no asks again, and none is forgotten.
#[tokio::test]
async fn what_is_taken_back_while_the_disk_does_not_give_it_is_not_sent_when_it_does() {
    let (port, _keep) = free_port().await;
    let site = good(145, port, TlsMode::None).await;
    let (mut house, sent, waiting) = owed(port, &site, |config| config.cancels_remembered_max = 2).await;
    let handle = house.handle().clone();
    assert_eq!(handle.cancel(waiting[0]).await.unwrap(), 0);
    assert_eq!(handle.cancel(waiting[1]).await.unwrap(), 0);
    assert!(matches!(handle.cancel(waiting[2]).await, Err(egress::Fault::CancelsFull)));
    // Of this one nothing waits, so nothing is remembered.
    assert_eq!(handle.cancel(sent).await.unwrap(), 0);
    house.disk.fail_reads(None);
    let mut expected: Vec<_> = waiting[..2].iter().map(|one| (*one, Settlement::Cancelled)).collect();
    expected.push((waiting[2], Settlement::Delivered));
    expected.sort_unstable_by_key(|(message, _)| *message);
    assert_eq!((settled(&mut house, 3).await, site.arrivals().len()), (expected, 2));
    house.stop().await;
}

/// Five connections at once and one more in a minute: more messages than that are tried, for none is a connection's turn.
#[tokio::test]
async fn mail_that_the_disk_does_not_give_takes_no_turn_of_its_site() {
    let (port, _keep) = free_port().await;
    let site = good(146, port, TlsMode::None).await;
    let journal = spool::Config { body_cache_octets_max: 0, ..spool::Config::default() };
    let mut house =
        House::with_spool(port, journal, |config| config.limits.connections_per_minute = Some(1)).await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    house.disk.fail_reads(Some(libc::EIO));
    for _ in 0..12 {
        house.send(&["a@dest.example"]).await;
    }
    for _ in 0..12 {
        assert_eq!(house.attempted().await.outcome.stage, "queue");
    }
    assert_eq!(site.connections(), 0);
    house.disk.fail_reads(None);
    let mut delivered = 0;
    while delivered < 12 {
        match house.told().await {
            Told::Attempted(attempted) => assert_eq!(attempted.outcome.stage, "queue"),
            Told::Settled(settled) => {
                assert_eq!(settled.settlement, Settlement::Delivered);
                delivered += 1;
            }
        }
    }
    house.stop().await;
}
