//! A person as the path of a request knows it: enough to tell whether a token is still good.
//!
//! Whoever is disabled is not in the snapshot. Name, password and everything else of people stay in the database.

use crate::access::{Access, Role};
use mail::{TenantId, UserId};

/// A person who may have a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// Never used again.
    pub id: UserId,
    /// None for the house's people.
    pub tenant: Option<TenantId>,
    /// What a token may do, at the moment it is shown.
    pub role: Role,
    /// Goes up when all tokens that were given out must end.
    pub token_version: i32,
}

impl User {
    /// None if the role and the tenant do not fit each other.
    pub fn access(&self) -> Option<Access> {
        Access::of_user(self.id, self.role, self.tenant)
    }
}
