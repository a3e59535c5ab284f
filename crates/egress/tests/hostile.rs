//! Sites that misbehave: whatever they do, the attempt ends in time, is judged rightly, and nothing is lost.
#![allow(clippy::unwrap_used)]

mod house;

use house::House;
use house::site::{Say, free_port, good, scripted, usual};
use mail::BodyKind;
use mail::classify::Profiles;
use smtp::server::TlsMode;
use spool::Settlement;

#[tokio::test]
async fn the_profile_of_a_site_says_how_long_its_final_answer_may_take() {
    fn script(_: u32, line: &str) -> Say {
        if line == "." { Say::Silence } else { usual(line) }
    }
    let (port, _keep) = free_port().await;
    let site = scripted(62, port, script).await;
    let hasty = r#"
        id = "hasty"
        label = "Hasty"
        evidence = ["assumed"]
        match = { mx_suffix = [".hasty.example"], probe = [] }
        limits = { data_dot_timeout = "1s" }
    "#;
    let generic = include_str!("../../../config/providers/generic.toml");
    let classes = include_str!("../../../config/classes.toml");
    let profiles = Profiles::load(&[generic, hasty], classes).unwrap();
    let mut house = House::with_profiles(port, profiles, |config| config.retry_seconds = vec![600]).await;
    house.route("dest.example", 10, "mx.hasty.example", site.address);
    house.send(&["a@dest.example"]).await;
    let attempted = house.attempted().await;
    assert_eq!((attempted.outcome.stage, &*attempted.outcome.provider), ("final-dot", "hasty"));
    house.stop().await;
}

#[tokio::test]
async fn what_a_site_does_not_offer_ends_a_message_that_needs_it() {
    let (port, _keep) = free_port().await;
    let site = scripted(58, port, |_, line| usual(line)).await;
    let mut house = House::new(port).await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    house.send_with(&["a@dest.example"], |accepted| accepted.require_tls = true).await;
    let settled = house.settled().await;
    assert_eq!(settled.settlement, Settlement::Failed);
    assert_eq!(settled.outcome.unwrap().class.as_str(), "tls.required");
    house.send_with(&["ä@dest.example"], |accepted| accepted.smtputf8 = true).await;
    let settled = house.settled().await;
    assert_eq!(settled.settlement, Settlement::Failed);
    assert!(settled.outcome.unwrap().trouble.unwrap().contains("internationalized"));
    // The session is still good for an ordinary message.
    house.send_with(&["b@dest.example"], |accepted| accepted.body_kind = BodyKind::SevenBit).await;
    assert_eq!(house.settled().await.settlement, Settlement::Delivered);
    house.stop().await;
}

#[tokio::test]
async fn what_was_not_settled_goes_on_after_a_restart_with_its_attempts() {
    let (port, _keep) = free_port().await;
    let busy = scripted(59, port, |_, line| {
        if line.starts_with("RCPT TO:<later") { Say::Line("450 4.2.0 later") } else { usual(line) }
    })
    .await;
    let mut house = House::new(port).await;
    house.route("dest.example", 10, "mx.dest.example", busy.address);
    let message = house.send(&["now@dest.example", "later@dest.example"]).await;
    let (mut attempted, mut settled) = (None, None);
    while attempted.is_none() || settled.is_none() {
        match house.told().await {
            house::Told::Attempted(one) => attempted = Some(one),
            house::Told::Settled(one) => settled = Some(one),
        }
    }
    assert_eq!((settled.unwrap().recipient, attempted.unwrap().recipient), (0, 1));
    let mut house = house.restart().await;
    let again = house.attempted().await;
    assert_eq!((again.message, again.recipient), (message, 1));
    assert!(again.attempt >= 2, "attempt {}", again.attempt);
    house.stop().await;
}

#[tokio::test]
async fn after_a_crash_in_the_middle_of_a_message_it_is_sent_again() {
    let (port, _keep) = free_port().await;
    let slow = scripted(
        60,
        port,
        |number, line| {
            if line == "." && number == 1 { Say::Silence } else { usual(line) }
        },
    )
    .await;
    let mut house = House::new(port).await;
    house.route("dest.example", 10, "mx.dest.example", slow.address);
    let message = house.send(&["a@dest.example"]).await;
    while slow.final_dots() == 0 {
        tokio::task::yield_now().await;
    }
    let mut house = house.crash().await;
    let settled = house.settled().await;
    assert_eq!((settled.message, settled.settlement), (message, Settlement::Delivered));
    assert_eq!(slow.final_dots(), 2);
    house.stop().await;
}

#[tokio::test]
async fn a_required_tls_is_never_given_up() {
    let (port, _keep) = free_port().await;
    let site = good(61, port, TlsMode::None).await;
    let mut house = House::new(port).await;
    // The profile of Google requires TLS; the exchanger's name makes it Google's.
    house.route("dest.example", 10, "mx.google.com", site.address);
    house.send(&["a@dest.example"]).await;
    let attempted = house.attempted().await;
    assert_eq!((attempted.outcome.class.as_str(), &*attempted.outcome.provider), ("tls.failed", "google"));
    assert!(site.arrivals().is_empty());
    house.stop().await;
}
