//! People: operators, auditors, and the admins and viewers of tenants. Operators only.
//!
//! A person is disabled and never deleted, because the audit names them.

use crate::auth::{House, Manage, Named, Read};
use crate::body::{Answer, Body, Result};
use crate::fault::of_named_tenant;
use crate::once::Once;
use crate::page::{Page, PageQuery, Query};
use crate::state::Api;
use axum::extract::State;
use database::{UserNew, UserRow};
use mail::{TenantId, Timestamp, UserId};
use registry::Role;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub struct UserShape {
    #[schema(value_type = String)]
    id: UserId,
    email: String,
    #[schema(value_type = RoleShape)]
    role: Role,
    /// Set for people of a tenant.
    #[schema(value_type = Option<String>)]
    tenant: Option<TenantId>,
    #[schema(value_type = Option<String>, format = "date-time")]
    disabled_at: Option<Timestamp>,
    #[schema(value_type = String, format = "date-time")]
    created_at: Timestamp,
}

/// `operator`: changes anything of anybody. `auditor`: sees everything. `admin`: everything within one tenant.
/// `viewer`: sees everything within one tenant.
#[derive(ToSchema)]
#[schema(as = Role, rename_all = "lowercase")]
#[allow(dead_code, reason = "stands in the document for registry::Role")]
pub enum RoleShape {
    Operator,
    Auditor,
    Admin,
    Viewer,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    #[schema(format = "email", max_length = 320)]
    email: String,
    #[schema(format = "password", min_length = 12, max_length = 256)]
    password: String,
    #[schema(value_type = RoleShape)]
    role: Role,
    /// Required for `admin` and `viewer`, not allowed for the others.
    #[schema(value_type = Option<String>, format = "tenant-id")]
    tenant: Option<TenantId>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPassword {
    #[schema(format = "password", min_length = 12, max_length = 256)]
    password: String,
}

/// Create a user
#[utoipa::path(post, path = "/v1/users", tag = "users", operation_id = "user_create", request_body = CreateUser,
    responses((status = 201, body = UserShape, description = "the user")))]
pub async fn create(
    once: Once,
    house: House<Manage>,
    Body(body): Body<CreateUser>,
) -> Result<Answer<UserShape>> {
    let CreateUser { email, password, role, tenant } = body;
    let new = UserNew { email, password: Zeroizing::new(password), role, tenant };
    let created = once.created().user_create(&house.access, new).await;
    Ok(Answer::created(created.map_err(of_named_tenant)?.into()))
}

/// List users
#[utoipa::path(get, path = "/v1/users", tag = "users", operation_id = "user_list", params(PageQuery),
    responses((status = 200, body = Page<UserShape>, description = "a page of users")))]
pub async fn list(
    State(api): State<Api>,
    house: House<Read>,
    Query(query): Query<PageQuery>,
) -> Result<Answer<Page<UserShape>>> {
    let page = api.database().user_list(&house.access, &query.request()?).await?;
    Ok(Answer::ok(Page::of(page, UserShape::from)))
}

/// Show a user
#[utoipa::path(get, path = "/v1/users/{user}", tag = "users", operation_id = "user_fetch",
    responses((status = 200, body = UserShape, description = "the user")))]
pub async fn fetch(
    State(api): State<Api>,
    house: House<Read>,
    Named(user): Named<UserId>,
) -> Result<Answer<UserShape>> {
    Ok(Answer::ok(api.database().user_fetch(&house.access, user).await?.into()))
}

/// Set a user's password
///
/// Every token and login from before has ended.
#[utoipa::path(put, path = "/v1/users/{user}/password", tag = "users", operation_id = "user_password",
    request_body = SetPassword, responses((status = 200, body = UserShape, description = "the user")))]
pub async fn password(
    State(api): State<Api>,
    house: House<Manage>,
    Named(user): Named<UserId>,
    Body(body): Body<SetPassword>,
) -> Result<Answer<UserShape>> {
    let password = Zeroizing::new(body.password);
    Ok(Answer::ok(api.database().user_set_password(&house.access, user, password).await?.into()))
}

/// Disable a user
///
/// No login any more, and every token that was given out has ended.
#[utoipa::path(delete, path = "/v1/users/{user}", tag = "users", operation_id = "user_disable",
    responses((status = 200, body = UserShape, description = "disabled")))]
pub async fn disable(
    State(api): State<Api>,
    house: House<Manage>,
    Named(user): Named<UserId>,
) -> Result<Answer<UserShape>> {
    Ok(Answer::ok(api.database().user_disable(&house.access, user).await?.into()))
}

impl From<UserRow> for UserShape {
    fn from(row: UserRow) -> UserShape {
        let UserRow { id, tenant, email, role, disabled_at, created_at, token_version: _ } = row;
        UserShape { id, email, role, tenant, disabled_at, created_at }
    }
}
