//! How fast the way out is when the site is fast. Run it alone, optimised; it prints messages per second.
#![allow(clippy::unwrap_used)]

mod house;

use house::House;
use house::site::{free_port, good};
use smtp::server::TlsMode;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: run it alone, optimised"]
async fn messages_per_second_to_one_site() {
    const COUNT: usize = 40_000;
    let (port, _keep) = free_port().await;
    let site = good(41, port, TlsMode::None).await;
    let mut house = House::with(port, |config| {
        config.limits.connections = Some(50);
        config.limits.messages_per_connection = Some(10_000);
    })
    .await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    let recipients: Vec<String> = (0..1000).map(|number| format!("r{number}@dest.example")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    for _ in 0..COUNT / 1000 {
        house.send(&recipients).await;
    }
    let since = tokio::time::Instant::now();
    for _ in 0..COUNT {
        house.settled().await;
    }
    let seconds = since.elapsed().as_secs_f64();
    println!("{:.0} messages/s over {} connections", COUNT as f64 / seconds, site.connections());
}
