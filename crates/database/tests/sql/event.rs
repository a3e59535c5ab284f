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
        match list.next {
            Some(cursor) => page = PageRequest::new(Some(200), Some(&cursor)).unwrap(),
            None => break,
        }
    }
    assert_eq!(seen, (0..500).collect::<Vec<u64>>());
}
