//! People, passwords, refresh tokens.

use crate::fixture::*;
use database::{Fault, Lifetimes, PageRequest, Refreshed, UserNew};
use registry::Role;
use std::time::Duration;
use zeroize::Zeroizing;

fn secret(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

fn operator(email: &str, password: &str) -> UserNew {
    UserNew { email: email.to_owned(), password: secret(password), role: Role::Operator, tenant: None }
}

fn lifetimes(refresh_seconds: u64) -> Lifetimes {
    Lifetimes { access: Duration::from_secs(900), refresh: Duration::from_secs(refresh_seconds) }
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
    assert!(matches!(database.user_disable(&house, user.id).await, Err(Fault::Last { .. })));
    database.operator_ensure("second@posthouse.test", secret("correct horse")).await.unwrap();
    database.user_disable(&house, user.id).await.unwrap();
    assert_eq!(authenticate("operator@posthouse.test", "battery staple").await.unwrap(), None);
    let client = test.admin().await;
    let stored: String =
        client.query_one("SELECT password_hash FROM users LIMIT 1", &[]).await.unwrap().get(0);
    assert!(stored.starts_with("$argon2id$"));
}

#[tokio::test]
async fn an_address_is_the_same_however_it_is_written() {
    let test = TestDatabase::new().await;
    let (database, house) = (&test.database, house());
    for (first, then) in
        [("op@b\u{fc}cher.example", "OP@xn--bcher-kva.example"), ("a@b.example.", " a@b.example ")]
    {
        let user = database.operator_ensure(first, secret("correct horse")).await.unwrap();
        for text in [first, then] {
            assert_eq!(
                database.operator_ensure(text, secret("another horse")).await.unwrap(),
                user,
                "{text}"
            );
            let found = database.user_authenticate(&house, text, secret("correct horse")).await.unwrap();
            assert_eq!(found.as_ref(), Some(&user), "{text}");
        }
    }
    for text in ["", "nobody", "a@@b"] {
        assert_eq!(database.user_authenticate(&house, text, secret("correct horse")).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_refresh_token_works_once_and_its_copy_ends_the_family() {
    let test = TestDatabase::new().await;
    let (database, house) = (&test.database, house());
    let day = lifetimes(86_400);
    let user = database.operator_ensure("operator@posthouse.test", secret("correct horse")).await.unwrap();
    let first = database.refresh_issue(&house, user.id, day).await.unwrap();
    let id = first.id;
    let first = first.token;
    let Refreshed::Renewed(who, second) = database.refresh_rotate(&house, &first, day).await.unwrap() else {
        panic!("the first use is refused");
    };
    assert_eq!((who, second.id), (user.clone(), id));
    assert!(matches!(database.refresh_rotate(&house, &first, day).await.unwrap(), Refreshed::Copied));
    assert!(matches!(database.refresh_rotate(&house, &first, day).await.unwrap(), Refreshed::Refused));
    let entry = database.audit_list(&house, &PageRequest::first()).await.unwrap().rows.remove(0);
    assert_eq!((entry.action.as_str(), entry.object), ("session.end", user.id.to_string()));
    assert!(matches!(database.refresh_rotate(&house, &second.token, day).await.unwrap(), Refreshed::Refused));
    assert!(matches!(database.refresh_rotate(&house, "made up", day).await.unwrap(), Refreshed::Refused));
}

#[tokio::test]
async fn expired_revoked_and_disabled_tokens_are_refused() {
    let test = TestDatabase::new().await;
    let (database, house) = (&test.database, house());
    let hour = lifetimes(3600);
    let user = database.operator_ensure("operator@posthouse.test", secret("correct horse")).await.unwrap();
    let (old, out, off) = (
        database.refresh_issue(&house, user.id, lifetimes(1)).await.unwrap().token,
        database.refresh_issue(&house, user.id, hour).await.unwrap().token,
        database.refresh_issue(&house, user.id, hour).await.unwrap().token,
    );
    test.clock.advance(Duration::from_secs(2));
    assert!(matches!(database.refresh_rotate(&house, &old, hour).await.unwrap(), Refreshed::Refused));
    assert!(database.refresh_revoke(&house, &out, hour).await.unwrap());
    assert!(!database.refresh_revoke(&house, &out, hour).await.unwrap(), "there is none any more");
    assert!(matches!(database.refresh_rotate(&house, &out, hour).await.unwrap(), Refreshed::Refused));
    database.operator_ensure("second@posthouse.test", secret("correct horse")).await.unwrap();
    database.user_disable(&house, user.id).await.unwrap();
    assert!(matches!(database.refresh_rotate(&house, &off, hour).await.unwrap(), Refreshed::Refused));
}

/// The two meet at the row of the token: whoever comes second sees what the first has done.
#[tokio::test]
async fn a_log_out_while_the_token_is_renewed_ends_what_came_of_it_too() {
    let test = TestDatabase::new().await;
    let (database, house, hour) = (&test.database, house(), lifetimes(3600));
    let user = database.operator_ensure("operator@posthouse.test", secret("correct horse")).await.unwrap();
    let mut renewed = 0;
    for _ in 0..20 {
        let first = database.refresh_issue(&house, user.id, hour).await.unwrap().token;
        let (next, out) = tokio::join!(
            database.refresh_rotate(&house, &first, hour),
            database.refresh_revoke(&house, &first, hour)
        );
        assert!(out.unwrap());
        if let Refreshed::Renewed(_, next) = next.unwrap() {
            renewed += 1;
            let after = database.refresh_rotate(&house, &next.token, hour).await.unwrap();
            assert!(matches!(after, Refreshed::Refused), "{after:?}");
        }
    }
    println!("{renewed} of 20 were renewed first");
}

#[tokio::test]
async fn that_a_session_ended_is_remembered_as_long_as_its_tokens_are_good() {
    let test = TestDatabase::new().await;
    let (database, house, hour) = (&test.database, house(), lifetimes(3600));
    let user = database.operator_ensure("operator@posthouse.test", secret("correct horse")).await.unwrap();
    let session = database.refresh_issue(&house, user.id, hour).await.unwrap();
    database.refresh_revoke(&house, &session.token, hour).await.unwrap();
    let client = test.admin().await;
    for (seconds, left) in [(0, 1), (899, 1), (2, 0)] {
        test.clock.advance(Duration::from_secs(seconds));
        database.idempotency_forget(&house, user.created_at).await.unwrap();
        let count: i64 = client.query_one("SELECT count(*) FROM sessions_ended", &[]).await.unwrap().get(0);
        assert_eq!(count, left, "after {seconds} s more");
    }
}
