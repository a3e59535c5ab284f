//! Refresh tokens: what keeps a person logged in beyond the fifteen minutes of a JWT.
//!
//! A token is used once and gives the next one. A token that comes back a second time was copied, and since nobody
//! knows by whom, the whole family ends (RFC 9700 §4.14.2). Only keyed hashes are stored.

use crate::connect::Database;
use crate::error::Fault;
use crate::scope::{Intent, Scoped, column};
use crate::user::{UserRow, user_from, user_of};
use mail::{Timestamp, UserId};
use registry::Access;
use std::time::Duration;
use uuid::Uuid;
use zeroize::Zeroizing;

/// What a refresh token was good for.
#[derive(Debug)]
pub enum Refreshed {
    /// The user as it is now, and the next token.
    Renewed(UserRow, Zeroizing<String>),
    /// Unknown, expired, of a disabled user, or used before; in the last case the family has ended.
    Refused,
}

impl Database {
    /// The first token of a new family, after a login.
    pub async fn refresh_issue(
        &self,
        access: &Access,
        user: UserId,
        valid_for: Duration,
    ) -> Result<Zeroizing<String>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Note, "issue a refresh token").await?;
        let family = Uuid::from_bytes(self.random().bytes());
        let token = self.refresh_insert(&scoped, family, user, valid_for).await?;
        scoped.commit().await?;
        Ok(token)
    }

    /// A new token for an old one, which is used up by this. One that is shown twice ends its whole family: somebody
    /// has
    /// stolen it.
    pub async fn refresh_rotate(
        &self,
        access: &Access,
        token: &str,
        valid_for: Duration,
    ) -> Result<Refreshed, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Note, "renew a refresh token").await?;
        let mac = self.keys().secrets.token_mac(token);
        let sql = "SELECT * FROM refresh_tokens WHERE mac = $1 FOR UPDATE";
        let Some(row) = scoped.optional(sql, &[&&mac[..]]).await? else { return Ok(Refreshed::Refused) };
        let family: Uuid = column(&row, "family")?;
        let now = self.now();
        if column::<Option<jiff::Timestamp>>(&row, "used_at")?.is_some() {
            scoped.execute("DELETE FROM refresh_tokens WHERE family = $1", &[&family]).await?;
            scoped.commit().await?;
            return Ok(Refreshed::Refused);
        }
        let user = user_from(&user_of(&scoped, UserId::from_uuid(column(&row, "user_id")?)).await?)?;
        if Timestamp::from_jiff(column(&row, "expires_at")?) <= now || user.disabled_at.is_some() {
            return Ok(Refreshed::Refused);
        }
        scoped
            .execute("UPDATE refresh_tokens SET used_at = $2 WHERE mac = $1", &[&&mac[..], &now.to_jiff()])
            .await?;
        let next = self.refresh_insert(&scoped, family, user.id, valid_for).await?;
        scoped.commit().await?;
        Ok(Refreshed::Renewed(user, next))
    }

    /// Log-out: the whole family ends. An unknown token changes nothing.
    pub async fn refresh_revoke(&self, access: &Access, token: &str) -> Result<(), Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Note, "end a session").await?;
        let mac = self.keys().secrets.token_mac(token);
        let sql =
            "DELETE FROM refresh_tokens WHERE family IN (SELECT family FROM refresh_tokens WHERE mac = $1)";
        scoped.execute(sql, &[&&mac[..]]).await?;
        scoped.commit().await
    }

    async fn refresh_insert(
        &self,
        scoped: &Scoped<'_>,
        family: Uuid,
        user: UserId,
        valid_for: Duration,
    ) -> Result<Zeroizing<String>, Fault> {
        let (now, minted) = (self.now(), self.keys().secrets.mint_token(&mut self.random()));
        scoped
            .execute(
                "INSERT INTO refresh_tokens (mac, family, user_id, expires_at, created_at)
                 VALUES ($1, $2, $3, $4, $5)",
                &[
                    &&minted.mac[..],
                    &family,
                    &user.uuid(),
                    &now.saturating_add(valid_for).to_jiff(),
                    &now.to_jiff(),
                ],
            )
            .await?;
        Ok(minted.text)
    }
}
