//! Logging in, staying logged in, and keys.

use crate::harness::{House, OPERATOR, PASSWORD};
use api::Config;
use serde_json::json;
use std::time::Duration;

fn cookie(headers: &axum::http::HeaderMap) -> String {
    let line = headers["set-cookie"].to_str().unwrap();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/v1/auth", "Secure"] {
        assert!(line.contains(part), "{line}");
    }
    line.split(';').next().unwrap().to_owned()
}

/// As shipped, with delays that no test has to wait for.
fn quick() -> Config {
    let mut config = Config::default();
    config.login.delay_ms_first = 1;
    config.login.delay_ms_max = 1;
    config
}

#[tokio::test]
async fn a_wrong_address_and_a_wrong_password_are_one_answer_and_too_many_must_wait() {
    let house = House::with(quick()).await;
    let login = |email: &'static str, password: &'static str| house.login("192.0.2.7", email, password);
    let (unknown, wrong) =
        (login("nobody@posthouse.test", PASSWORD).await, login(OPERATOR, "not the password").await);
    assert_eq!(wrong.problem(401), "bad_credential");
    assert_eq!(unknown.said(), wrong.said());
    for _ in 0..7 {
        assert_eq!(login(OPERATOR, "not the password").await.problem(401), "bad_credential");
        house.clock.advance(Duration::from_secs(61));
    }
    let locked = login(OPERATOR, PASSWORD).await;
    assert_eq!(locked.problem(429), "too_many_logins");
    assert_eq!(locked.headers["retry-after"], "839");
    house.clock.advance(Duration::from_secs(840));
    login(OPERATOR, PASSWORD).await.expect(200);
}

#[tokio::test]
async fn a_stranger_cannot_lock_the_operator_out() {
    let house = House::with(quick()).await;
    for _ in 0..20 {
        house.login("198.51.100.1", OPERATOR, "not the password").await;
    }
    let locked = house.login("198.51.100.1", "OPERATOR@posthouse.test", PASSWORD).await;
    assert_eq!(locked.problem(429), "too_many_logins");
    house.login("203.0.113.5", OPERATOR, PASSWORD).await.expect(200);
}

#[tokio::test]
async fn strangers_from_everywhere_stop_a_name_but_not_where_it_logged_in_before() {
    let mut config = quick();
    config.login.failures_per_credential_minute_max = 6;
    let house = House::with(config).await;
    house.login("203.0.113.5", OPERATOR, PASSWORD).await.expect(200);
    for n in 0..6 {
        house.login(&format!("10.0.{n}.1"), OPERATOR, "not the password").await.expect(401);
    }
    assert_eq!(house.login("10.9.9.9", OPERATOR, PASSWORD).await.problem(429), "too_many_logins");
    house.login("203.0.113.77", OPERATOR, PASSWORD).await.expect(200);
}

#[tokio::test]
async fn one_network_that_tries_many_names_must_wait_and_right_passwords_are_not_counted() {
    let house = House::with(quick()).await;
    for _ in 0..20 {
        house.login("192.0.2.7", OPERATOR, PASSWORD).await.expect(200);
    }
    for n in 0..10 {
        house.login("192.0.2.7", &format!("n{n}@a.example"), "wrong").await.expect(401);
    }
    assert_eq!(house.login("192.0.2.7", "n10@a.example", "wrong").await.problem(429), "too_many_logins");
    house.login("192.0.2.7", OPERATOR, PASSWORD).await.expect(200);
}

#[tokio::test]
async fn a_token_ends_and_the_cookie_gives_the_next_one_exactly_once() {
    let house = House::open().await;
    let body = json!({"email": OPERATOR, "password": PASSWORD});
    let reply = house.call("POST", "/v1/auth/token", "", Some(body)).await;
    let answer = reply.expect(200);
    assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("Bearer"), &json!(900)));
    let token = answer["access_token"].as_str().unwrap().to_owned();
    house.call("GET", "/v1/tenants", &token, None).await.expect(200);
    house.clock.advance(Duration::from_secs(901));
    assert_eq!(house.call("GET", "/v1/tenants", &token, None).await.problem(401), "bad_credential");

    let first = cookie(&reply.headers);
    let refreshed = house.call_with("POST", "/v1/auth/refresh", "", None, &[("cookie", &first)]).await;
    let token = refreshed.expect(200)["access_token"].as_str().unwrap().to_owned();
    house.call("GET", "/v1/tenants", &token, None).await.expect(200);
    let second = cookie(&refreshed.headers);
    // The first cookie comes back: two people hold this login, so it ends for both.
    let again = house.call_with("POST", "/v1/auth/refresh", "", None, &[("cookie", &first)]).await;
    assert_eq!(again.problem(401), "bad_credential");
    let after = house.call_with("POST", "/v1/auth/refresh", "", None, &[("cookie", &second)]).await;
    assert_eq!(after.problem(401), "bad_credential");
    assert_eq!(
        house.call("POST", "/v1/auth/refresh", "", None).await.problem(401),
        "authentication_required"
    );
}

#[tokio::test]
async fn of_many_wrong_passwords_at_the_same_time_only_a_few_are_looked_at() {
    let house = House::with(quick()).await;
    let login = || house.login("192.0.2.7", OPERATOR, "not the password");
    let replies = futures_util::future::join_all((0..20).map(|_| login())).await;
    let (looked_at, told_to_wait): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 401);
    assert_eq!((looked_at.len(), told_to_wait.len()), (8, 12));
    assert!(told_to_wait.iter().all(|reply| reply.problem(429) == "too_many_logins"));
}

/// A second operator with a token of its own: id, address and token.
async fn colleague(house: &House, operator: &str) -> (String, &'static str, String) {
    let email = "second@posthouse.test";
    let body = json!({"email": email, "password": PASSWORD, "role": "operator"});
    let made = house.call("POST", "/v1/users", operator, Some(body)).await.expect(201);
    let login = json!({"email": email, "password": PASSWORD});
    let token = house.call("POST", "/v1/auth/token", "", Some(login)).await.expect(200);
    (made["id"].as_str().unwrap().to_owned(), email, token["access_token"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_token_ends_when_its_user_is_disabled() {
    let house = House::open().await;
    let operator = house.operator().await;
    let (id, _, token) = colleague(&house, &operator).await;
    house.call("GET", "/v1/tenants", &token, None).await.expect(200);
    house.call("DELETE", &format!("/v1/users/{id}"), &operator, None).await.expect(200);
    assert_eq!(house.call("GET", "/v1/tenants", &token, None).await.problem(401), "bad_credential");
    house.call("GET", "/v1/tenants", &operator, None).await.expect(200);
}

#[tokio::test]
async fn a_token_ends_with_the_password_and_a_new_one_is_good_although_the_snapshot_is_behind() {
    let house = House::open().await;
    let operator = house.operator().await;
    let (id, email, old) = colleague(&house, &operator).await;
    let password = "another long password";
    let body = json!({ "password": password });
    house.call("PUT", &format!("/v1/users/{id}/password"), &operator, Some(body)).await.expect(200);
    assert_eq!(house.call("GET", "/v1/tenants", &old, None).await.problem(401), "bad_credential");
    house.stop_following();
    let user = id.parse().unwrap();
    let access = registry::Access::house("test");
    house.database.database.user_set_password(&access, user, password.to_owned().into()).await.unwrap();
    let login = json!({"email": email, "password": password});
    let new = house.call("POST", "/v1/auth/token", "", Some(login)).await.expect(200);
    let new = new["access_token"].as_str().unwrap();
    house.call("GET", "/v1/tenants", new, None).await.expect(200);
    house.database.database.user_disable(&access, user).await.unwrap();
    assert_eq!(house.call("GET", "/v1/tenants", new, None).await.problem(401), "bad_credential");
}

#[tokio::test]
async fn a_token_ends_with_the_role_it_was_given_for_and_with_its_tenant() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let email = "admin@a.example";
    let body = json!({"email": email, "password": PASSWORD, "role": "admin", "tenant": client.tenant});
    house.call("POST", "/v1/users", &operator, Some(body)).await.expect(201);
    let login = json!({"email": email, "password": PASSWORD});
    let token = house.call("POST", "/v1/auth/token", "", Some(login)).await.expect(200);
    let token = token["access_token"].as_str().unwrap();
    house.call("GET", "/v1/tenants/self", token, None).await.expect(200);
    let admin = house.database.admin().await;
    let demote = format!("UPDATE users SET role = 'viewer' WHERE email = '{email}'");
    admin.batch_execute(&demote).await.unwrap();
    let rename = json!({"name": "Renamed"});
    house.call("PATCH", &client.path(""), &operator, Some(rename)).await.expect(200);
    assert_eq!(house.call("GET", "/v1/tenants/self", token, None).await.problem(401), "bad_credential");
    house.call("DELETE", &client.path(""), &operator, None).await.expect(202);
    let access = registry::Access::house("test");
    house.database.database.tenant_erase(&access, client.id()).await.unwrap();
    assert_eq!(house.call("GET", "/v1/tenants/self", token, None).await.problem(401), "bad_credential");
}

#[tokio::test]
async fn logging_out_ends_the_cookie() {
    let house = House::open().await;
    let body = json!({"email": OPERATOR, "password": PASSWORD});
    let login = cookie(&house.call("POST", "/v1/auth/token", "", Some(body)).await.headers);
    let out = house.call_with("POST", "/v1/auth/logout", "", None, &[("cookie", &login)]).await;
    out.expect(204);
    assert!(out.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    let after = house.call_with("POST", "/v1/auth/refresh", "", None, &[("cookie", &login)]).await;
    assert_eq!(after.problem(401), "bad_credential");
}

/// A program has no cookie.
#[tokio::test]
async fn logging_out_with_a_token_alone_ends_its_login() {
    let house = House::open().await;
    let ((first, login), (other, _)) = (logged_in(&house).await, logged_in(&house).await);
    house.call("POST", "/v1/auth/logout", &first, None).await.expect(204);
    assert_eq!(house.call("GET", "/v1/tenants", &first, None).await.problem(401), "bad_credential");
    let after = house.call_with("POST", "/v1/auth/refresh", "", None, &[("cookie", &login)]).await;
    assert_eq!(after.problem(401), "bad_credential");
    house.call("GET", "/v1/tenants", &other, None).await.expect(200);
    // Who shows nothing, or nothing good, was not logged in.
    for bearer in ["", "nonsense", &first] {
        house.call("POST", "/v1/auth/logout", bearer, None).await.expect(204);
    }
}

/// A login of the operator: its token and its cookie.
async fn logged_in(house: &House) -> (String, String) {
    let body = json!({"email": OPERATOR, "password": PASSWORD});
    let reply = house.call("POST", "/v1/auth/token", "", Some(body)).await;
    (reply.expect(200)["access_token"].as_str().unwrap().to_owned(), cookie(&reply.headers))
}

#[tokio::test]
async fn logging_out_ends_the_tokens_of_this_login_here_at_once_and_elsewhere_with_the_next_look() {
    let house = House::open().await;
    let there = house.neighbour(60_000).await;
    let ((first, login), (other, _)) = (logged_in(&house).await, logged_in(&house).await);
    let refreshed = house.call_with("POST", "/v1/auth/refresh", "", None, &[("cookie", &login)]).await;
    let second = refreshed.expect(200)["access_token"].as_str().unwrap().to_owned();
    let tenants = "/v1/tenants";
    for token in [&first, &second, &other] {
        house.call("GET", tenants, token, None).await.expect(200);
        assert_eq!(there.status(tenants, token).await, 200);
    }
    let login = cookie(&refreshed.headers);
    house.call_with("POST", "/v1/auth/logout", "", None, &[("cookie", &login)]).await.expect(204);
    for token in [&first, &second] {
        assert_eq!(house.call("GET", tenants, token, None).await.problem(401), "bad_credential");
    }
    // The notification tells the other node long before its clock does.
    let here = house.snapshots.generation();
    assert!(there.snapshots.reached(here, Duration::from_secs(20)).await, "the other node heard nothing");
    for token in [&first, &second] {
        assert_eq!(there.status(tenants, token).await, 401);
    }
    house.call("GET", tenants, &other, None).await.expect(200);
    assert_eq!(there.status(tenants, &other).await, 200);
}

#[tokio::test]
async fn a_cookie_that_comes_twice_ends_the_tokens_too() {
    let house = House::open().await;
    let (token, first) = logged_in(&house).await;
    let cookies = [("cookie", first.as_str())];
    let refresh = || house.call_with("POST", "/v1/auth/refresh", "", None, &cookies);
    let second = refresh().await.expect(200)["access_token"].as_str().unwrap().to_owned();
    assert_eq!(refresh().await.problem(401), "bad_credential");
    for token in [&token, &second] {
        assert_eq!(house.call("GET", "/v1/tenants", token, None).await.problem(401), "bad_credential");
    }
}

#[tokio::test]
async fn every_broken_credential_is_the_same_401() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let last = if client.key.ends_with('0') { "1" } else { "0" };
    let wrong = format!("{}{last}", &client.key[..client.key.len() - 1]);
    let mut answers = Vec::new();
    for bearer in
        [wrong.as_str(), "ph_live_x_y", "ph_live_", "nonsense", &operator[..operator.len() - 2], "a.b.c"]
    {
        let reply = house.call("GET", "/v1/tenants/self", bearer, None).await;
        assert_eq!(reply.problem(401), "bad_credential", "{bearer}");
        assert_eq!(reply.headers["www-authenticate"], "Bearer");
        answers.push(reply.said());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    let basic = [("authorization", "Basic b3BlcmF0b3I6eA==")];
    assert_eq!(
        house.call_with("GET", "/v1/tenants/self", "", None, &basic).await.problem(401),
        "bad_credential"
    );
}

#[tokio::test]
async fn too_many_requests_are_told_when_to_go_on_and_others_are_not_touched() {
    let house = House::with(api::Config { requests_per_second: 1, ..Default::default() }).await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let mut left = Vec::new();
    for _ in 0..10 {
        let reply = house.call("GET", "/v1/tenants/self", &client.key, None).await;
        reply.expect(200);
        assert_eq!(reply.headers["ratelimit-policy"], "\"requests\";q=10;w=10");
        left.push(reply.headers["ratelimit"].to_str().unwrap().to_owned());
    }
    assert_eq!((left[0].as_str(), left[9].as_str()), ("\"requests\";r=9;t=1", "\"requests\";r=0;t=10"));
    let reply = house.call("GET", "/v1/tenants/self", &client.key, None).await;
    assert_eq!(
        (reply.problem(429).as_str(), &reply.headers["retry-after"]),
        ("too_many_requests", &"1".parse().unwrap())
    );
    house.call("GET", "/v1/tenants", &operator, None).await.expect(200);
    house.clock.advance(Duration::from_secs(1));
    house.call("GET", "/v1/tenants/self", &client.key, None).await.expect(200);
}

/// Between the look at the password and the new session: every login there was has ended, and this one is not given out.
#[tokio::test]
async fn a_login_that_overtakes_a_change_of_its_password_is_refused() {
    let house = House::open().await;
    house.operator().await;
    let (holder, watcher) = (house.database.admin().await, house.database.admin().await);
    // The row is held so that the session, which refers to it, waits for the end of the change.
    let change = format!(
        "BEGIN; SELECT 1 FROM users WHERE email = '{OPERATOR}' FOR UPDATE;
         UPDATE users SET token_version = token_version + 1 WHERE email = '{OPERATOR}'"
    );
    holder.batch_execute(&change).await.unwrap();
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let letting_go = async {
        let mut again = tokio::time::interval(Duration::from_millis(10));
        while watcher.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            again.tick().await;
        }
        holder.batch_execute("COMMIT").await.unwrap();
    };
    let body = json!({"email": OPERATOR, "password": PASSWORD});
    let both = async { tokio::join!(house.call("POST", "/v1/auth/token", "", Some(body)), letting_go).0 };
    let reply = tokio::time::timeout(Duration::from_secs(20), both).await.expect("nobody waited");
    assert_eq!(reply.problem(401), "bad_credential");
    assert!(!reply.headers.contains_key("set-cookie"));
}
