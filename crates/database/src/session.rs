//! Sessions: what keeps a person logged in beyond the fifteen minutes of a JWT, and how that ends.
//!
//! A refresh token is used once and gives the next one; all of one login are a family, which is the session that access
//! tokens name. A token that comes back a second time was copied, and since nobody knows by whom, the whole family ends
//! (RFC 9700 §4.14.2). When a family ends, access tokens of it are still good by the clock: it is noted until they are
//! not, and the snapshot of every node knows it. Only keyed hashes are stored.

use crate::audit::Change;
use crate::connect::Database;
use crate::error::Fault;
use crate::scope::{Intent, Scoped, column};
use crate::user::{UserRow, user_from, user_of};
use mail::{SessionId, Timestamp, UserId};
use registry::{Access, Macs};
use serde_json::json;
use std::time::Duration;
use tokio_postgres::Row;
use uuid::Uuid;
use zeroize::Zeroizing;

/// How long what a login gives out is good for.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// An access token.
    pub access: Duration,
    /// A refresh token.
    pub refresh: Duration,
}

/// A login that goes on.
#[derive(Debug)]
pub struct Session {
    /// Its access tokens name it.
    pub id: SessionId,
    /// The next refresh token.
    pub token: Zeroizing<String>,
}

/// What a refresh token was good for.
#[derive(Debug)]
pub enum Refreshed {
    /// The user as it is now.
    Renewed(UserRow, Session),
    /// Used before. The session has ended.
    Copied,
    /// Unknown, expired, or of a disabled user.
    Refused,
}

impl Database {
    /// The first token of a new session, after a login.
    ///
    /// # Errors
    /// `Missing` if there is no such user; `Forbidden` for whoever is held to one tenant; else as
    /// [every call](Database#errors).
    pub async fn refresh_issue(
        &self,
        access: &Access,
        user: UserId,
        lifetimes: Lifetimes,
    ) -> Result<Session, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Note, "issue a refresh token").await?;
        let id = SessionId::mint(self.now(), &mut self.random());
        let session = self.refresh_insert(&scoped, id, user, lifetimes).await?;
        scoped.commit().await?;
        Ok(session)
    }

    /// A new token for an old one, which is used up by this. One that is shown twice ends its whole family:
    /// somebody has stolen it (RFC 9700 §4.14.2). `Right::Manage` is needed.
    ///
    /// # Errors
    /// As [every call](Database#errors); a token that is no good is `Refused` or `Copied` and no fault.
    pub async fn refresh_rotate(
        &self,
        access: &Access,
        token: &str,
        lifetimes: Lifetimes,
    ) -> Result<Refreshed, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Change, "renew a refresh token").await?;
        let shown = self.keys().secrets.token_macs(token);
        let Some(row) = token_of(&scoped, &shown).await? else { return Ok(Refreshed::Refused) };
        let session = SessionId::from_uuid(column(&row, "family")?);
        let user = user_from(&user_of(&scoped, UserId::from_uuid(column(&row, "user_id")?)).await?)?;
        if column::<Option<jiff::Timestamp>>(&row, "used_at")?.is_some() {
            self.session_end(&scoped, session, &user, lifetimes, "a refresh token came twice").await?;
            scoped.commit().await?;
            return Ok(Refreshed::Copied);
        }
        let now = self.now();
        if Timestamp::from_jiff(column(&row, "expires_at")?) <= now || user.disabled_at.is_some() {
            return Ok(Refreshed::Refused);
        }
        scoped
            .execute(
                "UPDATE refresh_tokens SET used_at = $2 WHERE mac = $1",
                &[&column::<&[u8]>(&row, "mac")?, &now.to_jiff()],
            )
            .await?;
        let next = self.refresh_insert(&scoped, session, user.id, lifetimes).await?;
        scoped.commit().await?;
        Ok(Refreshed::Renewed(user, next))
    }

    /// Log-out: the whole session ends. Whether there was one; an unknown token changes nothing.
    /// `Right::Manage` is needed.
    ///
    /// # Errors
    /// As [every call](Database#errors).
    pub async fn refresh_revoke(
        &self,
        access: &Access,
        token: &str,
        lifetimes: Lifetimes,
    ) -> Result<bool, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Change, "end a session").await?;
        let shown = self.keys().secrets.token_macs(token);
        let Some(row) = token_of(&scoped, &shown).await? else { return Ok(false) };
        let user = user_from(&user_of(&scoped, UserId::from_uuid(column(&row, "user_id")?)).await?)?;
        let session = SessionId::from_uuid(column(&row, "family")?);
        self.session_end(&scoped, session, &user, lifetimes, "log-out").await?;
        scoped.commit().await?;
        Ok(true)
    }

    /// Log-out of whoever shows an access token and no refresh token. A session that has ended stays so.
    /// `Right::Manage` is needed.
    ///
    /// # Errors
    /// `NotFound` if there is no such user; else as [every call](Database#errors).
    pub async fn session_revoke(
        &self,
        access: &Access,
        session: SessionId,
        user: UserId,
        lifetimes: Lifetimes,
    ) -> Result<(), Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Change, "end a session").await?;
        let user = user_from(&user_of(&scoped, user).await?)?;
        self.session_end(&scoped, session, &user, lifetimes, "log-out").await?;
        scoped.commit().await
    }

    async fn session_end(
        &self,
        scoped: &Scoped<'_>,
        session: SessionId,
        user: &UserRow,
        lifetimes: Lifetimes,
        reason: &str,
    ) -> Result<(), Fault> {
        scoped.execute("DELETE FROM refresh_tokens WHERE family = $1", &[&session.uuid()]).await?;
        let until = self.now().saturating_add(lifetimes.access).to_jiff();
        let sql = "INSERT INTO sessions_ended (family, until) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        scoped.execute(sql, &[&session.uuid(), &until]).await?;
        let detail = json!({ "session": session, "reason": reason });
        let (tenant, object) = (user.tenant, user.id.to_string());
        scoped.record(self, Change { action: "session.end", tenant, object, detail }).await?;
        Ok(())
    }

    async fn refresh_insert(
        &self,
        scoped: &Scoped<'_>,
        id: SessionId,
        user: UserId,
        lifetimes: Lifetimes,
    ) -> Result<Session, Fault> {
        let now = self.now();
        let minted = self.keys().secrets.mint_token(now, &mut self.random());
        scoped
            .execute(
                "INSERT INTO refresh_tokens (mac, family, user_id, expires_at, created_at)
                 VALUES ($1, $2, $3, $4, $5)",
                &[
                    &&minted.mac[..],
                    &id.uuid(),
                    &user.uuid(),
                    &now.saturating_add(lifetimes.refresh).to_jiff(),
                    &now.to_jiff(),
                ],
            )
            .await?;
        Ok(Session { id, token: minted.text })
    }
}

/// Locked, so that a log-out waits for a renewal at the same time and sees the token that came of it.
async fn token_of(scoped: &Scoped<'_>, shown: &Macs) -> Result<Option<Row>, Fault> {
    let macs: Vec<&[u8]> = shown.iter().map(|mac| &mac[..]).collect();
    scoped.optional("SELECT * FROM refresh_tokens WHERE mac = ANY ($1) FOR UPDATE", &[&macs]).await
}

/// Sessions that ended and whose access tokens may be good by the clock, for the follower. As many as people logged in
/// and out within the lifetime of a token.
pub(crate) async fn sessions_ended_all(scoped: &Scoped<'_>, now: Timestamp) -> Result<Vec<SessionId>, Fault> {
    let rows = scoped.rows("SELECT family FROM sessions_ended WHERE until > $1", &[&now.to_jiff()]).await?;
    rows.iter().map(|row| Ok(SessionId::from_uuid(column::<Uuid>(row, "family")?))).collect()
}
