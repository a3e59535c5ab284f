//! Every route on one page.
//!
//! Three parts: what anybody may call, the three calls that make and end a login, and `/v1`, where every request is
//! identified first, done once per `Idempotency-Key`, and in force before it is answered. Of the last two parts a request is
//! refused what its operation does not have. A handler's path and method stand above the handler; they become the document,
//! the reference and this router.

use crate::auth::authenticate;
use crate::calls::Calls;
use crate::expected::{Operations, expected};
use crate::idempotency::once;
use crate::in_force::settle;
use crate::openapi;
use crate::problem::{FieldError, Kind, Problem, ProblemDocument};
use crate::request::{panicked, refuse_ambiguous, surround};
use crate::routes::{
    api_keys, audit, auth, credentials, domains, events, messages, meta, paths, pools, quotas, sources,
    streams, tenants, users, webhooks,
};
use crate::schema::Schemas;
use crate::state::{Api, AppState, Published, Vitals};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Redirect;
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

#[derive(OpenApi)]
#[openapi(components(schemas(ProblemDocument, FieldError)))]
struct Base;

/// Operations that need no credential.
fn open() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(meta::health))
        .routes(routes!(meta::ready))
        .routes(routes!(meta::metrics))
        .routes(routes!(meta::openapi_json))
        .routes(routes!(meta::docs))
        .routes(routes!(meta::console))
}

/// Operations of somebody who is about to be known, or no more.
fn login() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(auth::token))
        .routes(routes!(auth::refresh))
        .routes(routes!(auth::logout))
}

/// Operations of somebody.
fn v1() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(tenants::onboard, tenants::list))
        .routes(routes!(tenants::fetch, tenants::update, tenants::delete))
        .routes(routes!(tenants::pause))
        .routes(routes!(tenants::resume))
        .routes(routes!(tenants::quarantine))
        .routes(routes!(tenants::release))
        .routes(routes!(quotas::fetch, quotas::update))
        .routes(routes!(quotas::usage))
        .routes(routes!(streams::create, streams::list))
        .routes(routes!(streams::fetch, streams::update, streams::delete))
        .routes(routes!(domains::create, domains::list))
        .routes(routes!(domains::fetch, domains::delete))
        .routes(routes!(domains::verify))
        .routes(routes!(domains::suspend))
        .routes(routes!(domains::release))
        .routes(routes!(domains::keys))
        .routes(routes!(domains::rotate))
        .routes(routes!(credentials::create, credentials::list))
        .routes(routes!(credentials::fetch, credentials::revoke))
        .routes(routes!(credentials::rotate))
        .routes(routes!(api_keys::create, api_keys::list))
        .routes(routes!(api_keys::fetch, api_keys::revoke))
        .routes(routes!(api_keys::rotate))
        .routes(routes!(messages::send, messages::list))
        .routes(routes!(messages::fetch))
        .routes(routes!(messages::timeline))
        .routes(routes!(messages::why))
        .routes(routes!(messages::cancel))
        .routes(routes!(webhooks::create, webhooks::list))
        .routes(routes!(webhooks::fetch, webhooks::update, webhooks::delete))
        .routes(routes!(webhooks::test))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::replay))
        .routes(routes!(webhooks::rotate))
        .routes(routes!(events::list))
        .routes(routes!(pools::create, pools::list))
        .routes(routes!(pools::fetch, pools::update, pools::delete))
        .routes(routes!(sources::create, sources::list))
        .routes(routes!(sources::fetch, sources::update, sources::delete))
        .routes(routes!(paths::queues))
        .routes(routes!(paths::list))
        .routes(routes!(paths::hold))
        .routes(routes!(paths::resume))
        .routes(routes!(users::create, users::list))
        .routes(routes!(users::fetch, users::disable))
        .routes(routes!(users::password))
        .routes(routes!(audit::list))
}

/// The published document, as `/openapi.json` serves it.
pub fn document() -> serde_json::Value {
    let (_, document) = OpenApiRouter::with_openapi(Base::openapi())
        .merge(open())
        .merge(login())
        .merge(v1())
        .split_for_parts();
    openapi::complete(&document)
}

/// The whole API as one service.
pub fn router(state: AppState) -> Router {
    assemble(state).0
}

/// The service, and the calls that may outlive its connections.
pub fn assemble(state: AppState) -> (Router, Calls) {
    let document = document();
    let published = Published {
        schemas: Schemas::from_document(&document),
        operations: Operations::from_document(&document),
        docs: crate::docs::page(&document).into(),
        document: document.to_string().into(),
    };
    let api = Api::new(state, published);
    let (open, _) = open().split_for_parts();
    let (login, _) = login().split_for_parts();
    let (v1, _) = v1().split_for_parts();
    let login = login.route_layer(from_fn_with_state(api.clone(), expected));
    // The last layer is the outermost.
    let v1 = v1
        .route_layer(from_fn_with_state(api.clone(), settle))
        .route_layer(from_fn_with_state(api.clone(), once))
        .route_layer(from_fn_with_state(api.clone(), expected))
        .route_layer(from_fn_with_state(api.clone(), authenticate));
    let calls = api.calls().clone();
    let router = open
        .merge(login)
        .merge(v1)
        .route("/", get(|| async { Redirect::temporary("/console/") }))
        .route("/console", get(|| async { Redirect::permanent("/console/") }))
        .fallback(|| async { Problem::not_found("path") })
        .method_not_allowed_fallback(|| async {
            Problem::new(Kind::MethodNotAllowed, "this path does not take this method")
        })
        // Bodies are bounded where they are read, each with the limit of its operation.
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(refuse_ambiguous))
        .layer(from_fn_with_state(api.clone(), surround))
        .with_state(api);
    (router, calls)
}

/// What a node answers that has no API.
pub fn watch_router(vitals: Vitals) -> Router {
    let elsewhere = || async {
        let detail = "this node runs without the role api; it answers /health, /ready and /metrics";
        Problem::new(Kind::NotFound, detail)
    };
    Router::new()
        .route("/health", get(meta::health))
        .route("/ready", get(meta::ready))
        .route("/metrics", get(meta::metrics))
        .fallback(elsewhere)
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(refuse_ambiguous))
        .layer(from_fn_with_state(vitals.clone(), surround))
        .with_state(vitals)
}
