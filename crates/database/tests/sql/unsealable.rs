//! Whether a key file belongs to a database shows in what it opens.

use crate::fixture::*;
use database::{Database, EndpointNew, KeyFit, Keys, MasterKey, PoolNew};
use mail::{Clock, Random, Timestamp};
use std::sync::Arc;

async fn fit(test: &TestDatabase, keys: Keys) -> KeyFit {
    let clock = Arc::clone(&test.clock) as Arc<dyn Clock>;
    let database = Database::connect(&test.config, keys, clock, Random::from_number(5)).await.unwrap();
    database.key_fit(&house()).await.unwrap()
}

/// A key of no installation that there is.
fn foreign() -> Keys {
    Keys::from_master(&[9; 32])
}

#[tokio::test]
async fn any_key_will_do_before_there_is_a_secret() {
    let test = TestDatabase::new().await;
    shared_pool(&test.database).await;
    assert_eq!(fit(&test, foreign()).await, KeyFit::NothingSealed);
    assert_eq!(fit(&test, Keys::none()).await, KeyFit::NothingSealed);
}

#[tokio::test]
async fn keys_that_open_nothing_are_not_those_of_this_database() {
    let (test, one) = with_tenant().await;
    let first = &test.database;
    let hook = EndpointNew { url: "https://client.example/hook".to_owned(), kinds: Vec::new() };
    first.endpoint_create(&house(), one.tenant.id, &hook).await.unwrap();
    assert_eq!(first.key_fit(&house()).await.unwrap(), KeyFit::Opens);
    assert_eq!(fit(&test, foreign()).await, KeyFit::NothingOpens);
    assert_eq!(fit(&test, Keys::none()).await, KeyFit::NothingOpens);
    // A retired one alone opens nothing; that of before beside a new one opens all.
    let old = || MasterKey::derived(1, Timestamp::UNIX_EPOCH, &[7; 32]);
    let new = || MasterKey::derived(2, Timestamp::UNIX_EPOCH, &[8; 32]);
    let retired = MasterKey { sealing: None, ..old() };
    assert_eq!(fit(&test, Keys::of(retired, [new()])).await, KeyFit::NothingOpens);
    assert_eq!(fit(&test, Keys::of(old(), [new()])).await, KeyFit::Opens);
}

/// Each kind of secret alone is proof, whichever others do not open.
#[tokio::test]
async fn one_secret_that_opens_is_enough() {
    let (test, one) = with_tenant().await;
    let (first, tenant, admin) = (&test.database, one.tenant.id, test.admin().await);
    admin.execute("UPDATE dkim_keys SET sealed = sealed || decode('00', 'hex')", &[]).await.unwrap();
    assert_eq!(first.key_fit(&house()).await.unwrap(), KeyFit::NothingOpens);
    let platform_domain = Some(domain("platform.example"));
    let signed = PoolNew { name: slug("signed"), tenant: None, members: Vec::new(), platform_domain };
    first.pool_create(&house(), &signed).await.unwrap();
    assert_eq!(first.key_fit(&house()).await.unwrap(), KeyFit::Opens);
    let sql = "UPDATE pools SET platform_sealed = platform_sealed || decode('00', 'hex')";
    admin.execute(sql, &[]).await.unwrap();
    assert_eq!(first.key_fit(&house()).await.unwrap(), KeyFit::NothingOpens);
    let hook = EndpointNew { url: "https://client.example/hook".to_owned(), kinds: Vec::new() };
    let (endpoint, _) = first.endpoint_create(&house(), tenant, &hook).await.unwrap();
    assert_eq!(first.key_fit(&house()).await.unwrap(), KeyFit::Opens);
    first.endpoint_rotate(&house(), tenant, endpoint.id).await.unwrap();
    assert_eq!(first.key_fit(&house()).await.unwrap(), KeyFit::Opens);
}
