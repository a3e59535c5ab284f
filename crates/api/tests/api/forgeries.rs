//! Tokens that we did not give out, or not for this: every one is nobody, and the answer is the same.

use crate::harness::{House, OPERATOR, PASSWORD};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A house whose signing key the test has, so that it can sign what the house never would.
async fn house() -> (House, Ed25519KeyPair) {
    let pkcs8 = api::TokenKeys::generate().unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).unwrap();
    let house = House::with_state(api::Config::default(), |state| {
        state.tokens = api::TokenKeys::from_pkcs8(&pkcs8).unwrap();
    })
    .await;
    (house, pair)
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn signed(pair: &Ed25519KeyPair, header: &Value, claims: &Value) -> String {
    let text = format!("{}.{}", encoded(header), encoded(claims));
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(text.as_bytes()).as_ref());
    format!("{text}.{signature}")
}

fn claims_of(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

fn with(value: &Value, name: &str, changed: Value) -> Value {
    let mut value = value.clone();
    value[name] = changed;
    value
}

async fn expect_nobody(house: &House, what: &str, token: &str) {
    let reply = house.call("GET", "/v1/tenants", token, None).await;
    assert_eq!(reply.problem(401), "bad_credential", "{what}");
}

#[tokio::test]
async fn a_signature_of_another_algorithm_is_none() {
    let (house, pair) = house().await;
    let claims = claims_of(&house.operator().await);
    let public = pair.public_key().as_ref().to_vec();
    let der =
        [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00][..], &public].concat();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        base64::engine::general_purpose::STANDARD.encode(&der)
    );
    // The control: with the right header the same claims are let in.
    let right = signed(&pair, &json!({"typ": "JWT", "alg": "EdDSA"}), &claims);
    house.call("GET", "/v1/tenants", &right, None).await.expect(200);
    for alg in
        ["none", "None", "NONE", "nOnE", "", "HS256", "HS512", "RS256", "ES256", "PS256", "eddsa", "Ed25519"]
    {
        let text = format!("{}.{}", encoded(&json!({"alg": alg, "typ": "JWT"})), encoded(&claims));
        let own = URL_SAFE_NO_PAD.encode(pair.sign(text.as_bytes()).as_ref());
        let mut tokens = vec![format!("{text}."), text.clone(), format!("{text}.{own}")];
        for key in [public.as_slice(), &der, pem.as_bytes(), pem.trim().as_bytes(), b""] {
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
            tokens.push(format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref())));
        }
        for token in tokens {
            expect_nobody(&house, alg, &token).await;
        }
    }
    for broken in [
        right.replace('.', ".."),
        format!("{right}="),
        format!("{right}."),
        right.trim_end_matches(char::is_alphanumeric).to_owned(),
        format!("{}{}", right, "A".repeat(100_000)),
    ] {
        expect_nobody(&house, "broken", &broken).await;
    }
}

/// A header may name a key, or bring one: ours is used, and a header that asks for another is worth nothing or ignored.
#[tokio::test]
async fn a_header_that_names_or_brings_a_key_changes_nothing() {
    let (house, pair) = house().await;
    let claims = claims_of(&house.operator().await);
    let stranger = Ed25519KeyPair::from_pkcs8(&api::TokenKeys::generate().unwrap()).unwrap();
    let jwk =
        json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(stranger.public_key().as_ref())});
    let long = "k".repeat(1 << 20);
    for (name, value) in [
        ("kid", json!("../../../../dev/null")),
        ("kid", json!("' UNION SELECT 'x")),
        ("kid", json!("http://127.0.0.1:1/key")),
        ("kid", json!(long)),
        ("jku", json!("http://127.0.0.1:1/keys")),
        ("x5u", json!("http://127.0.0.1:1/cert")),
        ("jwk", jwk),
        ("x5c", json!([URL_SAFE_NO_PAD.encode(stranger.public_key().as_ref())])),
        ("crit", json!(["exp"])),
    ] {
        let header = with(&json!({"alg": "EdDSA", "typ": "JWT"}), name, value);
        expect_nobody(&house, name, &signed(&stranger, &header, &claims)).await;
        let ours = house.call("GET", "/v1/tenants", &signed(&pair, &header, &claims), None).await;
        assert!(matches!(ours.status.as_u16(), 200 | 401), "{name}: {}", ours.status);
    }
}

#[tokio::test]
async fn claims_that_we_never_signed_so_are_nobodys() {
    let (house, pair) = house().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let body =
        json!({"email": "admin@a.example", "password": PASSWORD, "role": "admin", "tenant": client.tenant});
    house.call("POST", "/v1/users", &operator, Some(body)).await.expect(201);
    let login = json!({"email": "admin@a.example", "password": PASSWORD});
    let token = house.call("POST", "/v1/auth/token", "", Some(login)).await.expect(200);
    let claims = claims_of(token["access_token"].as_str().unwrap());
    let header = json!({"alg": "EdDSA", "typ": "JWT"});
    let other = house.onboard(&operator, "b.example").await;
    house.call("GET", "/v1/tenants/self", &signed(&pair, &header, &claims), None).await.expect(200);
    let past = claims["iat"].as_i64().unwrap() - 1;
    let stranger = claims_of(&operator)["sub"].clone();
    // Even with our own signature: the user as the registry knows him decides.
    for (name, value) in [
        ("exp", json!(past)),
        ("exp", json!("later")),
        ("exp", Value::Null),
        ("aud", json!("other")),
        ("aud", Value::Null),
        ("iss", json!("other")),
        ("iss", Value::Null),
        ("sub", json!("usr_01kb0000000000000000000000")),
        ("sub", stranger),
        ("role", json!("operator")),
        ("role", json!("viewer")),
        ("tenant", json!(other.tenant)),
        ("tenant", Value::Null),
        ("ver", json!(1)),
        ("ver", json!(-1)),
        ("ver", json!(i64::from(i32::MAX))),
    ] {
        let forged = signed(&pair, &header, &with(&claims, name, value.clone()));
        let reply = house.call("GET", "/v1/tenants/self", &forged, None).await;
        assert_eq!(reply.problem(401), "bad_credential", "{name} {value}");
    }
}

#[tokio::test]
async fn a_token_of_one_tenant_opens_no_other_and_an_api_key_is_no_cookie() {
    let house = House::open().await;
    let operator = house.operator().await;
    let (one, two) =
        (house.onboard(&operator, "a.example").await, house.onboard(&operator, "b.example").await);
    let body =
        json!({"email": "admin@a.example", "password": PASSWORD, "role": "admin", "tenant": one.tenant});
    house.call("POST", "/v1/users", &operator, Some(body)).await.expect(201);
    let login = json!({"email": "admin@a.example", "password": PASSWORD});
    let reply = house.call("POST", "/v1/auth/token", "", Some(login)).await;
    let token = reply.expect(200)["access_token"].as_str().unwrap().to_owned();
    house.call("GET", &one.path(""), &token, None).await.expect(200);
    assert_eq!(house.call("GET", &two.path(""), &token, None).await.problem(404), "not_found");
    // The cookie is for two paths and stands for no credential anywhere else.
    let cookie = reply.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let by_cookie = house.call_with("GET", &one.path(""), "", None, &[("cookie", &cookie)]).await;
    assert_eq!(by_cookie.problem(401), "authentication_required");
    let refresh = cookie.split_once('=').unwrap().1;
    for bearer in [refresh, one.answer["smtp_credential"]["password"].as_str().unwrap()] {
        assert_eq!(house.call("GET", &one.path(""), bearer, None).await.problem(401), "bad_credential");
    }
    for value in [token.as_str(), &one.key, "x", "'; --", &"x".repeat(5000)] {
        let cookie = format!("posthouse_refresh={value}");
        let reply = house.call_with("POST", "/v1/auth/refresh", "", None, &[("cookie", &cookie)]).await;
        assert_eq!(reply.problem(401), "bad_credential");
    }
}

/// A login that was handed over before it was made is not the login that is made.
#[tokio::test]
async fn a_cookie_that_a_client_brings_along_is_never_the_one_it_gets() {
    let house = House::open().await;
    let body = json!({"email": OPERATOR, "password": PASSWORD});
    let planted = [("cookie", "posthouse_refresh=planted")];
    let reply = house.call_with("POST", "/v1/auth/token", "", Some(body), &planted).await;
    reply.expect(200);
    assert!(!reply.headers["set-cookie"].to_str().unwrap().contains("planted"));
    let refreshed = house.call_with("POST", "/v1/auth/refresh", "", None, &planted).await;
    assert_eq!(refreshed.problem(401), "bad_credential");
}
