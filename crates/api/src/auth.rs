//! Who is asking, and whether they may: from the `Authorization` header to a registry `Access`.
//!
//! An API key is checked against the snapshot, so a machine gets in while the database is away; a person's token by its
//! signature, and against the snapshot too, so that it ends with its user, role, password or session. Only when the snapshot may
//! be behind is the database asked. Both end as a `Caller`, made in one layer before anything of the request is read.
//! Handlers then say what they need in their signature: `House<Manage>` is for operators who may change things,
//! `Within<Read>` is for anybody who may read the tenant in the path. What may surprise: another tenant in the path is
//! 404 and not 403; `self` in the path is the caller's own tenant.

use crate::problem::{Kind, Problem};
use crate::state::Api;
use axum::extract::{ConnectInfo, FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use mail::{TenantId, Timestamp};
use registry::{API_KEY_PREFIX, Access, Right};
use std::convert::Infallible;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Somebody whose credential was checked.
#[derive(Debug, Clone)]
pub struct Caller {
    pub access: Access,
}

/// Identifies the caller, charges its request rate, and only then lets the request through.
pub async fn authenticate(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let peer = peer_of(&request);
    let caller = match identify(&api, request.headers(), peer).await {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    let standing = api.with_rate(|rate| rate.charge(&caller.access, api.clock().instant()));
    let mut response = match standing.wait {
        Some(wait) => {
            Problem::new(Kind::TooManyRequests, "too many requests with this credential, or of this account")
                .with_retry_after(wait)
                .into_response()
        }
        None => match api.requests().turn(&caller.access) {
            Err(problem) => problem.into_response(),
            Ok(_turn) => {
                request.extensions_mut().insert(caller);
                next.run(request).await
            }
        },
    };
    metrics::gauge!("posthouse_api_requests_in_flight").set(api.requests().count() as f64);
    // draft-ietf-httpapi-ratelimit-headers-10.
    let policy = format!("\"requests\";q={};w={}", standing.quota, standing.window_seconds);
    let left = format!("\"requests\";r={};t={}", standing.remaining, standing.reset.as_secs());
    for (name, value) in [("ratelimit-policy", policy), ("ratelimit", left)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The address of the client. Without a connection (in tests) it is loopback.
pub fn peer_of(request: &Request) -> IpAddr {
    peer_in(request.extensions())
}

fn peer_in(extensions: &Extensions) -> IpAddr {
    let connection = extensions.get::<ConnectInfo<SocketAddr>>();
    connection.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |ConnectInfo(address)| address.ip())
}

/// The address of the client, for a handler.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Peer, Infallible> {
        Ok(Peer(peer_in(&parts.extensions)))
    }
}

async fn identify(api: &Api, headers: &HeaderMap, peer: IpAddr) -> Result<Caller, Problem> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Err(Problem::new(
            Kind::AuthenticationRequired,
            "send Authorization: Bearer with an API key or a token",
        ));
    };
    let known = match bearer_in(value) {
        Some(text) if text.starts_with(API_KEY_PREFIX) => caller_of_key(api, text, peer, api.now()),
        Some(text) => caller_of_token(api, text).await?,
        None => None,
    };
    known.ok_or_else(bad_credential)
}

/// What `Authorization: Bearer` carries (RFC 6750 §2.1).
pub fn bearer_in(value: &HeaderValue) -> Option<&str> {
    let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| rest.trim())
}

fn caller_of_key(api: &Api, text: &str, peer: IpAddr, now: Timestamp) -> Option<Caller> {
    let key = api.snapshot().authenticate_api_key(text, peer, now).ok()?;
    Some(Caller { access: Access::of_api_key(&key)? })
}

async fn caller_of_token(api: &Api, text: &str) -> Result<Option<Caller>, Problem> {
    let Some(claims) = api.tokens().read(text, api.now()) else { return Ok(None) };
    let snapshot = api.snapshot();
    if claims.sid.is_some_and(|session| snapshot.is_ended(session)) {
        return Ok(None);
    }
    let known = snapshot.user(claims.sub).copied();
    let user = match known {
        Some(user) if user.token_version >= claims.ver => user,
        // Nobody known here, or with a newer token than we know of: the snapshot may be a moment behind.
        Some(_) | None => match api.database().user_fetch(&Access::house("token"), claims.sub).await {
            Ok(row) if row.disabled_at.is_none() => row.known(),
            Ok(_) | Err(database::Fault::NotFound(_)) => return Ok(None),
            Err(fault) => return Err(fault.into()),
        },
    };
    let is_good = (user.token_version, user.role, user.tenant) == (claims.ver, claims.role, claims.tenant);
    Ok(user.access().filter(|_| is_good).map(|access| Caller { access }))
}

/// One text for wrong, unknown, revoked, expired and not from this network.
fn bad_credential() -> Problem {
    Problem::new(Kind::BadCredential, "the key or token is wrong, expired or revoked")
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Problem> {
        // Missing only if a route was added outside the authenticated part of the router.
        parts.extensions.get::<Caller>().cloned().ok_or_else(bad_credential)
    }
}

/// What a handler needs the caller to be allowed.
pub trait Needs: Send + Sync {
    const RIGHT: Right;
}

#[derive(Debug)]
pub struct Read;
#[derive(Debug)]
pub struct Manage;
#[derive(Debug)]
pub struct Submit;

impl Needs for Read {
    const RIGHT: Right = Right::Read;
}
impl Needs for Manage {
    const RIGHT: Right = Right::Manage;
}
impl Needs for Submit {
    const RIGHT: Right = Right::Send;
}

fn expect_right(access: &Access, right: Right) -> Result<(), Problem> {
    if access.may(right) {
        return Ok(());
    }
    Err(Problem::new(Kind::Forbidden, format!("this needs the right \"{}\"", right.as_str())))
}

/// An operator or auditor.
#[derive(Debug)]
pub struct House<R> {
    pub access: Access,
    needs: PhantomData<R>,
}

impl<R: Needs> FromRequestParts<Api> for House<R> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<House<R>, Problem> {
        let Caller { access } = Caller::from_request_parts(parts, api).await?;
        if !access.is_house() {
            return Err(Problem::new(Kind::Forbidden, "this is for operators"));
        }
        expect_right(&access, R::RIGHT)?;
        Ok(House { access, needs: PhantomData })
    }
}

/// Anybody who may act within the tenant of the path.
#[derive(Debug)]
pub struct Within<R> {
    /// Held to the tenant: it cannot reach another, whatever a query asks.
    pub access: Access,
    pub tenant: TenantId,
    pub caller: Caller,
    needs: PhantomData<R>,
}

impl<R> Within<R> {
    /// Who makes what has a right must have it: a key that may only manage neither sends nor reads by a thing it made.
    pub fn expect_own(&self, right: Right, what: &'static str) -> Result<(), Problem> {
        if self.caller.access.is_house() || self.access.may(right) {
            return Ok(());
        }
        let detail = format!("{what}, which this credential has no right to (`{}`)", right.as_str());
        Err(Problem::new(Kind::Forbidden, detail))
    }
}

impl<R: Needs> FromRequestParts<Api> for Within<R> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Within<R>, Problem> {
        let caller = Caller::from_request_parts(parts, api).await?;
        let text = path_parameter(parts, api, "tenant").await?;
        let tenant = if text == "self" {
            let nobody = "an operator has no tenant of its own; name one by its id";
            caller.access.tenant().ok_or_else(|| Problem::new(Kind::NotFound, nobody))?
        } else {
            TenantId::parse(&text).map_err(|_| Problem::not_found("tenant"))?
        };
        let access = caller.access.within(tenant).ok_or_else(|| Problem::not_found("tenant"))?;
        expect_right(&access, R::RIGHT)?;
        if caller.access.is_house() && api.snapshot().tenant(tenant).is_none() {
            // The snapshot may be a moment behind; only the table knows that a tenant does not exist.
            api.database().tenant_fetch(&access, tenant).await?;
        }
        Ok(Within { access, tenant, caller, needs: PhantomData })
    }
}

/// The thing that the path names after its collection: `/domains/{domain}` → `Named<DomainId>`.
#[derive(Debug)]
pub struct Named<T>(pub T);

impl<T: std::str::FromStr> FromRequestParts<Api> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Named<T>, Problem> {
        let params =
            RawPathParams::from_request_parts(parts, api).await.map_err(|_| Problem::not_found("thing"))?;
        let last = params.iter().last();
        let (name, value) = last.ok_or_else(|| Problem::not_found("thing"))?;
        // Text that is no id of this kind names nothing.
        value.parse().map(Named).map_err(|_| Problem::not_found(name))
    }
}

async fn path_parameter(parts: &mut Parts, api: &Api, name: &str) -> Result<String, Problem> {
    let params =
        RawPathParams::from_request_parts(parts, api).await.map_err(|_| Problem::not_found("tenant"))?;
    let found = params.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
    found.ok_or_else(|| Problem::not_found("tenant"))
}
