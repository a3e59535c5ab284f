//! Egress sources: the addresses we send from. The house's only.

use crate::audit::Change;
use crate::connect::Database;
use crate::error::Fault;
use crate::kept::Made;
use crate::page::{List, Page, PageRequest, id_cursor};
use crate::scope::{Intent, Scoped, column, corrupt, parsed};
use mail::{Domain, SourceId, SourceName};
use registry::{Access, EgressSource, Slug, SourceState};
use serde_json::json;
use std::net::IpAddr;
use tokio_postgres::Row;

/// A source to be made.
#[derive(Debug, Clone)]
pub struct SourceNew {
    /// What paths, events and logs call it; never changes.
    pub name: Slug,
    /// Must be an address of a node.
    pub address: IpAddr,
    /// The name said in EHLO.
    pub ehlo: Domain,
}

/// What is to be changed; what is none stays.
#[derive(Debug, Clone, Default)]
pub struct SourceChange {
    /// The name said in EHLO from now on.
    pub ehlo: Option<Domain>,
    /// Whether mail leaves from it.
    pub state: Option<SourceState>,
}

impl Database {
    /// Makes a source, which is active at once.
    ///
    /// # Errors
    /// `Conflict` if its name or its address is taken; `Forbidden` for whoever is held to one tenant; else as
    /// [every call](Database#errors).
    pub async fn source_create(&self, access: &Access, new: &SourceNew) -> Result<EgressSource, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Change, "create a source").await?;
        let now = self.now();
        let row = scoped
            .one(
                "source",
                "INSERT INTO sources (id, name, address, ehlo, state, created_at)
                 VALUES ($1, $2, $3, $4, $5, $6) RETURNING *",
                &[
                    &SourceId::mint(now, &mut self.random()).uuid(),
                    &new.name.as_str(),
                    &new.address.to_canonical().to_string(),
                    &new.ehlo.as_str(),
                    &SourceState::Active.as_str(),
                    &now.to_jiff(),
                ],
            )
            .await?;
        let source = source_from(&row)?;
        scoped.record(self, change_of("source.create", &source)).await?;
        scoped.commit_made(Made::Source(&source)).await?;
        Ok(source)
    }

    /// One source.
    ///
    /// # Errors
    /// `NotFound` if there is none, and for whoever is held to one tenant; else as
    /// [every call](Database#errors).
    pub async fn source_fetch(&self, access: &Access, source: SourceId) -> Result<EgressSource, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Read, "fetch a source").await?;
        source_from(&scoped.one("source", "SELECT * FROM sources WHERE id = $1", &[&source.uuid()]).await?)
    }

    /// All of the installation, newest first; none for whoever is held to one tenant.
    ///
    /// # Errors
    /// `Invalid` for a cursor of another list; else as [every call](Database#errors).
    pub async fn source_list(
        &self,
        access: &Access,
        page: &PageRequest,
    ) -> Result<Page<EgressSource>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Read, "list sources").await?;
        let rows = scoped
            .rows(
                "SELECT * FROM sources WHERE id < $1 ORDER BY id DESC LIMIT $2",
                &[&page.before_id(List::Sources)?, &page.fetch()],
            )
            .await?;
        page.finish(rows, source_from, |source| id_cursor(List::Sources, source.id.uuid()))
    }

    /// Changes what is given.
    ///
    /// # Errors
    /// `NotFound` if there is none, and for whoever is held to one tenant; else as
    /// [every call](Database#errors).
    pub async fn source_update(
        &self,
        access: &Access,
        source: SourceId,
        change: &SourceChange,
    ) -> Result<EgressSource, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Change, "update a source").await?;
        let row = scoped
            .one(
                "source",
                "UPDATE sources SET ehlo = coalesce($2, ehlo), state = coalesce($3, state) WHERE id = $1 RETURNING *",
                &[&source.uuid(), &change.ehlo.as_ref().map(Domain::as_str), &change.state.map(SourceState::as_str)],
            )
            .await?;
        let source = source_from(&row)?;
        scoped.record(self, change_of("source.update", &source)).await?;
        scoped.commit().await?;
        Ok(source)
    }

    /// Gives the source up: its name and its address are free again.
    ///
    /// # Errors
    /// `InUse` while a pool holds it; `NotFound` if there is none, and for whoever is held to one tenant;
    /// else as [every call](Database#errors).
    pub async fn source_delete(&self, access: &Access, source: SourceId) -> Result<(), Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Change, "delete a source").await?;
        let gone = scoped.execute("DELETE FROM sources WHERE id = $1", &[&source.uuid()]).await;
        if gone.map_err(|fault| fault.in_use("source"))? == 0 {
            return Err(Fault::NotFound("source"));
        }
        let change =
            Change { action: "source.delete", tenant: None, object: source.to_string(), detail: json!({}) };
        scoped.record(self, change).await?;
        scoped.commit().await
    }
}

/// Every source, for the follower.
pub(crate) async fn sources_all(scoped: &Scoped<'_>) -> Result<Vec<EgressSource>, Fault> {
    scoped.rows("SELECT * FROM sources", &[]).await?.iter().map(source_from).collect()
}

fn change_of(action: &'static str, source: &EgressSource) -> Change {
    let detail = json!({
        "name": source.name.as_str(), "address": source.address, "ehlo": source.ehlo.as_str(), "state": source.state,
    });
    Change { action, tenant: None, object: source.id.to_string(), detail }
}

fn source_from(row: &Row) -> Result<EgressSource, Fault> {
    Ok(EgressSource {
        id: SourceId::from_uuid(column(row, "id")?),
        name: SourceName::new(column::<&str>(row, "name")?),
        address: column::<&str>(row, "address")?.parse().map_err(|_| corrupt("address"))?,
        ehlo: parsed(row, "ehlo", |text| Domain::parse(text).ok())?,
        state: parsed(row, "state", SourceState::parse)?,
    })
}
