//! The body of `POST …/messages`, field by field, as the document publishes it.
//!
//! One type for all three forms, because a client should learn one; which fields belong to which form is checked in
//! `draft.rs`.

use crate::variables::Values;
use mail::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

/// A message to send: its parts, or `raw`, or a batch with `recipients`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendMessage {
    /// Who it is from, `user@example.org` or `Name <user@example.org>`; the domain must be verified. With `raw` it is
    /// the envelope's sender and may be left out.
    #[schema(format = "mailbox", max_length = 998)]
    pub from: Option<String>,
    /// An address or a list of them.
    #[serde(default)]
    pub to: Addresses,
    #[serde(default)]
    pub cc: Addresses,
    /// Recipients that no other recipient sees.
    #[serde(default)]
    pub bcc: Addresses,
    #[serde(default)]
    pub reply_to: Addresses,
    #[schema(max_length = 998)]
    pub subject: Option<String>,
    /// The body as plain text.
    pub text: Option<String>,
    /// The body as HTML.
    pub html: Option<String>,
    /// Further header fields. Those that we write ourselves are refused.
    #[serde(default)]
    #[schema(schema_with = header_map, required = false)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    #[schema(max_items = 50)]
    pub attachments: Vec<AttachmentInput>,
    /// A finished message (RFC 5322) in base64. Recipients come from `to`, `cc` and `bcc`, or from its header section.
    #[schema(format = "byte")]
    pub raw: Option<String>,
    /// A batch: one message for each, with the recipient's own values for `{{name}}` in subject, text, html, headers.
    #[serde(default)]
    #[schema(max_items = 500)]
    pub recipients: Vec<BatchRecipient>,
    /// Shown in events and searchable.
    #[serde(default)]
    #[schema(max_items = 10)]
    pub tags: Vec<Tag>,
    /// Carried into events as it is.
    #[serde(default)]
    #[schema(schema_with = metadata_map, required = false)]
    pub metadata: BTreeMap<String, String>,
    /// Name or id of the stream; without it the one that the key is bound to, or the tenant's first.
    #[schema(format = "slug")]
    pub stream: Option<String>,
    /// Name or id of the pool to leave from.
    #[schema(format = "slug")]
    pub pool: Option<String>,
    /// Not before this time.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub send_at: Option<Timestamp>,
}

/// `user@example.org` or `Name <user@example.org>`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[schema(value_type = String, format = "mailbox", max_length = 998)]
pub struct Address(pub String);

/// One address, or a list.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Addresses {
    One(Address),
    Many(AddressList),
}

#[derive(Debug, Clone, Deserialize, ToSchema)]
#[schema(max_items = 1000)]
pub struct AddressList(pub Vec<Address>);

impl Addresses {
    pub fn as_slice(&self) -> &[Address] {
        match self {
            Addresses::One(address) => std::slice::from_ref(address),
            Addresses::Many(AddressList(addresses)) => addresses,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
}

impl Default for Addresses {
    fn default() -> Addresses {
        Addresses::Many(AddressList(Vec::new()))
    }
}

#[derive(Debug, Clone, Deserialize, ToSchema)]
#[schema(value_type = String, min_length = 1, max_length = 64)]
pub struct Tag(pub String);

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchRecipient {
    #[schema(format = "mailbox", max_length = 998)]
    pub to: String,
    #[serde(default)]
    #[schema(schema_with = variable_map, required = false)]
    pub variables: Values,
    /// Added to the metadata of the batch.
    #[serde(default)]
    #[schema(schema_with = metadata_map, required = false)]
    pub metadata: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttachmentInput {
    #[schema(min_length = 1, max_length = 255)]
    pub filename: String,
    /// `type/subtype`; `application/octet-stream` if absent.
    #[schema(max_length = 127)]
    pub content_type: Option<String>,
    /// Base64.
    #[schema(format = "byte")]
    pub content: String,
    /// Makes it a part that HTML refers to as `cid:…`.
    #[schema(min_length = 1, max_length = 255)]
    pub content_id: Option<String>,
}

fn header_map() -> Object {
    text_map("Further header fields. Those that we write ourselves are refused.", 50)
}

fn metadata_map() -> Object {
    text_map("Carried into events as it is.", 20)
}

fn variable_map() -> Object {
    text_map("Values by name.", 100)
}

fn text_map(description: &str, entries_max: usize) -> Object {
    let text = ObjectBuilder::new().schema_type(Type::String);
    let map = ObjectBuilder::new().schema_type(Type::Object).additional_properties(Some(text));
    map.max_properties(Some(entries_max)).description(Some(description)).build()
}
