//! PostgreSQL as it is in bad nights: restarted (P1), silent (P2), without room for one more connection or with a lock
//! that somebody forgot (P3), slow or with a full disk (P4). Mail goes on; what the tables say afterwards is neither less nor more than what happened.

use crate::site::Site;
use posthouse_tests::arrivals::Arrivals;
use posthouse_tests::client::Door;
use posthouse_tests::house::{House, Plot, Tenant, let_pass, now_ms, rounds, wait_for};
use posthouse_tests::lab::Lab;
use posthouse_tests::ledger::{Ledger, Told, Verdict};
use posthouse_tests::load::{Load, Mix, Shape};
use posthouse_tests::postgres::Server;
use posthouse_tests::volume::Volume;
use std::sync::Arc;
use std::time::Duration;

const MIX: Mix = Mix { smtp: 3, http: 1 };

/// `database.answer_ms_max` and a little.
const REFUSED_MS_MAX: u64 = 5_000;

/// A plot that uses this server and this lab.
fn plot(server: &Server, lab: &Lab) -> Plot {
    plot_at(&server.url(), lab)
}

fn plot_at(url: &str, lab: &Lab) -> Plot {
    let mut plot = Plot::new().with_database(url);
    plot.settle_in(lab);
    plot.set("egress.retry_seconds", "[1]");
    plot.set("egress.limits.messages_per_second", "0");
    plot
}

/// Submission does not notice: every answer is good, and none is late.
fn all_good(answers: &[Told], what: &str) {
    let bad: Vec<_> = answers.iter().filter(|told| !matches!(told.code, 250 | 202)).collect();
    assert!(bad.is_empty(), "{what}: {:?}", &bad[..bad.len().min(5)]);
    let slowest = answers.iter().map(|told| told.took_ms).max().unwrap_or(0);
    assert!(slowest < 5_000, "{what}: an answer took {slowest} ms");
}

/// Milliseconds until a read of the tables succeeds again.
fn until_read(house: &House, key: &str) -> u64 {
    let began = now_ms();
    wait_for("the API to read its tables again", || {
        (house.api("GET", "/v1/tenants/self/messages?limit=1", key, None).0 == 200).then_some(())
    });
    now_ms() - began
}

/// A tenant of a house whose clients send all the time.
struct Loaded<'l> {
    house: House,
    tenant: Tenant,
    lab: &'l Lab,
    ledger: Arc<Ledger>,
    arrivals: Arrivals,
    load: Load,
}

impl<'l> Loaded<'l> {
    /// Returns when mail flows.
    fn start(house: House, lab: &'l Lab, name: &str, address: &str) -> Loaded<'l> {
        let (tenant, _) = house.onboard(name, &format!("{name}.example"), address);
        let ledger = Arc::new(Ledger::default());
        let load = Load::start(&Door::of(&house, &tenant), &ledger, MIX, Shape::Trickle);
        wait_for("mail", || (ledger.acknowledged() > 10).then_some(()));
        Loaded { house, tenant, lab, ledger, arrivals: Arrivals::new(), load }
    }

    /// Returns when so much more was acknowledged.
    fn goes_on(&self, more: usize, when: &str) {
        let before = self.ledger.acknowledged();
        wait_for(&format!("mail {when}"), || (self.ledger.acknowledged() > before + more).then_some(()));
    }

    /// A read while the tables do not answer: refused in time, after so many milliseconds.
    fn is_refused_after(&self) -> u64 {
        let began = now_ms();
        let read = self.house.api("GET", "/v1/tenants/self/messages?limit=1", &self.tenant.key, None).0;
        let refused_after = now_ms() - began;
        assert_eq!(read, 503);
        assert!(refused_after <= REFUSED_MS_MAX, "refused after {refused_after} ms");
        refused_after
    }

    /// Ends the load. No answer was bad or late, nothing is lost or came twice, and the tables say what happened.
    fn end(mut self, when: &str) -> Verdict {
        self.load.finish();
        all_good(&self.ledger.answers(), when);
        let verdict = self.ledger.settle(&self.house, self.lab, &mut self.arrivals, &[]);
        self.ledger.is_told(&self.house, &self.tenant.key, &self.arrivals);
        assert_eq!(self.house.stop().code(), Some(0));
        verdict
    }
}

/// While the tables cannot be read the API says so, and when to come again.
fn says_unavailable(house: &House, key: &str) {
    let url = format!("{}/v1/tenants/self/messages?limit=1", house.text("/api"));
    let answer = posthouse_tests::house::web().get(url).bearer_auth(key).send().unwrap();
    assert_eq!(answer.status().as_u16(), 503);
    assert!(answer.headers().contains_key("retry-after"));
}

#[test]
fn p1_restarts_of_postgresql_under_load_lose_nothing_and_count_nothing_twice() {
    let (server, lab) = (Server::start("p1"), Lab::start());
    let plot = plot(&server, &lab);
    let mut loaded = Loaded::start(plot.start_in(&lab), &lab, "papa", "127.2.0.104");
    let (rounds, mut longest) = (rounds(5, 20), 0);
    for round in 0..rounds {
        let_pass(Duration::from_millis(200 + round as u64 * 97 % 300));
        server.stop_immediately();
        says_unavailable(&loaded.house, &loaded.tenant.key);
        loaded.goes_on(4, "to be accepted without a database");
        server.start_again();
        longest = longest.max(until_read(&loaded.house, &loaded.tenant.key));
        loaded.arrivals.collect(&lab);
    }
    let verdict = loaded.end("while PostgreSQL restarts");
    println!(
        "P1: {rounds} immediate stops under load: {} acknowledged, 0 refused, 0 lost, 0 twice, usage exact; the API back \
         at most {longest} ms after the start",
        verdict.messages
    );
    assert!(longest <= 10_000);
}

#[test]
fn p2_a_silent_postgresql_stops_no_mail() {
    let (server, lab) = (Server::start("p2"), Lab::start());
    let plot = plot(&server, &lab);
    let loaded = Loaded::start(plot.start_in(&lab), &lab, "silence", "127.2.0.105");
    let paused = server.pause();
    let began = now_ms();
    let refused_after = loaded.is_refused_after();
    loaded.goes_on(10, "in the silence");
    wait_for("readiness to say so", || (loaded.house.api("GET", "/ready", "", None).0 == 503).then_some(()));
    drop(paused);
    let silent = now_ms() - began;
    let back = until_read(&loaded.house, &loaded.tenant.key);
    let verdict = loaded.end("while PostgreSQL is silent");
    println!(
        "P2: PostgreSQL silent for {} s: {} acknowledged, 0 refused, 0 lost, 0 twice; a read was refused after \
         {refused_after} ms, answered {back} ms after the end",
        silent / 1_000,
        verdict.messages
    );
    assert!(back <= 10_000);
}

#[test]
fn p3_a_forgotten_lock_stops_no_mail_and_no_call_for_long() {
    let site = Site::new();
    let loaded = Loaded::start(site.start(), &site.lab, "lock", "127.2.0.106");
    let held = site.database.hold("LOCK TABLE messages, tenants IN ACCESS EXCLUSIVE MODE");
    let refused_after = loaded.is_refused_after();
    loaded.goes_on(10, "beside the lock");
    drop(held);
    let back = until_read(&loaded.house, &loaded.tenant.key);
    let verdict = loaded.end("while a lock is held");
    println!(
        "P3: a lock on two tables: {} acknowledged, 0 refused, 0 lost, 0 twice; a read was refused after {refused_after} \
         ms, answered {back} ms after the end",
        verdict.messages
    );
    assert!(back <= 10_000);
}

#[test]
fn p3_a_server_without_a_free_connection_stops_no_mail() {
    let (server, lab) = (Server::start("p3"), Lab::start());
    let plot = plot(&server, &lab);
    let loaded = Loaded::start(plot.start_in(&lab), &lab, "crowd", "127.2.0.107");
    // Others take every connection there is, those that the house loses now as well.
    let crowd = server.take_all_connections();
    loaded.goes_on(20, "in the crowd");
    let taken = crowd.len();
    drop(crowd);
    let back = until_read(&loaded.house, &loaded.tenant.key);
    let verdict = loaded.end("while no connection is free");
    println!(
        "P3: {taken} foreign connections, none left: {} acknowledged, 0 refused, 0 lost, 0 twice; tables read {back} ms \
         after",
        verdict.messages
    );
    assert!(back <= 10_000);
}

/// Five or six questions for one call, and for each batch of what is told.
#[test]
fn p4_a_slow_postgresql_slows_no_mail_and_loses_nothing() {
    let (server, lab) = (Server::start("p4s"), Lab::start());
    let way = server.far_away();
    let plot = plot_at(&way.url(), &lab);
    let house = plot.start_in(&lab);
    let (tenant, _) = house.onboard("slow", "slow.example", "127.2.0.108");
    let (ledger, mut arrivals) = (Arc::new(Ledger::default()), Arrivals::new());
    let load = Load::start(&Door::of(&house, &tenant), &ledger, MIX, Shape::Trickle);
    wait_for("mail", || (ledger.acknowledged() > 10).then_some(()));
    way.set_delay(Duration::from_millis(200));
    let (began, before) = (now_ms(), ledger.acknowledged());
    let (mut answered, mut slowest) = (0, 0);
    while answered < rounds(5, 50) || ledger.acknowledged() < before + 100 {
        let asked = now_ms();
        let status = house.api("GET", "/v1/tenants/self/messages?limit=1", &tenant.key, None).0;
        // The time of a caller may be too short for it; then it is told so in time.
        assert!(matches!(status, 200 | 503), "{status}");
        slowest = slowest.max(now_ms() - asked);
        answered += 1;
    }
    let took = now_ms() - began;
    load.finish();
    all_good(&ledger.answers(), "while PostgreSQL is slow");
    // Everything is told although it is still slow.
    let verdict = ledger.settle(&house, &lab, &mut arrivals, &[]);
    way.set_delay(Duration::ZERO);
    ledger.is_told(&house, &tenant.key, &arrivals);
    println!(
        "P4: 200 ms to every question for {} s: {} acknowledged, 0 refused, 0 lost, 0 twice, usage exact; a read took at \
         most {slowest} ms",
        took / 1_000,
        verdict.messages
    );
    assert!(slowest <= REFUSED_MS_MAX, "{slowest}");
    assert_eq!(house.stop().code(), Some(0));
}

#[test]
fn p4_a_postgresql_whose_disk_is_full_stops_no_mail_and_catches_up() {
    let Some(volume) = Volume::ext4("P4", 320, None) else { return };
    let (server, lab) = (Server::start_on("p4d", &volume), Lab::start());
    let plot = plot(&server, &lab);
    let house = plot.start_in(&lab);
    let (tenant, _) = house.onboard("full", "full.example", "127.2.0.109");
    let (ledger, mut arrivals) = (Arc::new(Ledger::default()), Arrivals::new());
    let load = Load::start(&Door::of(&house, &tenant), &ledger, MIX, Shape::Trickle);
    wait_for("mail", || (ledger.acknowledged() > 10).then_some(()));
    let ballast = volume.leave(0);
    let complaint =
        server.run("CREATE TABLE filler AS SELECT n, repeat('x', 1000) FROM generate_series(1, 50000) n");
    let complaint = complaint.expect_err("there is room");
    let before = ledger.acknowledged();
    wait_for("mail although PostgreSQL has no room", || (ledger.acknowledged() > before + 100).then_some(()));
    // Not even its log of changes has room: it goes down, and comes back or not.
    let _ = server.run("SELECT pg_switch_wal()");
    let _ = server.run("CREATE TABLE more AS SELECT n FROM generate_series(1, 100000) n");
    wait_for("mail without PostgreSQL", || (ledger.acknowledged() > before + 200).then_some(()));
    std::fs::remove_file(ballast).unwrap();
    let freed = now_ms();
    server.revive();
    until_read(&house, &tenant.key);
    let back = now_ms() - freed;
    load.finish();
    all_good(&ledger.answers(), "while PostgreSQL has no room");
    let verdict = ledger.settle(&house, &lab, &mut arrivals, &[]);
    ledger.is_told(&house, &tenant.key, &arrivals);
    println!(
        "P4: PostgreSQL without room ({}): {} acknowledged, 0 refused, 0 lost, 0 twice, usage exact; the API back {back} ms \
         after there was room",
        complaint.lines().next().unwrap_or_default(),
        verdict.messages
    );
    assert_eq!(house.stop().code(), Some(0));
    drop(server);
}
