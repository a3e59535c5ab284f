//! D1: a session has one message in doubt at most. While the record of the last one is on its way to the disk, the next
//! one goes as far as its text.
#![allow(clippy::unwrap_used)]

mod house;

use house::House;
use house::disk::SlowDisk;
use house::site::{Say, free_port, scripted, usual};
use spool::Settlement;
use std::sync::OnceLock;

/// The disk that takes nothing more from the moment in which the site has the first message.
static DISK: OnceLock<SlowDisk> = OnceLock::new();

fn shutting(connection: u32, line: &str) -> Say {
    if (connection, line) == (1, ".") {
        DISK.get().unwrap().hold_syncs();
    }
    usual(line)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_ends_before_the_record_of_the_last_one_is_durable_and_none_is_spent_on_waiting() {
    let (port, _keep) = free_port().await;
    let site = scripted(81, port, shutting).await;
    let mut house = House::with(port, |config| {
        config.limits.connections = Some(1);
        config.timeouts.hold_seconds = 1;
    })
    .await;
    assert!(DISK.set(house.disk.clone()).is_ok());
    house.route("dest.example", 10, "mx.dest.example", site.address);
    house.send(&["a@dest.example", "b@dest.example"]).await;
    // One is settled as far as the dispatcher knows. The other was tried, stood before its dot for a second, and is
    // back; the connection has gone, its place has not.
    loop {
        let (totals, paths) = (house.handle().totals().await.unwrap(), house.handle().paths().await.unwrap());
        if (totals.ready, totals.in_flight, site.final_dots()) == (1, 0, 1) {
            assert_eq!((paths[0].open, site.connections()), (1, 1));
            break;
        }
        assert!(site.final_dots() <= 1, "a second message was ended while the first was in doubt");
        tokio::task::yield_now().await;
    }
    house.disk.release_syncs();
    for _ in 0..2 {
        let settled = house.settled().await;
        assert_eq!((settled.settlement, settled.attempt), (Settlement::Delivered, 1));
    }
    assert_eq!((site.final_dots(), site.connections()), (2, 2));
    house.stop().await;
}
