//! Our own trouble is never the client's: a disk that fails makes every answer temporary, and nothing is said twice.

use crate::support::{World, message};
use spool::lying::{LyingDisk, Times};
use std::sync::Arc;

#[tokio::test]
async fn a_sync_that_fails_is_a_451_and_so_is_everything_after_it() {
    let disk = LyingDisk::new();
    let lying = disk.clone();
    let world = World::with(|plan| plan.disk = Arc::new(lying)).await;
    let mut client = world.log_in().await;
    let mail = message("a@client.example");
    let reply = client.submit("a@client.example", &["anna@example.org"], &mail).await;
    assert!(reply.starts_with("250"), "{reply}");
    disk.fail_sync(1, Times::Once);
    for _ in 0..2 {
        let reply = client.submit("a@client.example", &["anna@example.org"], &mail).await;
        assert!(reply.starts_with("451 4.3.0"), "{reply}");
        assert!(!reply.contains("sync") && !reply.contains("segment"), "{reply}");
    }
    assert!(world.spool.sealed());
}

#[tokio::test]
async fn a_full_disk_is_a_452_and_goes_by() {
    let disk = LyingDisk::new();
    let lying = disk.clone();
    let world = World::with(|plan| plan.disk = Arc::new(lying)).await;
    let mut client = world.log_in().await;
    let mail = message("a@client.example");
    disk.set_capacity(Some(disk.used()));
    for _ in 0..2 {
        let reply = client.submit("a@client.example", &["anna@example.org"], &mail).await;
        assert!(reply.starts_with("452 4.3.1") && reply.contains("retry in 30 s"), "{reply}");
    }
    disk.set_capacity(None);
    let reply = client.submit("a@client.example", &["anna@example.org"], &mail).await;
    assert!(reply.starts_with("250"), "{reply}");
}
