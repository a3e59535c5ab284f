//! What most tests begin with: a source, a shared pool and tenants.

use database::{Database, Onboarded, Onboarding, OnboardingDefaults, PoolNew, PoolRow, SourceNew};
use mail::{Domain, TenantId, UserId};
use registry::{Access, DisplayName, Plan, PoolMember, Role, Slug};
pub use testkit::TestDatabase;

pub fn house() -> Access {
    Access::house("test")
}

/// An access held to one tenant, with every right there.
pub fn admin_of(tenant: TenantId) -> Access {
    Access::of_user(UserId::from_uuid(tenant.uuid()), Role::Admin, Some(tenant)).unwrap()
}

pub fn viewer_of(tenant: TenantId) -> Access {
    Access::of_user(UserId::from_uuid(tenant.uuid()), Role::Viewer, Some(tenant)).unwrap()
}

pub fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

pub fn slug(text: &str) -> Slug {
    Slug::parse(text).unwrap()
}

pub fn name(text: &str) -> DisplayName {
    DisplayName::parse(text).unwrap()
}

pub fn defaults() -> OnboardingDefaults {
    OnboardingDefaults { return_path_target: domain("return.posthouse.test"), pool: slug("shared") }
}

pub fn onboarding(tenant: &str, sends_as: &str) -> Onboarding {
    Onboarding {
        name: name(tenant),
        domain: domain(sends_as),
        plan: Plan::default(),
        pool: None,
        webhook: None,
    }
}

/// The pool that onboarding uses.
pub async fn shared_pool(database: &Database) -> PoolRow {
    let new = SourceNew {
        name: slug("out-1"),
        address: "192.0.2.25".parse().unwrap(),
        ehlo: domain("out-1.posthouse.test"),
    };
    let source = database.source_create(&house(), &new).await.unwrap();
    let members = vec![PoolMember { source: source.id, weight: 3 }];
    let new = PoolNew { name: slug("shared"), tenant: None, members, platform_domain: None };
    database.pool_create(&house(), &new).await.unwrap()
}

/// A database with a shared pool and one tenant.
pub async fn with_tenant() -> (TestDatabase, Onboarded) {
    let test = TestDatabase::new().await;
    shared_pool(&test.database).await;
    let tenant = onboard(&test.database, "One", "one.example").await;
    (test, tenant)
}

pub async fn onboard(database: &Database, tenant: &str, sends_as: &str) -> Onboarded {
    database.tenant_onboard(&house(), &onboarding(tenant, sends_as), &defaults()).await.unwrap()
}
