//! Logging in: e-mail address and password for a short token and a refresh cookie.
//!
//! The cookie is out of reach of scripts, goes to these paths only, and is replaced at each use; using an old one ends
//! the whole login, because two people hold it then. With a login its access tokens end, on this node before that is
//! answered. Wrong address and wrong password are one answer after one amount
//! of work. They are held back longer each time, and too many from one network have to wait (`registry::Throttle`); who
//! logged in from another network does not notice.

use crate::auth::{Peer, bearer_in};
use crate::body::{Answer, Body, Result};
use crate::in_force;
use crate::problem::{Kind, Problem};
use crate::state::{Api, trouble};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use database::{Fault, Lifetimes, Refreshed, Session, UserRow};
use mail::Instant;
use registry::{Access, Throttle};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;
use utoipa::ToSchema;
use zeroize::Zeroizing;

const COOKIE: &str = "posthouse_refresh";

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    #[schema(format = "email", max_length = 320)]
    email: String,
    #[schema(format = "password", min_length = 1, max_length = 1024)]
    password: String,
}

#[derive(Serialize, ToSchema)]
pub struct TokenAnswer {
    access_token: String,
    #[schema(value_type = String, example = "Bearer")]
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
}

/// Log in
///
/// Answers a token for `Authorization: Bearer`, good for 15 minutes, and sets the cookie that `refresh` takes.
#[utoipa::path(post, path = "/v1/auth/token", tag = "auth", operation_id = "auth_token", request_body = Login,
    responses((status = 200, body = TokenAnswer, description = "logged in"),
        (status = 401, body = crate::problem::ProblemDocument, content_type = "application/problem+json",
            description = "wrong address or password"),
        (status = 429, body = crate::problem::ProblemDocument, content_type = "application/problem+json",
            description = "too many failed logins")))]
pub async fn token(State(api): State<Api>, Peer(peer): Peer, Body(login): Body<Login>) -> Result<Response> {
    let Login { email, password } = login;
    let (password, name) = (Zeroizing::new(password), email.to_lowercase());
    let delay = api.with_logins(|logins| attempt(logins, &name, peer, api.clock().instant()))?;
    let access = Access::house("login");
    let checked = {
        let _turn = api.hashing().acquire().await.map_err(|_| Problem::unavailable())?;
        api.database().user_authenticate(&access, &email, password).await
    };
    if !matches!(checked, Ok(None)) {
        api.with_logins(|logins| logins.returned(&name, peer, api.clock().instant()));
    }
    let Some(user) = checked? else {
        tokio::time::sleep(delay).await;
        return Err(Problem::new(Kind::BadCredential, "wrong e-mail address or password"));
    };
    api.with_logins(|logins| logins.succeeded(&name, peer, api.clock().instant()));
    let session = api.database().refresh_issue(&access, user.id, lifetimes(&api)).await?;
    // A password that was changed, or a person who was disabled, while this one was looked at has ended the logins there
    // were, and this one was not among them. What is not given out is good for nobody.
    let now = api.database().user_by_address(&access, &user.email).await?;
    if now.is_none_or(|now| (now.token_version, now.disabled_at) != (user.token_version, None)) {
        return Err(Problem::new(Kind::BadCredential, "wrong e-mail address or password"));
    }
    logged_in(&api, &user, &session)
}

/// Counts an attempt as a failure before the password is looked at: those that come at the same time would all pass
/// otherwise. Says how long a failure is held back, or how long this person must wait.
fn attempt(
    logins: &mut Throttle,
    name: &str,
    peer: IpAddr,
    now: Instant,
) -> std::result::Result<Duration, Problem> {
    logins.check(name, peer, now).map_err(|refusal| {
        Problem::new(Kind::TooManyLogins, "too many failed logins")
            .with_retry_after(refusal.retry_after.unwrap_or_default())
    })?;
    Ok(logins.failed(name, peer, now))
}

/// Get a new token for the refresh cookie
#[utoipa::path(post, path = "/v1/auth/refresh", tag = "auth", operation_id = "auth_refresh",
    responses((status = 200, body = TokenAnswer, description = "a new token, and a new cookie"),
        (status = 401, body = crate::problem::ProblemDocument, content_type = "application/problem+json",
            description = "no cookie, or one that is not good any more")))]
pub async fn refresh(State(api): State<Api>, headers: HeaderMap) -> Result<Response> {
    let old = cookie(&headers).ok_or_else(|| Problem::new(Kind::AuthenticationRequired, "log in first"))?;
    let access = Access::house("refresh");
    match api.database().refresh_rotate(&access, &old, lifetimes(&api)).await? {
        Refreshed::Renewed(user, next) => return logged_in(&api, &user, &next),
        Refreshed::Copied => in_force::wait(&api).await,
        Refreshed::Refused => {}
    }
    Err(Problem::new(Kind::BadCredential, "this login has ended; log in again"))
}

/// Log out
///
/// Ends the login of the refresh cookie, or that of the access token if no cookie comes along, and the tokens that were given
/// out for it: here at once, on every other node as soon as it has read the registry again.
#[utoipa::path(post, path = "/v1/auth/logout", tag = "auth", operation_id = "auth_logout",
    responses((status = 204, description = "logged out, or was not logged in")))]
pub async fn logout(State(api): State<Api>, headers: HeaderMap) -> Result<Response> {
    let house = Access::house("logout");
    let by_cookie = match cookie(&headers) {
        Some(token) => api.database().refresh_revoke(&house, &token, lifetimes(&api)).await?,
        None => false,
    };
    let shown = headers.get(header::AUTHORIZATION).and_then(bearer_in);
    let claims = shown.and_then(|token| api.tokens().read(token, api.now())).filter(|_| !by_cookie);
    let session = claims.and_then(|claims| Some((claims.sid?, claims.sub)));
    if let Some((session, user)) = session {
        match api.database().session_revoke(&house, session, user, lifetimes(&api)).await {
            // Nobody is left whose login it could be.
            Ok(()) | Err(Fault::NotFound(_)) => {}
            Err(fault) => return Err(fault.into()),
        }
    }
    if by_cookie || session.is_some() {
        in_force::wait(&api).await;
    }
    let gone = set_cookie(&api, "", Duration::ZERO)?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, gone)]).into_response())
}

fn logged_in(api: &Api, user: &UserRow, session: &Session) -> Result<Response> {
    let Lifetimes { access: lifetime, refresh } = lifetimes(api);
    let issued = api.tokens().issue(&user.known(), session.id, api.now(), lifetime);
    let access_token = issued.map_err(|fault| trouble("token", &fault))?;
    let answer = TokenAnswer { access_token, token_type: "Bearer", expires_in: lifetime.as_secs() };
    let mut response = Answer::ok(answer).into_response();
    let headers = response.headers_mut();
    headers.insert(header::SET_COOKIE, set_cookie(api, &session.token, refresh)?);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn lifetimes(api: &Api) -> Lifetimes {
    let config = api.config();
    Lifetimes {
        access: Duration::from_secs(config.token_seconds),
        refresh: Duration::from_secs(config.refresh_seconds),
    }
}

fn set_cookie(api: &Api, value: &str, lifetime: Duration) -> Result<HeaderValue> {
    let secure = if api.config().cookie_secure { "; Secure" } else { "" };
    let age = lifetime.as_secs();
    let text = format!("{COOKIE}={value}; Path=/v1/auth; HttpOnly; SameSite=Strict; Max-Age={age}{secure}");
    let mut value = HeaderValue::from_str(&text).map_err(|_| Problem::internal())?;
    value.set_sensitive(true);
    Ok(value)
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs
        .filter(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value.to_owned())
        .find(|value| !value.is_empty())
}
