//! Who acts, how far it reaches, and what it may do there: the first argument of every database method.
//!
//! An `Access` is made where somebody was authenticated, or by our own workers with `Access::house("why")`, a name
//! one can search for. It becomes the row-level-security scope of a transaction, so a query without one does not
//! compile and a query with a tenant's one cannot see another tenant.

use crate::credential::ApiKey;
use mail::{ApiKeyId, TenantId, UserId};
use serde::{Deserialize, Serialize};

/// One thing a key may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// Submit messages.
    Send,
    /// Read everything of the tenant.
    Read,
    /// Change the tenant's domains, credentials, streams, endpoints.
    Manage,
}

/// A set of rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rights {
    send: bool,
    read: bool,
    manage: bool,
}

/// What a person, or an operator's key, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Changes anything of anybody.
    Operator,
    /// Sees everything, changes nothing.
    Auditor,
    /// Everything within one tenant.
    Admin,
    /// Sees everything within one tenant.
    Viewer,
}

/// Who did it, as the audit writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Actor {
    /// One of our own workers, and why it acts.
    House(&'static str),
    /// A person who has logged in.
    User(UserId),
    /// A program with a key of a tenant or of the operator.
    ApiKey(ApiKeyId),
}

/// How far an access reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Every tenant.
    House,
    /// One tenant, whatever a query asks for.
    Tenant(TenantId),
}

/// Proof that somebody was let in, and how far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    actor: Actor,
    reach: Reach,
    rights: Rights,
}

impl Access {
    /// For our own workers. `why` is written into the audit.
    pub const fn house(why: &'static str) -> Access {
        Access { actor: Actor::House(why), reach: Reach::House, rights: Rights::ALL }
    }

    /// For a person whose password or token was checked. None if the role and the tenant do not fit each other.
    pub fn of_user(user: UserId, role: Role, tenant: Option<TenantId>) -> Option<Access> {
        let (reach, rights) = reach_of(role, tenant, Rights::ALL)?;
        Some(Access { actor: Actor::User(user), reach, rights })
    }

    /// For an API key that `Snapshot::authenticate_api_key` let in.
    pub fn of_api_key(key: &ApiKey) -> Option<Access> {
        let (reach, rights) = reach_of(key.role, key.tenant, key.rights)?;
        Some(Access { actor: Actor::ApiKey(key.id), reach, rights })
    }

    /// The same actor, held to one tenant: for an operator who acts within it.
    pub fn within(&self, tenant: TenantId) -> Option<Access> {
        match self.reach {
            Reach::House => Some(Access { reach: Reach::Tenant(tenant), ..self.clone() }),
            Reach::Tenant(own) => (own == tenant).then(|| self.clone()),
        }
    }

    /// For the audit.
    pub const fn actor(&self) -> Actor {
        self.actor
    }

    /// For row-level security: one tenant's rows, or all.
    pub const fn reach(&self) -> Reach {
        self.reach
    }

    /// What it may do within its reach.
    pub const fn rights(&self) -> Rights {
        self.rights
    }

    /// The tenant it is held to; none for the house.
    pub const fn tenant(&self) -> Option<TenantId> {
        match self.reach {
            Reach::House => None,
            Reach::Tenant(tenant) => Some(tenant),
        }
    }

    /// Reaches every tenant: one of our own workers, an operator, an auditor. What it may do there its rights say.
    pub const fn is_house(&self) -> bool {
        matches!(self.reach, Reach::House)
    }

    /// Whether it has this right; `Database` asks again whom it reaches.
    pub const fn may(&self, right: Right) -> bool {
        self.rights.contains(right)
    }
}

fn reach_of(role: Role, tenant: Option<TenantId>, rights: Rights) -> Option<(Reach, Rights)> {
    match (role, tenant) {
        (Role::Operator, None) => Some((Reach::House, rights)),
        (Role::Auditor, None) => Some((Reach::House, rights.only(Right::Read))),
        (Role::Admin, Some(tenant)) => Some((Reach::Tenant(tenant), rights)),
        (Role::Viewer, Some(tenant)) => Some((Reach::Tenant(tenant), rights.only(Right::Read))),
        (Role::Operator | Role::Auditor, Some(_)) | (Role::Admin | Role::Viewer, None) => None,
    }
}

impl Rights {
    /// Everything within its reach.
    pub const ALL: Rights = Rights { send: true, read: true, manage: true };
    /// Nothing yet; `with` adds.
    pub const NONE: Rights = Rights { send: false, read: false, manage: false };

    /// These and this one.
    pub const fn with(self, right: Right) -> Rights {
        match right {
            Right::Send => Rights { send: true, ..self },
            Right::Read => Rights { read: true, ..self },
            Right::Manage => Rights { manage: true, ..self },
        }
    }

    /// Whether this one is among them.
    pub const fn contains(self, right: Right) -> bool {
        match right {
            Right::Send => self.send,
            Right::Read => self.read,
            Right::Manage => self.manage,
        }
    }

    /// The words of the API and the tables, in a fixed order.
    pub fn words(self) -> Vec<&'static str> {
        [Right::Send, Right::Read, Right::Manage]
            .into_iter()
            .filter(|r| self.contains(*r))
            .map(Right::as_str)
            .collect()
    }

    /// None if a word is not a right.
    pub fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Option<Rights> {
        words
            .into_iter()
            .try_fold(Rights::NONE, |rights, word| Right::parse(word).map(|right| rights.with(right)))
    }

    fn only(self, right: Right) -> Rights {
        if self.contains(right) { Rights::NONE.with(right) } else { Rights::NONE }
    }
}

impl Right {
    /// The scope of an API key in JSON: `send`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Right::Send => "send",
            Right::Read => "read",
            Right::Manage => "manage",
        }
    }

    /// The right with this word; none if there is none such.
    pub fn parse(text: &str) -> Option<Right> {
        match text {
            "send" => Some(Right::Send),
            "read" => Some(Right::Read),
            "manage" => Some(Right::Manage),
            _ => None,
        }
    }
}

impl Role {
    /// In JSON and in the tables: `admin`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Operator => "operator",
            Role::Auditor => "auditor",
            Role::Admin => "admin",
            Role::Viewer => "viewer",
        }
    }

    /// The role with this word; none if there is none such.
    pub fn parse(text: &str) -> Option<Role> {
        match text {
            "operator" => Some(Role::Operator),
            "auditor" => Some(Role::Auditor),
            "admin" => Some(Role::Admin),
            "viewer" => Some(Role::Viewer),
            _ => None,
        }
    }

    /// Whether the role is the house's and not one tenant's.
    pub const fn is_of_house(self) -> bool {
        match self {
            Role::Operator | Role::Auditor => true,
            Role::Admin | Role::Viewer => false,
        }
    }
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Actor::House(why) => write!(f, "house:{why}"),
            Actor::User(user) => write!(f, "{user}"),
            Actor::ApiKey(key) => write!(f, "{key}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mail::{Random, Timestamp};

    fn tenants() -> (TenantId, TenantId, UserId) {
        let mut random = Random::from_number(1);
        let now = Timestamp::UNIX_EPOCH;
        (TenantId::mint(now, &mut random), TenantId::mint(now, &mut random), UserId::mint(now, &mut random))
    }

    #[test]
    fn a_role_without_its_tenant_is_no_access() {
        let (tenant, _, user) = tenants();
        assert!(Access::of_user(user, Role::Operator, Some(tenant)).is_none());
        assert!(Access::of_user(user, Role::Admin, None).is_none());
        assert!(Access::of_user(user, Role::Viewer, None).is_none());
    }

    #[test]
    fn a_tenant_cannot_step_over_to_another() {
        let (tenant, other, user) = tenants();
        let access = Access::of_user(user, Role::Admin, Some(tenant)).unwrap();
        assert!(access.within(other).is_none());
        assert_eq!(access.within(tenant), Some(access.clone()));
        let operator = Access::of_user(user, Role::Operator, None).unwrap();
        assert_eq!(operator.within(other).unwrap().reach(), Reach::Tenant(other));
    }

    #[test]
    fn viewers_and_auditors_only_read() {
        let (tenant, _, user) = tenants();
        let viewer = Access::of_user(user, Role::Viewer, Some(tenant)).unwrap();
        assert!(viewer.may(Right::Read) && !viewer.may(Right::Manage) && !viewer.may(Right::Send));
        let auditor = Access::of_user(user, Role::Auditor, None).unwrap();
        assert!(auditor.is_house() && !auditor.may(Right::Manage));
        assert_eq!(Rights::from_words(["send", "root"]), None);
        assert_eq!(Rights::from_words(["manage", "send"]).unwrap().words(), ["send", "manage"]);
    }
}
