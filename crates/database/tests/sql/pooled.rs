//! Connections that are given back in the middle of something: whoever comes next sees nothing of who was there.

use crate::fixture::*;
use crate::walls::furnished;
use database::PageRequest;
use std::future::Future;
use std::task::Poll;

const ASKED_FOR: &str = "in the middle of a transaction";

/// Polls a future so many times and then drops it in the middle of what it does, or panics with it.
async fn cut<T>(work: impl Future<Output = T>, polls: u32, end: End) -> Option<T> {
    let mut work = Box::pin(work);
    let mut count = 0;
    let outcome = std::future::poll_fn(|context| {
        if count == polls {
            return Poll::Ready(None);
        }
        count += 1;
        work.as_mut().poll(context).map(Some)
    })
    .await;
    assert!(outcome.is_some() || end != End::Panic, "{ASKED_FOR}");
    outcome
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Drop,
    Panic,
}

/// Eight connections, two tenants and the house; most transactions are dropped or panic somewhere between two answers.
#[tokio::test]
async fn ten_thousand_transactions_that_end_anywhere_leave_no_scope_behind() {
    const ROUNDS: u32 = 10_000;
    let (test, one, two) = furnished().await;
    let hook = std::panic::take_hook();
    // Thousands of traces would say nothing.
    std::panic::set_hook(Box::new(|_| {}));
    let mut counts = Counts::default();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..ROUNDS {
        let (database, tenant) = (test.database.clone(), if n % 2 == 0 { one } else { two });
        tasks.spawn(async move {
            let (access, page) = (admin_of(tenant), PageRequest::first());
            let end = if n % 7 == 0 { End::Panic } else { End::Drop };
            // A whole transaction takes some ten polls; some are let to their end.
            let polls = if n % 5 == 0 { u32::MAX } else { n % 13 };
            let work = async {
                let streams = database.stream_list(&access, tenant, &page).await?;
                let people = database.audit_list(&access, &page).await?;
                Ok::<_, database::Fault>((streams.rows, people.rows))
            };
            let Some(outcome) = cut(work, polls, end).await else { return false };
            let (streams, entries) = outcome.unwrap();
            assert!(!streams.is_empty() && streams.iter().all(|stream| stream.tenant == tenant), "a leak");
            assert!(
                !entries.is_empty() && entries.iter().all(|entry| entry.tenant == Some(tenant)),
                "a leak"
            );
            true
        });
        // As many at a time as make each other wait for a connection.
        if tasks.len() >= 32 {
            counts.add(tasks.join_next().await.unwrap());
        }
    }
    while let Some(ended) = tasks.join_next().await {
        counts.add(ended);
    }
    std::panic::set_hook(hook);
    println!("{counts:?}");
    let Counts { done, cut_short, panicked } = counts;
    assert!(done > ROUNDS / 10 && cut_short > ROUNDS / 4 && panicked > ROUNDS / 20);
    let admin = test.admin().await;
    let open =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    assert_eq!(admin.query_one(open, &[]).await.unwrap().get::<_, i64>(0), 0, "a transaction was left open");
    assert_eq!(test.database.tenant_list(&house(), &PageRequest::first()).await.unwrap().rows.len(), 2);
}

#[derive(Debug, Default)]
struct Counts {
    done: u32,
    cut_short: u32,
    panicked: u32,
}

impl Counts {
    /// Any panic but the one that was asked for is the test's.
    fn add(&mut self, ended: Result<bool, tokio::task::JoinError>) {
        match ended {
            Ok(true) => self.done += 1,
            Ok(false) => self.cut_short += 1,
            Err(error) => {
                let words = error.into_panic();
                let text = words.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| words.downcast_ref::<&str>().copied());
                assert_eq!(text, Some(ASKED_FOR));
                self.panicked += 1;
            }
        }
    }
}

/// A setting that outlives its transaction would be the next caller's.
#[test]
fn settings_are_made_for_one_transaction_only() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let place = format!("{}:{}", path.display(), number + 1);
            let lasting = ["SET SESSION", "SET ROLE", "SET posthouse", ", false)", "SET search_path"];
            let is_setting = code.contains("set_config") || code.contains("SET ");
            assert!(!(is_setting && lasting.iter().any(|word| code.contains(word))), "{place}: {line}");
        }
        files += 1;
    }
    assert!(files > 20);
}
