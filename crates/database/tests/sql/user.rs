//! People, passwords, refresh tokens.

use crate::fixture::*;
use database::{Fault, Refreshed, UserNew};
use registry::Role;
use std::time::Duration;
use zeroize::Zeroizing;

fn secret(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

fn operator(email: &str, password: &str) -> UserNew {
    UserNew { email: email.to_owned(), password: secret(password), role: Role::Operator, tenant: None }
}

#[tokio::test]
async fn weak_passwords_bad_addresses_and_misfit_roles_are_refused() {
    let (test, one) = with_tenant().await;
    let house = house();
    let create = |new| test.database.user_create(&house, new);
    assert!(matches!(
        create(operator("a@b.example", "short")).await,
        Err(Fault::Invalid { field: "password", .. })
    ));
    let bad = create(operator("nobody", "a long password")).await;
    assert!(matches!(bad, Err(Fault::Invalid { field: "email", .. })));
    let misfit = UserNew { tenant: Some(one.tenant.id), ..operator("a@b.example", "a long password") };
    assert!(matches!(create(misfit).await, Err(Fault::Invalid { field: "role", .. })));
    create(operator("a@b.example", "a long password")).await.unwrap();
    let again = create(operator("A@B.example", "a long password")).await;
    assert!(matches!(again, Err(Fault::Conflict { field: "email" })));
}

#[tokio::test]
async fn only_the_right_password_of_an_active_user_lets_in() {
    let test = TestDatabase::new().await;
    let (database, house) = (&test.database, house());
    let user = database.operator_ensure("operator@posthouse.test", secret("correct horse")).await.unwrap();
    let known = database.operator_ensure("operator@posthouse.test", secret("other password")).await.unwrap();
    assert_eq!(user, known);
    let authenticate =
        |email: &'static str, password: &str| database.user_authenticate(&house, email, secret(password));
    assert_eq!(authenticate("operator@posthouse.test", "other password").await.unwrap(), None);
    assert_eq!(authenticate("nobody@posthouse.test", "correct horse").await.unwrap(), None);
    assert_eq!(authenticate("Operator@posthouse.test", "correct horse").await.unwrap(), Some(user.clone()));
    database.user_set_password(&house, user.id, secret("battery staple")).await.unwrap();
    assert_eq!(authenticate("operator@posthouse.test", "correct horse").await.unwrap(), None);
    // Nobody could let the last operator in again.
    assert!(matches!(database.user_disable(&house, user.id).await, Err(Fault::InUse { .. })));
    database.operator_ensure("second@posthouse.test", secret("correct horse")).await.unwrap();
    database.user_disable(&house, user.id).await.unwrap();
    assert_eq!(authenticate("operator@posthouse.test", "battery staple").await.unwrap(), None);
    let client = test.admin().await;
    let stored: String =
        client.query_one("SELECT password_hash FROM users LIMIT 1", &[]).await.unwrap().get(0);
    assert!(stored.starts_with("$argon2id$"));
}

#[tokio::test]
async fn a_refresh_token_works_once_and_its_copy_ends_the_family() {
    let test = TestDatabase::new().await;
    let (database, house) = (&test.database, house());
    let day = Duration::from_secs(86_400);
    let user = database.operator_ensure("operator@posthouse.test", secret("correct horse")).await.unwrap();
    let first = database.refresh_issue(&house, user.id, day).await.unwrap();
    let Refreshed::Renewed(who, second) = database.refresh_rotate(&house, &first, day).await.unwrap() else {
        panic!("the first use is refused");
    };
    assert_eq!(who, user);
    assert!(matches!(database.refresh_rotate(&house, &first, day).await.unwrap(), Refreshed::Refused));
    assert!(matches!(database.refresh_rotate(&house, &second, day).await.unwrap(), Refreshed::Refused));
    assert!(matches!(database.refresh_rotate(&house, "made up", day).await.unwrap(), Refreshed::Refused));
}

#[tokio::test]
async fn expired_revoked_and_disabled_tokens_are_refused() {
    let test = TestDatabase::new().await;
    let (database, house) = (&test.database, house());
    let hour = Duration::from_secs(3600);
    let user = database.operator_ensure("operator@posthouse.test", secret("correct horse")).await.unwrap();
    let (old, out, off) = (
        database.refresh_issue(&house, user.id, Duration::from_secs(1)).await.unwrap(),
        database.refresh_issue(&house, user.id, hour).await.unwrap(),
        database.refresh_issue(&house, user.id, hour).await.unwrap(),
    );
    test.clock.advance(Duration::from_secs(2));
    assert!(matches!(database.refresh_rotate(&house, &old, hour).await.unwrap(), Refreshed::Refused));
    database.refresh_revoke(&house, &out).await.unwrap();
    assert!(matches!(database.refresh_rotate(&house, &out, hour).await.unwrap(), Refreshed::Refused));
    database.operator_ensure("second@posthouse.test", secret("correct horse")).await.unwrap();
    database.user_disable(&house, user.id).await.unwrap();
    assert!(matches!(database.refresh_rotate(&house, &off, hour).await.unwrap(), Refreshed::Refused));
}
