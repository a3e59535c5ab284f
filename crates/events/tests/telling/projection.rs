//! The projector: everything once, whatever stops in between.

use crate::house::{ACCESS, House, answered, eventually};
use database::{Database, RecipientState};
use events::{Config, told_up_to, usage_today};
use mail::{ClassKind, Clock, EnhancedStatus, EventKind, MessageId, Outcome, Random, Verdict};
use serde_json::json;
use spool::Settlement;
use std::sync::Arc;
use std::time::Duration;

fn busy() -> mail::Outcome {
    answered(451, "remote.overload", Verdict::Deferred, ClassKind::Soft)
}

/// Two nodes share the tables: the place of one in its journal says nothing of the other's.
#[tokio::test(flavor = "multi_thread")]
async fn each_journal_is_told_to_its_end_whatever_another_was_told() {
    let mut house = House::new(None).await;
    let first = house.journal("first");
    let second = house.journal("second");
    drop(house.goes_over_to(first));
    house.accept(&["a@example.org"]).await;
    let running = house.start(Config::default());
    house.kinds(1).await;
    running.stop().await;
    // Not told any more, and longer than what the other one holds.
    for number in 0..10 {
        house.accept(&[&format!("b{number}@example.org")]).await;
    }
    let first = house.goes_over_to(second);
    for number in 0..4 {
        house.accept(&[&format!("c{number}@example.org")]).await;
    }
    let running = house.start(Config::default());
    house.kinds(5).await;
    running.stop().await;
    drop(house.goes_over_to(first));
    let counted = usage_today(&house.test.database, &house.spool, house.now()).await.unwrap().counts;
    assert_eq!(counted.iter().map(|count| count.recipients).max(), Some(15));
    let running = house.start(Config::default());
    house.kinds(15).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_database_refuses_for_good_stops_nobody_else() {
    let house = House::new(None).await;
    let running = house.start(Config::default());
    let message = house.accept(&["a@example.org"]).await;
    house.defer(message, 0, 1, answered(451, "bad\0class", Verdict::Deferred, ClassKind::Soft)).await;
    house.settle(message, 0, 2, Settlement::Delivered).await;
    let kinds = house.kinds(2).await;
    assert_eq!(kinds, [EventKind::MessageAccepted, EventKind::MessageDelivered]);
    assert!(running.is_running());
    running.stop().await;
}

/// Statements that put more than so many rows into a table take longer than anybody waits.
async fn slow_above(house: &House, table: &str, rows: u32) {
    let admin = house.test.admin().await;
    let sql = format!(
        "CREATE FUNCTION slow_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
           IF (SELECT count(*) FROM fresh) > {rows} THEN PERFORM pg_sleep(60); END IF;
           RETURN NULL;
         END $$;
         CREATE TRIGGER slow AFTER INSERT ON {table} REFERENCING NEW TABLE AS fresh
         FOR EACH STATEMENT EXECUTE FUNCTION slow_{table}()"
    );
    admin.batch_execute(&sql).await.unwrap();
}

/// The tables with a time limit that a test can wait for.
async fn impatient(house: &House) -> Database {
    let config = database::Config { statement_ms_max: 500, ..house.test.config.clone() };
    let clock = Arc::clone(&house.test.clock) as Arc<dyn Clock>;
    Database::connect(&config, testkit::test_keys(), clock, Random::from_number(5)).await.unwrap()
}

async fn counted(house: &House, table: &str) -> i64 {
    let admin = house.test.admin().await;
    admin.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_very_many_recipients_is_told_in_transactions_that_stay_within_the_time_limit() {
    let house = House::new(None).await;
    slow_above(&house, "recipients", 400).await;
    slow_above(&house, "events", 400).await;
    let recipients: Vec<String> = (0..2000).map(|n| format!("r{n}@example.org")).collect();
    let message = house.accept(&recipients.iter().map(String::as_str).collect::<Vec<_>>()).await;
    house.settle(message, 1999, 1, Settlement::Delivered).await;
    let running = house.start_on(impatient(&house).await, Config::default());
    let row = eventually(|| async {
        let row = house.test.database.message_fetch(&ACCESS, house.tenant.tenant.id, message).await.ok()?;
        row.recipients.get(1999).is_some_and(|last| last.state == RecipientState::Delivered).then_some(row)
    })
    .await;
    assert!(row.recipients.iter().zip(&recipients).all(|(row, address)| row.address == *address));
    assert_eq!((row.recipients.len(), counted(&house, "events").await), (2000, 2001));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_recipient_that_the_database_refuses_costs_no_other_recipient() {
    let house = House::new(None).await;
    let admin = house.test.admin().await;
    let check = "ALTER TABLE recipients ADD CHECK (address <> 'r33@example.org')";
    admin.batch_execute(check).await.unwrap();
    let recipients: Vec<String> = (0..50).map(|n| format!("r{n}@example.org")).collect();
    house.accept(&recipients.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let next = house.accept(&["b@example.org"]).await;
    let running = house.start(Config::default());
    house.kinds(50).await;
    assert_eq!(house.message(next).await.recipients.len(), 1);
    assert_eq!(counted(&house, "recipients").await, 50);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_events_wait_and_nothing_is_lost() {
    let house = House::new(None).await;
    let running = house.start(Config::default());
    let before = house.accept(&["a@example.org"]).await;
    house.kinds(1).await;

    let name = house
        .test
        .admin()
        .await
        .query_one("SELECT current_database()", &[])
        .await
        .unwrap()
        .get::<_, String>(0);
    let (server, connection) =
        tokio_postgres::connect(&house.test.url().replace(&name, "postgres"), tokio_postgres::NoTls)
            .await
            .unwrap();
    let driver = tokio::spawn(connection);
    server.batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
    server.query(end, &[&name]).await.unwrap();

    // The journal goes on taking mail; nobody waits for the database.
    let during = house.accept(&["b@example.org"]).await;
    house.settle(before, 0, 1, Settlement::Delivered).await;
    assert!(house.test.database.usage_restore(&ACCESS).await.is_err() && running.is_running());

    server.batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await.unwrap();
    let kinds = eventually(|| async {
        let page = database::PageRequest::first();
        let rows =
            house.test.database.event_list(&ACCESS, house.tenant.tenant.id, &page, None).await.ok()?.rows;
        (rows.len() >= 3).then(|| rows.iter().map(|row| row.event.kind).collect::<Vec<_>>())
    })
    .await;
    assert_eq!(kinds, [EventKind::MessageAccepted, EventKind::MessageAccepted, EventKind::MessageDelivered]);
    assert_eq!(house.message(during).await.recipients[0].state, RecipientState::Queued);
    running.stop().await;
    driver.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projector_that_ends_by_itself_is_noticed_although_webhooks_go_on() {
    let house = House::new(None).await;
    let running = house.start(Config::default());
    house.accept(&["a@example.org"]).await;
    house.kinds(1).await;
    house.spool.shutdown().await.unwrap();
    running.died().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_becomes_rows_and_events_once() {
    let house = House::new(None).await;
    let running = house.start(Config::default());
    let message = house.accept(&["a@example.org", "b@example.org"]).await;
    house.defer(message, 0, 1, busy()).await;
    house.settle(message, 0, 2, Settlement::Delivered).await;
    house.settle(message, 1, 1, Settlement::Bounced).await;
    use EventKind::*;
    let kinds = house.kinds(5).await;
    assert_eq!(kinds, [MessageAccepted, MessageAccepted, MessageDeferred, MessageDelivered, MessageBounced]);

    let row = house.message(message).await;
    let states: Vec<_> = row.recipients.iter().map(|r| (r.state, r.attempts)).collect();
    assert_eq!(states, [(RecipientState::Delivered, 2), (RecipientState::Bounced, 1)]);
    let timeline =
        house.test.database.message_timeline(&ACCESS, house.tenant.tenant.id, message).await.unwrap();
    assert_eq!(timeline.len(), 3);

    let events = house.events().await;
    let bounced = &events[4].event.data;
    assert_eq!(
        (&bounced["stream"], &bounced["domain"]),
        (&"marketing".into(), &"news.client.example".into())
    );
    assert_eq!(
        (&bounced["recipient"], &bounced["tags"][0]),
        (&"b@example.org".into(), &"nov26\u{FFFD}".into())
    );
    assert_eq!((&bounced["outcome"]["code"], &bounced["outcome"]["hard"]), (&550.into(), &true.into()));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_behind_the_cursor_and_still_knows_older_messages() {
    let house = House::new(None).await;
    let running = house.start(Config::default());
    let message = house.accept(&["a@example.org"]).await;
    house.kinds(1).await;
    running.stop().await;

    house.settle(message, 0, 1, Settlement::Delivered).await;
    let running = house.start(Config::default());
    assert_eq!(house.kinds(2).await, [EventKind::MessageAccepted, EventKind::MessageDelivered]);
    let delivered = &house.events().await[1].event.data;
    assert_eq!(
        (&delivered["recipient"], &delivered["metadata"]["order"]),
        (&"a@example.org".into(), &"77".into())
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_a_lost_journal_hides_nothing_of_the_new_one() {
    let house = House::new(None).await;
    let running = house.start(Config::default());
    for _ in 0..20 {
        house.accept(&["a@example.org"]).await;
    }
    house.kinds(20).await;
    running.stop().await;

    let house = house.with_new_journal();
    let running = house.start(Config::default());
    house.accept(&["b@example.org"]).await;
    house.kinds(21).await;
    running.stop().await;
}

/// Takes a segment away and puts a name there that cannot be opened.
fn hide_segment(house: &House, number: u32) {
    let segment = house.segment(number);
    std::fs::rename(&segment, segment.with_extension("away")).unwrap();
    std::os::unix::fs::symlink(&segment, &segment).unwrap();
}

fn give_segment_again(house: &House, number: u32) {
    let segment = house.segment(number);
    std::fs::rename(segment.with_extension("away"), &segment).unwrap();
}

/// Twenty messages with three events each; the last of them.
async fn sixty_events(house: &House) -> MessageId {
    let mut last = None;
    for _ in 0..20 {
        let message = house.accept(&["a@example.org"]).await;
        house.defer(message, 0, 1, busy()).await;
        house.settle(message, 0, 2, Settlement::Delivered).await;
        last = Some(message);
    }
    last.unwrap()
}

/// How many events there are when the projection has passed over so many segments and told what came last.
async fn events_told_over(segments: usize, house: &House, last: MessageId) -> usize {
    let tenant = house.tenant.tenant.id;
    eventually(|| async {
        house.test.clock.advance(Duration::from_millis(200));
        let row = house.test.database.message_fetch(&ACCESS, tenant, last).await.ok()?;
        let delivered = row.recipients[0].state == RecipientState::Delivered;
        (delivered && house.spool.status().owed == segments).then_some(())
    })
    .await;
    house.events().await.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_passed_over_is_told_once_when_it_can_be_read_and_no_start_forgets_it() {
    let house = House::new(None).await.with_small_segments().await;
    let last = sixty_events(&house).await;
    let house = house.with_small_segments().await;
    let end = house.spool.status().end;
    let told_up_to = async |house: &House| told_up_to(&house.test.database, &house.spool).await.unwrap();
    hide_segment(&house, 2);
    let running = house.start(Config::default());
    let told = events_told_over(1, &house, last).await;
    assert!((30..60).contains(&told), "{told}");
    // Everything before it is in the tables, and nothing behind it is promised.
    assert_eq!(told_up_to(&house).await.segment(), 2);
    running.stop().await;
    // What is in the tables already is not counted again.
    let counted = usage_today(&house.test.database, &house.spool, house.now()).await.unwrap().counts;
    assert!(counted.iter().all(|count| count.recipients < 20), "{counted:?}");
    // A start that cannot open it either.
    let house = house.with_small_segments().await;
    let running = house.start(Config::default());
    assert_eq!(events_told_over(1, &house, last).await, told);
    assert_eq!(told_up_to(&house).await.segment(), 2);
    give_segment_again(&house, 2);
    assert_eq!(house.kinds(60).await.len(), 60);
    eventually(|| async { (told_up_to(&house).await >= end).then_some(()) }).await;
    assert_eq!((house.events().await.len(), house.spool.status().owed), (60, 0));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_owed_is_not_forgotten_when_what_lies_behind_it_is_given() {
    let house = House::new(None).await.with_small_segments().await;
    let last = sixty_events(&house).await;
    let house = house.with_small_segments().await;
    let told_up_to = async |house: &House| told_up_to(&house.test.database, &house.spool).await.unwrap();
    [2, 3].iter().for_each(|number| hide_segment(&house, *number));
    let running = house.start(Config::default());
    let told = events_told_over(2, &house, last).await;
    give_segment_again(&house, 3);
    eventually(|| async {
        house.test.clock.advance(Duration::from_millis(200));
        let more = house.events().await.len() > told;
        (more && house.spool.status().owed == 1).then_some(())
    })
    .await;
    assert_eq!(told_up_to(&house).await.segment(), 2);
    give_segment_again(&house, 2);
    assert_eq!(house.kinds(60).await.len(), 60);
    eventually(|| async { (house.spool.status().owed == 0).then_some(()) }).await;
    assert_eq!(house.events().await.len(), 60);
    running.stop().await;
}

/// What the dispatcher writes down when time is over: it does not remember what was said.
fn expiry() -> Outcome {
    Outcome {
        stage: "queue",
        reply: None,
        trouble: Some("it could not be delivered in time".to_string()),
        status: Some(EnhancedStatus::new(4, 4, 7)),
        mx: None,
        egress: None,
        tls: None,
        ..answered(451, "remote.down", Verdict::Failed, ClassKind::Soft)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expires_is_told_with_the_words_of_its_last_attempt() {
    let house = House::new(None).await;
    let message = house.accept(&["told@example.org", "one@example.org", "never@example.org"]).await;
    let busy = |class| answered(451, class, Verdict::Deferred, ClassKind::Throttle);
    house.defer(message, 0, 1, busy("greylist")).await;
    house.defer(message, 0, 2, busy("throttled")).await;
    let running = house.start(Config::default());
    // Told before: its words are only in the tables. Those of the second come together with its end.
    house.kinds(5).await;
    running.stop().await;
    house.defer(message, 1, 1, busy("remote.busy")).await;
    for (recipient, attempts) in [(0, 2), (1, 1), (2, 0)] {
        house.settle_with(message, recipient, attempts, Settlement::Expired, Some(expiry())).await;
    }
    let running = house.start(Config::default());
    house.kinds(9).await;
    let events = house.events().await;
    let failed: Vec<_> = events.iter().filter(|row| row.event.kind == EventKind::MessageFailed).collect();
    assert_eq!(failed.len(), 3);
    for (row, class) in failed.iter().zip(["throttled", "remote.busy"]) {
        let data = &row.event.data;
        let wanted = json!({
            "class": class, "hard": false, "source": "smtp", "stage": "rcpt", "code": 451, "enhanced": "4.1.1",
            "reply": "451 4.1.1 so they say", "mx": "mx1.example.org", "egress": "192.0.2.25", "provider": "other",
            "tls": "TLSv1.3",
        });
        assert_eq!((&data["reason"], &data["outcome"]), (&json!("expired"), &wanted));
    }
    let never = &failed[2].event.data;
    assert_eq!((&never["reason"], &never["outcome"]["enhanced"]), (&json!("expired"), &json!("4.4.7")));
    assert_eq!(never["outcome"]["reply"], "it could not be delivered in time");

    let row = house.message(message).await;
    let said: Vec<_> = row.recipients.iter().map(|r| (r.class.as_deref(), r.reply.as_deref())).collect();
    let words = Some("451 4.1.1 so they say");
    let own = Some("it could not be delivered in time");
    assert_eq!(said, [(Some("throttled"), words), (Some("remote.busy"), words), (Some("remote.down"), own)]);
    assert!(row.recipients.iter().all(|recipient| recipient.state == RecipientState::Expired));
    let timeline =
        house.test.database.message_timeline(&ACCESS, house.tenant.tenant.id, message).await.unwrap();
    // Nothing happened at the end of those that had been tried, so there is no row of it.
    let rows: Vec<_> = timeline.iter().map(|row| (row.n, row.attempt, row.enhanced.as_deref())).collect();
    assert_eq!(rows.iter().filter(|row| row.0 < 2 && row.2 == Some("4.1.1")).count(), 3);
    assert_eq!((rows.len(), rows.iter().filter(|row| row.0 == 2).count()), (4, 1));
    running.stop().await;
}
