//! Shutting down: new connections and idle ones are told 421, a message under way gets its answer.

use crate::support::{Client, World, message};
use std::time::Duration;

#[tokio::test]
async fn an_open_data_gets_its_answer_and_everybody_else_421() {
    let world = World::new().await;
    let mut idle = world.log_in().await;
    let mut busy = world.log_in().await;
    busy.expect("MAIL FROM:<a@client.example>", "250").await;
    busy.expect("RCPT TO:<anna@example.org>", "250").await;
    busy.expect("DATA", "354").await;
    busy.send(b"From: a@client.example\r\n").await;
    world.shutdown.cancel();
    let reply = idle.reply().await;
    assert!(reply.starts_with("421 4.3.2"), "{reply}");
    assert!(idle.is_closed().await);
    let (_, greeting) = Client::connect_raw(world.addresses().submission.unwrap()).await;
    assert!(greeting.starts_with("421 4.3.2"), "{greeting}");
    busy.send(b"\r\nstill here\r\n.\r\n").await;
    let reply = busy.reply().await;
    assert!(reply.starts_with("250 2.0.0 queued as msg_"), "{reply}");
    let reply = busy.reply().await;
    assert!(reply.starts_with("421 4.3.2"), "{reply}");
    assert!(world.accepted().await.1.ends_with("still here\r\n"));
    tokio::time::timeout(Duration::from_secs(5), world.handle.finished()).await.expect("the end");
}

#[tokio::test]
async fn who_does_not_finish_in_time_is_cut_off() {
    let world = World::with(|plan| plan.config.limits.drain_s_max = 1).await;
    let mut client = world.log_in().await;
    client.expect("MAIL FROM:<a@client.example>", "250").await;
    client.expect("RCPT TO:<anna@example.org>", "250").await;
    client.expect("DATA", "354").await;
    client.send(message("a@client.example").as_bytes()).await;
    world.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(5), world.handle.finished()).await.expect("the end");
    assert!(client.is_closed().await);
}
