//! Events as they are read: from a cursor or a time on, in the order they were told.

use crate::fixture::*;
use database::{Batch, PageRequest};
use mail::{Event, EventId, EventKind, Random, Timestamp};
use std::time::Duration;

#[tokio::test]
async fn events_are_read_from_a_time_on_even_if_times_and_numbers_disagree_for_a_moment() {
    let (test, one) = with_tenant().await;
    let start = one.tenant.created_at.saturating_add(Duration::from_secs(3600));
    let mut random = Random::from_number(9);
    // Minutes 0 to 9, but for the fifth and the sixth, which were told the other way round a few seconds apart.
    let events: Vec<Event> = [0, 60, 120, 180, 240, 330, 300, 420, 480, 540]
        .map(|second| {
            let timestamp = start.saturating_add(Duration::from_secs(second));
            let data = serde_json::json!({ "second": second });
            let id = EventId::mint(timestamp, &mut random);
            Event { id, kind: EventKind::MessageAccepted, timestamp, tenant: one.tenant.id, data }
        })
        .to_vec();
    let batch = Batch { cursor_name: "since".to_owned(), position: vec![1], events, ..Batch::default() };
    test.database.projection_apply(&house(), &batch).await.unwrap();
    let since = start.saturating_add(Duration::from_secs(300));
    let first = PageRequest::new(Some(2), None).unwrap();
    let page = test.database.event_list(&house(), one.tenant.id, &first, Some(since)).await.unwrap();
    let seconds: Vec<_> = page.rows.iter().filter_map(|row| row.event.data["second"].as_u64()).collect();
    assert_eq!(seconds, [330, 300]);
    let rest = PageRequest::new(None, page.next.as_deref()).unwrap();
    let page = test.database.event_list(&house(), one.tenant.id, &rest, Some(since)).await.unwrap();
    let seconds: Vec<_> = page.rows.iter().filter_map(|row| row.event.data["second"].as_u64()).collect();
    assert_eq!(seconds, [420, 480, 540]);
    let later = start.saturating_add(Duration::from_secs(541));
    assert!(
        test.database.event_list(&house(), one.tenant.id, &first, Some(later)).await.unwrap().rows.is_empty()
    );
}

#[tokio::test]
async fn events_are_listed_in_the_order_of_their_batch() {
    let (test, one) = with_tenant().await;
    let mut random = Random::from_number(7);
    let events: Vec<Event> = (0..500)
        .map(|number| {
            let at = one.tenant.created_at.saturating_add(Duration::from_millis(number));
            let data = serde_json::json!({ "number": number });
            let id = EventId::mint(Timestamp::UNIX_EPOCH, &mut random);
            Event { id, kind: EventKind::MessageAccepted, timestamp: at, tenant: one.tenant.id, data }
        })
        .collect();
    let batch = Batch { cursor_name: "order".to_owned(), position: vec![1], events, ..Batch::default() };
    test.database.projection_apply(&house(), &batch).await.unwrap();
    let (mut page, mut seen) = (PageRequest::new(Some(200), None).unwrap(), Vec::new());
    loop {
        let list = test.database.event_list(&house(), one.tenant.id, &page, None).await.unwrap();
        seen.extend(list.rows.iter().filter_map(|row| row.event.data["number"].as_u64()));
        // Events never end: there is always a place to go on.
        page = PageRequest::new(Some(200), list.next.as_deref()).unwrap();
        if list.rows.is_empty() {
            break;
        }
    }
    assert_eq!(seen, (0..500).collect::<Vec<u64>>());
}

/// Ten days of events, of which one was told an hour after the others of its time, and those of another tenant between them.
#[tokio::test]
async fn the_place_of_a_time_is_found_among_many_and_nothing_of_it_is_left_out() {
    let (test, one) = with_tenant().await;
    let new = onboarding("Other", "two.example");
    let two = test.database.tenant_onboard(&house(), &new, &defaults()).await.unwrap();
    let start = one.tenant.created_at;
    let mut random = Random::from_number(11);
    let mut events = Vec::new();
    for minute in 0..14_400_u64 {
        // What happened at minute 5,000 was told with what happened at 5,059.
        let happened = if minute == 5_059 { 5_000 } else { minute };
        for tenant in [one.tenant.id, two.tenant.id] {
            let timestamp = start.saturating_add(Duration::from_secs(60 * happened));
            let data = serde_json::json!({ "minute": minute });
            let id = EventId::mint(timestamp, &mut random);
            events.push(Event { id, kind: EventKind::MessageAccepted, timestamp, tenant, data });
        }
    }
    for (number, events) in events.chunks(4_000).enumerate() {
        let position = vec![u8::try_from(number).unwrap()];
        let batch =
            Batch { cursor_name: "place".to_owned(), position, events: events.to_vec(), ..Batch::default() };
        test.database.projection_apply(&house(), &batch).await.unwrap();
    }
    let read = async |minute: u64, page: &PageRequest| {
        let since = start.saturating_add(Duration::from_secs(60 * minute));
        let page = test.database.event_list(&house(), one.tenant.id, page, Some(since)).await.unwrap();
        let minutes =
            page.rows.iter().filter_map(|row| row.event.data["minute"].as_u64()).collect::<Vec<_>>();
        (minutes, page.next)
    };
    let page = PageRequest::new(Some(3), None).unwrap();
    for minute in [0, 1, 199, 4_999, 7_200, 14_300] {
        assert_eq!(read(minute, &page).await.0, [minute, minute + 1, minute + 2], "{minute}");
    }
    assert_eq!(read(14_399, &page).await.0, [14_399]);
    assert_eq!(read(14_400, &page).await.0, Vec::<u64>::new());
    // The late one comes where it was told.
    let all = PageRequest::new(Some(60), None).unwrap();
    let (minutes, next) = read(5_000, &all).await;
    assert_eq!((minutes[0], minutes[59]), (5_000, 5_059));
    let (minutes, _) = read(5_000, &PageRequest::new(Some(2), next.as_deref()).unwrap()).await;
    assert_eq!(minutes, [5_060, 5_061]);
}
