//! People: who may log in to the console, as what.
//!
//! Passwords are argon2id hashes (19 MiB, two passes: the crate's default), computed on threads for such work. A wrong
//! address costs the same as a wrong password. Throttling is the API's.

use crate::audit::Change;
use crate::connect::Database;
use crate::credential::time_from;
use crate::error::Fault;
use crate::kept::Made;
use crate::page::{List, Page, PageRequest, id_cursor};
use crate::scope::{Intent, Scoped, Whose, column, parsed};
use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use mail::{TenantId, Timestamp, UserId};
use registry::{Access, Role, User};
use serde_json::json;
use tokio_postgres::Row;
use uuid::Uuid;
use zeroize::Zeroizing;

/// Characters of a password, at least: Unicode scalar values.
pub const PASSWORD_CHARS_MIN: usize = 12;
/// Octets of a password in UTF-8, at most. More would only be work for the hash.
pub const PASSWORD_OCTETS_MAX: usize = 1024;

/// A person to be let in.
#[derive(Debug)]
pub struct UserNew {
    /// Unique within the installation, whatever its case.
    pub email: String,
    /// Wiped when dropped; kept as an argon2id hash.
    pub password: Zeroizing<String>,
    /// What the person may do.
    pub role: Role,
    /// None for the house's people.
    pub tenant: Option<TenantId>,
}

/// A person as listed: everything but the password.
#[derive(Debug, Clone, PartialEq)]
pub struct UserRow {
    /// Never used again.
    pub id: UserId,
    /// None for the house's people.
    pub tenant: Option<TenantId>,
    /// What a login is given.
    pub email: String,
    /// What the person may do.
    pub role: Role,
    /// Set: no login and no token is good any more.
    pub disabled_at: Option<Timestamp>,
    /// UTC.
    pub created_at: Timestamp,
    /// A token of an older version is not good any more.
    pub token_version: i32,
}

impl Database {
    /// Makes a person who may log in.
    ///
    /// # Errors
    /// `Conflict` if the address is taken; `Invalid` for an address that is none, for a password of less than
    /// `PASSWORD_CHARS_MIN` characters or more than `PASSWORD_OCTETS_MAX` octets, and for a role that does
    /// not fit: operator and auditor have no tenant, admin and viewer one. `Forbidden` if whoever is held to
    /// one tenant makes people of the house; `Sealing` if the password cannot be hashed; else as
    /// [every call](Database#errors).
    pub async fn user_create(&self, access: &Access, new: UserNew) -> Result<UserRow, Fault> {
        let email = canonical_email(&new.email)?;
        if new.role.is_of_house() != new.tenant.is_none() {
            let reason = "operator and auditor belong to no tenant, admin and viewer to one".to_owned();
            return Err(Fault::Invalid { field: "role", reason });
        }
        let hash = hash(new.password).await?;
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, new.tenant, Intent::Change, "create a user").await?;
        let now = self.now();
        let row = scoped
            .one(
                "user",
                "INSERT INTO users (id, tenant_id, email, password_hash, role, created_at)
                 VALUES ($1, $2, $3, $4, $5, $6) RETURNING *",
                &[
                    &UserId::mint(now, &mut self.random()).uuid(),
                    &new.tenant.map(TenantId::uuid),
                    &email,
                    &hash,
                    &new.role.as_str(),
                    &now.to_jiff(),
                ],
            )
            .await?;
        let user = user_from(&row)?;
        scoped.record(self, change_of("user.create", &user)).await?;
        scoped.commit_made(Made::User(&user)).await?;
        Ok(user)
    }

    /// The operator of a new installation. Done once: if the address is known, its password stays as it is.
    ///
    /// # Errors
    /// `Invalid` for an address that is none and for a password of less than `PASSWORD_CHARS_MIN` characters
    /// or more than `PASSWORD_OCTETS_MAX` octets; `Conflict` if another node makes the person at this moment;
    /// else as [every call](Database#errors).
    pub async fn operator_ensure(&self, email: &str, password: Zeroizing<String>) -> Result<UserRow, Fault> {
        let access = Access::house("first operator");
        if let Some(user) = self.user_by_email(&access, email).await? {
            return Ok(user.0);
        }
        let new = UserNew { email: email.to_owned(), password, role: Role::Operator, tenant: None };
        self.user_create(&access, new).await
    }

    /// The user, if the password is right and the user is not disabled. `access` is the house's: nobody is
    /// known yet.
    ///
    /// # Errors
    /// `Sealing` if the password cannot be checked; else as [every call](Database#errors). A wrong one is
    /// none and no fault.
    pub async fn user_authenticate(
        &self,
        access: &Access,
        email: &str,
        password: Zeroizing<String>,
    ) -> Result<Option<UserRow>, Fault> {
        let found = self.user_by_email(access, email).await?;
        let (user, stored) = match found {
            Some((user, stored)) => (Some(user), stored),
            None => (None, hash_of_nobody()),
        };
        let matches = verify(password, stored).await?;
        Ok(user.filter(|user| matches && user.disabled_at.is_none()))
    }

    /// One person, disabled or not.
    ///
    /// # Errors
    /// `NotFound` for a person of another tenant as for none; else as [every call](Database#errors).
    pub async fn user_fetch(&self, access: &Access, user: UserId) -> Result<UserRow, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Read, "fetch a user").await?;
        user_from(&user_of(&scoped, user).await?)
    }

    /// Newest first; a tenant's access sees the tenant's people.
    ///
    /// # Errors
    /// `Invalid` for a cursor of another list; else as [every call](Database#errors).
    pub async fn user_list(&self, access: &Access, page: &PageRequest) -> Result<Page<UserRow>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Read, "list users").await?;
        let sql = "SELECT * FROM users WHERE ($1::uuid IS NULL OR tenant_id = $1) AND id < $2
                   ORDER BY id DESC LIMIT $3";
        let owner = access.tenant().map(TenantId::uuid);
        let rows = scoped.rows(sql, &[&owner, &page.before_id(List::Users)?, &page.fetch()]).await?;
        page.finish(rows, user_from, |user| id_cursor(List::Users, user.id.uuid()))
    }

    /// Ends every login of the person. For the house: whoever is held to one tenant reaches no refresh
    /// tokens, so these stay good.
    ///
    /// # Errors
    /// `NotFound` for a person of another tenant as for none; `Invalid` for a password of less than
    /// `PASSWORD_CHARS_MIN` characters or more than `PASSWORD_OCTETS_MAX` octets; `Sealing` if it cannot be
    /// hashed; else as [every call](Database#errors).
    pub async fn user_set_password(
        &self,
        access: &Access,
        user: UserId,
        password: Zeroizing<String>,
    ) -> Result<UserRow, Fault> {
        let hash = hash(password).await?;
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Change, "set a password").await?;
        let sql = "UPDATE users SET password_hash = $2, token_version = token_version + 1 WHERE id = $1 RETURNING *";
        let user = user_from(&scoped.one("user", sql, &[&user.uuid(), &hash]).await?)?;
        // Whoever has an old token may be why the password was changed.
        scoped.execute("DELETE FROM refresh_tokens WHERE user_id = $1", &[&user.id.uuid()]).await?;
        scoped.record(self, change_of("user.password", &user)).await?;
        scoped.commit().await?;
        Ok(user)
    }

    /// Disabled people cannot log in and all their tokens end.
    ///
    /// # Errors
    /// `NotFound` for a person of another tenant as for none; `Last` for the last operator who is not
    /// disabled; else as [every call](Database#errors).
    pub async fn user_disable(&self, access: &Access, user: UserId) -> Result<UserRow, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Change, "disable a user").await?;
        // Locked, so that two operators cannot disable each other at the same time.
        let sql = "SELECT id FROM users WHERE role = 'operator' AND disabled_at IS NULL FOR UPDATE";
        let operators = scoped.rows(sql, &[]).await?;
        if let [last] = operators.as_slice()
            && column::<Uuid>(last, "id")? == user.uuid()
        {
            return Err(Fault::Last { what: "last operator" });
        }
        let sql =
            "UPDATE users SET disabled_at = coalesce(disabled_at, $2), token_version = token_version + 1
                   WHERE id = $1 RETURNING *";
        let user = user_from(&scoped.one("user", sql, &[&user.uuid(), &self.now().to_jiff()]).await?)?;
        scoped.record(self, change_of("user.disable", &user)).await?;
        scoped.commit().await?;
        Ok(user)
    }

    /// Whoever logs in with this address, disabled or not.
    ///
    /// # Errors
    /// As [every call](Database#errors); nobody, or a person of another tenant, is none and no fault.
    pub async fn user_by_address(&self, access: &Access, email: &str) -> Result<Option<UserRow>, Fault> {
        Ok(self.user_by_email(access, email).await?.map(|(user, _)| user))
    }

    async fn user_by_email(&self, access: &Access, email: &str) -> Result<Option<(UserRow, String)>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Read, "look for a user").await?;
        // An address that is none is nobody's.
        let Ok(email) = canonical_email(email) else { return Ok(None) };
        let row = scoped.optional("SELECT * FROM users WHERE email = $1", &[&email]).await?;
        row.map(|row| Ok((user_from(&row)?, column(&row, "password_hash")?))).transpose()
    }
}

/// Everybody who may log in, for the follower; the house's people always.
pub(crate) async fn users_all(scoped: &Scoped<'_>, whose: Whose<'_>) -> Result<Vec<User>, Fault> {
    let sql = "SELECT * FROM users WHERE disabled_at IS NULL
                 AND ($1::uuid[] IS NULL OR tenant_id IS NULL OR tenant_id = ANY ($1))";
    let rows = scoped.rows(sql, &[&whose]).await?;
    rows.iter().map(|row| Ok(user_from(row)?.known())).collect()
}

impl UserRow {
    /// As the snapshot has it.
    pub fn known(&self) -> User {
        let UserRow { id, tenant, role, token_version, .. } = *self;
        User { id, tenant, role, token_version }
    }
}

pub(crate) async fn user_of(scoped: &Scoped<'_>, user: UserId) -> Result<Row, Fault> {
    scoped.one("user", "SELECT * FROM users WHERE id = $1", &[&user.uuid()]).await
}

pub(crate) fn user_from(row: &Row) -> Result<UserRow, Fault> {
    Ok(UserRow {
        id: UserId::from_uuid(column(row, "id")?),
        tenant: column::<Option<Uuid>>(row, "tenant_id")?.map(TenantId::from_uuid),
        email: column(row, "email")?,
        role: parsed(row, "role", Role::parse)?,
        disabled_at: time_from(row, "disabled_at")?,
        created_at: Timestamp::from_jiff(column(row, "created_at")?),
        token_version: column(row, "token_version")?,
    })
}

/// As it is kept: the domain in A-labels and without its last dot, all in small letters.
fn canonical_email(email: &str) -> Result<String, Fault> {
    let invalid = |error: mail::AddressError| Fault::Invalid { field: "email", reason: error.to_string() };
    Ok(mail::Mailbox::parse(email.trim()).map_err(invalid)?.to_string().to_lowercase())
}

async fn hash(password: Zeroizing<String>) -> Result<String, Fault> {
    let invalid = |reason: &str| Fault::Invalid { field: "password", reason: reason.to_owned() };
    if password.chars().count() < PASSWORD_CHARS_MIN {
        return Err(invalid("must have at least 12 characters"));
    }
    if password.len() > PASSWORD_OCTETS_MAX {
        return Err(invalid("is too long"));
    }
    let work = move || Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string());
    let failed = Fault::Sealing { what: "hash a password" };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(hash)) => Ok(hash),
        Ok(Err(_)) | Err(_) => Err(failed),
    }
}

async fn verify(password: Zeroizing<String>, stored: String) -> Result<bool, Fault> {
    let work = move || {
        let Ok(parsed) = PasswordHash::new(&stored) else { return false };
        password.len() <= PASSWORD_OCTETS_MAX
            && Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok()
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| Fault::Sealing { what: "check a password" })
}

/// A hash with the costs of a real one, which no password of ours has.
fn hash_of_nobody() -> String {
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5bm9i$K6s0Oc3cS5lS3bLTfKLN5tTgAe9CVuBm0x7lFvY0pXo"
        .to_owned()
}

fn change_of(action: &'static str, user: &UserRow) -> Change {
    let detail = json!({ "role": user.role, "disabled": user.disabled_at.is_some() });
    Change { action, tenant: user.tenant, object: user.id.to_string(), detail }
}
