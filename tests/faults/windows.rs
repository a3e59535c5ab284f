//! The narrow places: between a site's 250 and our record (D5), between our commit and our 250 (D6), and between our
//! answer and the client that asks again (D7).

use crate::site::Site;
use posthouse_tests::arrivals::{Arrivals, body_of, hash_of};
use posthouse_tests::client::{Answer, Door, body, stuffed};
use posthouse_tests::exchanger::Exchanger;
use posthouse_tests::house::{House, Tenant, rounds, wait_for, web};
use posthouse_tests::ledger::Ledger;
use posthouse_tests::load::{Press, Shape};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::TcpStream;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};

#[test]
fn d5_a_cut_between_the_sites_250_and_our_record_makes_one_extra_copy_and_no_bounce() {
    let site = Site::new();
    let victim = Arc::new(AtomicI32::new(0));
    let (before, after) = (Arc::clone(&victim), Arc::clone(&victim));
    let signal = |pid: i32, signal: Signal| {
        if let Some(pid) = Pid::from_raw(pid) {
            kill_process(pid, signal).unwrap();
        }
    };
    // Stopped first, the house cannot read the 250 that then stands in its socket: it dies not knowing.
    let exchanger = Exchanger::start(
        &site.lab,
        "cut.example",
        "127.99.0.5",
        move |_| signal(before.load(Ordering::SeqCst), Signal::STOP),
        move |_| signal(after.swap(0, Ordering::SeqCst), Signal::KILL),
    );
    let mut house = site.start();
    let (tenant, _) = house.onboard("cut", "cut-sender.example", "127.2.0.87");
    let rounds = rounds(4, 50);
    for round in 0..rounds {
        let to = format!("r{round}@cut.example");
        let door = site.door(&house, &tenant);
        victim.store(house.pid().as_raw_nonzero().get(), Ordering::SeqCst);
        let raw = format!("From: {}\r\nTo: {to}\r\nSubject: {round}\r\n\r\nOnce, or twice.\r\n", door.sender);
        // The message may have been delivered, and the house be dead, before its own 250 was read.
        let _ = door.connect().unwrap().submit(&door.sender, std::slice::from_ref(&to), raw.as_bytes());
        let status = house.ended();
        assert_eq!(status.code(), None, "it was killed: {status}");
        house = site.start();
        wait_for("the message to be told as delivered", || is_delivered(&house, &tenant, &to));
        let copies: Vec<_> =
            exchanger.received().into_iter().filter(|one| one.recipients.contains(&to)).collect();
        assert_eq!(copies.len(), 2, "one copy for the 250 that was not heard, and one extra");
        assert_eq!(copies[0].raw, copies[1].raw, "the same octets, Message-ID and all");
        let text = String::from_utf8_lossy(&copies[0].raw).to_ascii_lowercase();
        assert_eq!(text.matches("\r\nmessage-id:").count(), 1, "{text}");
        assert_eq!(
            ends_told(&house, &tenant, &to),
            [("message.delivered".to_owned(), id_of(&house, &tenant, &to))]
        );
    }
    println!(
        "D5: {rounds} cuts between 250 and record: 1 extra copy each, the same octets, told as delivered once, never as \
         bounced"
    );
    assert_eq!(house.stop().code(), Some(0));
}

fn is_delivered(house: &House, tenant: &Tenant, to: &str) -> Option<()> {
    (message_to(house, tenant, to)["recipients"][0]["state"] == "delivered").then_some(())
}

fn id_of(house: &House, tenant: &Tenant, to: &str) -> String {
    message_to(house, tenant, to)["id"].as_str().unwrap().to_owned()
}

fn message_to(house: &House, tenant: &Tenant, to: &str) -> Value {
    house.get(&format!("/v1/tenants/self/messages?recipient={to}"), &tenant.key)["data"][0].clone()
}

/// Every event that tells of an end for this recipient: its type and the message's id.
fn ends_told(house: &House, tenant: &Tenant, to: &str) -> Vec<(String, String)> {
    let (mut told, mut ids, mut cursor) = (Vec::new(), BTreeSet::new(), String::new());
    loop {
        let page = house.get(&format!("/v1/tenants/self/events?limit=200{cursor}"), &tenant.key);
        let events = page["data"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for event in events {
            assert!(ids.insert(text(&event["id"])), "an id twice: {event}");
            let is_end = !matches!(event["type"].as_str().unwrap(), "message.accepted" | "message.deferred");
            if is_end && event["data"]["recipient"] == *to {
                told.push((text(&event["type"]), text(&event["data"]["message"])));
            }
        }
        if events.is_empty() {
            return told;
        }
        cursor = format!("&cursor={}", text(&page["next_cursor"]));
    }
}

#[test]
fn d6_a_client_that_is_gone_before_its_250_leaves_a_whole_message_or_none() {
    let site = Site::new();
    let house = site.start();
    let (tenant, _) = house.onboard("gone", "gone.example", "127.2.0.88");
    let door = site.door(&house, &tenant);
    let ledger = Ledger::default();
    let mut press = Press::new("gone", &door.sender, Shape::Mixed);
    let rounds = rounds(60, 1_000);
    for round in 0..rounds {
        let message = press.next();
        ledger.offer(message.recipients.clone(), hash_of(body_of(&message.raw)));
        let mut client = door.connect().unwrap();
        assert_eq!(client.envelope(&door.sender, &message.recipients).unwrap(), None);
        assert_eq!(client.command("DATA").unwrap().code, 354);
        let octets = stuffed(&message.raw);
        // Every fourth client is gone before its final dot: there is nothing to keep then.
        let sent = if round % 4 == 0 { &octets[..octets.len() - 3] } else { &octets[..] };
        client.write(sent).unwrap();
        client.vanish();
    }
    // What is under way behind the doors goes on for a moment; a message behind it shows that it is through.
    let last = press.next();
    let number = ledger.offer(last.recipients.clone(), hash_of(body_of(&last.raw)));
    let reply = door.connect().unwrap().submit(&door.sender, &last.recipients, &last.raw).unwrap();
    ledger.acknowledge(number, reply.message().unwrap());
    let mut arrivals = Arrivals::new();
    let verdict = ledger.settle(&house, &site.lab, &mut arrivals, &[]);
    for (number, entry) in ledger.entries().iter().enumerate().filter(|(number, _)| *number < rounds) {
        let came = arrivals.copies.contains_key(&entry.recipients[0]);
        assert!(!came || number % 4 != 0, "a message without its final dot came");
    }
    println!(
        "D6: {rounds} clients vanished, a quarter of them before the final dot: {} messages kept, each whole, none twice",
        verdict.unacknowledged
    );
    assert_eq!(house.stop().code(), Some(0));
}

/// A message of its own for each key.
fn finished(door: &Door, name: &str) -> (Vec<String>, Vec<u8>) {
    let to = format!("{name}@plain.example");
    let raw = format!("From: {}\r\nTo: {to}\r\nSubject: {name}\r\n\r\nOnce only.\r\n", door.sender);
    (vec![to], raw.into_bytes())
}

/// Sends a message and does not read the answer; the client is gone when the value is dropped.
fn call(house: &House, tenant: &Tenant, key: &str, (to, raw): &(Vec<String>, Vec<u8>)) -> TcpStream {
    call_to(house, tenant, key, ("messages", &body(to, raw)))
}

fn call_to(house: &House, tenant: &Tenant, key: &str, (what, body): (&str, &str)) -> TcpStream {
    use std::io::Write;
    let address = house.text("/api").replace("http://", "");
    let mut stream = TcpStream::connect(&address).unwrap();
    let head = format!(
        "POST /v1/tenants/self/{what} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nIdempotency-Key: {key}\r\nContent-Length: {}\r\n\r\n",
        tenant.key,
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    stream
}

/// Asks until there is an answer that is not about this moment.
fn insist(door: &Door, key: &str, (to, raw): &(Vec<String>, Vec<u8>)) -> Answer {
    wait_for("the answer to a repeated call", || {
        door.post_once(to, raw, key).ok().filter(|answer| !matches!(answer.status, 408 | 409 | 429 | 503))
    })
}

#[test]
fn d7_a_call_that_is_repeated_with_its_key_is_done_once() {
    let site = Site::new();
    let house = site.start();
    let (tenant, _) = house.onboard("once", "once.example", "127.2.0.89");
    let (other, _) = house.onboard("other", "other.example", "127.2.0.90");
    let (door, strangers) = (site.door(&house, &tenant), site.door(&house, &other));
    let (rounds, mut arrivals) = (rounds(20, 10_000), Arrivals::new());
    for round in 0..rounds {
        let key = format!("key-{round}");
        let message = finished(&door, &key);
        let first = call(&house, &tenant, &key, &message);
        // Some clients are gone at once, some stay and do not listen.
        let _first = (round % 2 == 0).then_some(first);
        let answers = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let answer = insist(&door, &key, &message);
                    answers.lock().unwrap().push(answer);
                });
            }
        });
        let answers = answers.into_inner().unwrap();
        assert_eq!(answers[0].status, 202, "{:?}", answers[0]);
        assert!(answers.iter().all(|answer| answer.body == answers[0].body), "{answers:?}");
        // The same key of another tenant is another key.
        let theirs = finished(&strangers, &format!("other-{round}"));
        let answer = insist(&strangers, &key, &theirs);
        assert_eq!(answer.status, 202);
        assert_ne!(answer.body, answers[0].body);
        // The lab does not remember all of the long form.
        if round % 100 == 0 {
            arrivals.collect(&site.lab);
        }
    }
    let names =
        |name: &str| (0..rounds).map(|round| format!("{name}-{round}@plain.example")).collect::<Vec<_>>();
    let wanted = [names("key"), names("other")].concat();
    wait_for("a message for each key", || {
        arrivals.collect(&site.lab);
        wanted.iter().all(|to| arrivals.copies.contains_key(to)).then_some(())
    });
    // Whatever comes twice for a key of the last rounds has had the time of a message sent after all of them.
    let last = finished(&door, "last");
    insist(&door, "last", &last);
    house.arrivals(&last.0[0], 1);
    arrivals.collect(&site.lab);
    let twice: Vec<&String> = wanted.iter().filter(|to| arrivals.copies[*to].len() > 1).collect();
    assert!(twice.is_empty(), "{} came twice: {twice:?}", twice.len());
    println!(
        "D7: {rounds} keys, each called 17 times, 16 of them at once: 1 message for each key, the same answer"
    );
    assert_eq!(house.stop().code(), Some(0));
}

#[test]
fn d7_a_call_that_is_repeated_after_a_kill_is_done_once() {
    let mut site = Site::new();
    let house = site.start();
    let (tenant, _) = house.onboard("once", "once.example", "127.2.0.91");
    house.kill();
    // A call that died with its process lets its twin in after this and five seconds.
    site.plot.set("api.request_seconds_max", "1");
    let mut house = site.start();
    let rounds = rounds(6, 100);
    for round in 0..rounds {
        let key = format!("killed-{round}");
        let door = site.door(&house, &tenant);
        let message = finished(&door, &key);
        let _first = call(&house, &tenant, &key, &message);
        posthouse_tests::house::let_pass(std::time::Duration::from_millis(round as u64 * 7 % 40));
        house.kill();
        house = site.start();
        let door = site.door(&house, &tenant);
        assert_eq!(insist(&door, &key, &message).status, 202);
    }
    // A kill between the site's 250 and our record makes an extra copy of the same octets (D5): that is no second message.
    let messages = |round: &usize| {
        let copies = house.arrivals(&format!("killed-{round}@plain.example"), 1);
        copies.iter().map(|copy| copy["raw"].to_string()).collect::<BTreeSet<_>>().len()
    };
    let twice = (0..rounds).filter(|round| messages(round) > 1).count();
    println!("D7: {rounds} calls killed and repeated with their key, {twice} done twice");
    assert_eq!(twice, 0);
    assert_eq!(house.stop().code(), Some(0));
}

/// The answer is kept in PostgreSQL after the message is in the journal. A kill in between leaves a key that nobody
/// finishes; when its lease has ended the call is begun again, long after the message was delivered.
#[test]
fn d7_a_call_that_was_done_and_whose_answer_was_not_kept_is_done_once() {
    let mut site = Site::new();
    let house = site.start();
    let (tenant, _) = house.onboard("once", "once.example", "127.2.0.92");
    house.kill();
    site.plot.set("api.request_seconds_max", "1");
    let house = site.start();
    site.database.execute(
        "CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(3600); RETURN NEW; END';
         CREATE TRIGGER stall BEFORE UPDATE OF status ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION stall()",
    );
    let door = site.door(&house, &tenant);
    let message = finished(&door, "stalled");
    let to = &message.0[0];
    let _first = call(&house, &tenant, "stalled", &message);
    house.arrivals(to, 1);
    house.kill();
    site.database.execute("DROP TRIGGER stall ON idempotency_keys");
    let house = site.start();
    let answer = insist(&site.door(&house, &tenant), "stalled", &message);
    assert_eq!(answer.status, 202);
    let told = house.get(&format!("/v1/tenants/self/messages?recipient={to}"), &tenant.key);
    assert!(answer.body.contains(told["data"][0]["id"].as_str().unwrap()), "{} and {told}", answer.body);
    // A second message would be taken up after this one.
    let after = finished(&door, "after");
    insist(&site.door(&house, &tenant), "after", &after);
    house.arrivals(&after.0[0], 1);
    assert_eq!(house.arrivals(to, 1).len(), 1, "done twice");
}

/// A second transaction that keeps an answer does not come to its end: as if every death fell between the two.
const STALL_AFTERWARDS: &str = "
    CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF NOT EXISTS (SELECT 1 FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'
                       AND mode = 'RowExclusiveLock' AND relation::regclass::text NOT LIKE '%idempotency_keys%') THEN
        PERFORM pg_sleep(3600);
      END IF;
      RETURN NEW;
    END $$;
    CREATE TRIGGER stall BEFORE UPDATE OF status ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION stall()";

#[test]
fn d7_a_change_whose_process_died_before_anybody_was_told_is_made_once_and_its_secret_is_not_lost() {
    let mut site = Site::new();
    let house = site.start();
    let (tenant, _) = house.onboard("once", "once.example", "127.2.0.93");
    house.kill();
    site.plot.set("api.request_seconds_max", "1");
    let mut house = site.start();
    let kinds = [
        ("credentials", "password", r#"{"name": "made"}"#),
        ("api-keys", "secret", r#"{"name": "made", "scopes": ["send"]}"#),
        ("webhooks", "secret", r#"{"url": "https://hooks.example.org/made"}"#),
    ];
    site.database.execute(STALL_AFTERWARDS);
    let rounds = rounds(3, 60);
    for round in 0..rounds {
        let (what, secret, body) = kinds[round % kinds.len()];
        let (key, path) = (format!("change-{round}"), format!("/v1/tenants/self/{what}"));
        let all = |house: &House| house.get(&path, &tenant.key)["data"].as_array().unwrap().len();
        let before = all(&house);
        let _first = call_to(&house, &tenant, &key, (what, body));
        wait_for("the change to be there", || (all(&house) > before).then_some(()));
        house.kill();
        house = site.start();
        let url = format!("{}{path}", house.text("/api"));
        let answer: serde_json::Value = wait_for("the answer to a repeated change", || {
            let call = web().post(&url).bearer_auth(&tenant.key).header("idempotency-key", &key);
            let answer = call.header("content-type", "application/json").body(body).send().ok()?;
            (answer.status() == 201).then(|| answer.json().unwrap())
        });
        assert!(answer[secret].is_string(), "{answer}");
        assert_eq!(all(&house), before + 1, "{what} made twice");
    }
    println!(
        "D7: {rounds} changes killed behind their commit and repeated with their key: each made once, with its secret"
    );
    assert_eq!(house.stop().code(), Some(0));
}
