//! Who is said to have sent a message for its author: Sender, and the Resent- fields of those who sent it on.
//!
//! Mail programs show these names beside From or in its place ("a on behalf of b"), and some receivers hold their
//! owners responsible (RFC 4407). So policy reads them with the same strictness as From: one reading or none. A message
//! may have been sent on more than once; each time adds a block of Resent- fields (RFC 5322 §3.6.6). Blocks are told
//! apart by their order alone, which any program on the way may have changed, so all of them are read and none is taken
//! for the newest. Dates, ids and recipients of a block name nobody who sent anything and are left alone.
//!
//! Called by ingress; what the mailboxes may be is the registry's to say.

use super::header::HeaderSection;
use super::mailbox_list::{self, MailboxListError};
use crate::{Mailbox, Refusal, RefusalKind};

/// Where somebody is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentField {
    /// Who transmitted it for the author (RFC 5322 §3.6.2).
    Sender,
    /// Who sent it on.
    ResentFrom,
    /// Who transmitted it for whoever sent it on.
    ResentSender,
}

/// Somebody who is said to have sent the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Where the message says so.
    pub field: AgentField,
    /// Never more than one for a Sender or Resent-Sender.
    pub mailbox: Mailbox,
}

/// Why a field does not say without doubt who sent the message. The sentences are public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// The field has another shape than RFC 5322 gives it, or two readings.
    #[error("the {field} field cannot be read without doubt: {reason}", field = .0.as_str(), reason = .1)]
    Unreadable(AgentField, MailboxListError),
    /// A field for one mailbox has several.
    #[error("the {field} field has more than one address", field = .0.as_str())]
    Several(AgentField),
}

impl AgentField {
    const ALL: [AgentField; 3] = [AgentField::Sender, AgentField::ResentFrom, AgentField::ResentSender];

    /// The name of the field, as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            AgentField::Sender => "Sender",
            AgentField::ResentFrom => "Resent-From",
            AgentField::ResentSender => "Resent-Sender",
        }
    }

    /// Resent-From is a list like From; the others name the one who pressed the button.
    const fn may_name_several(self) -> bool {
        matches!(self, AgentField::ResentFrom)
    }
}

impl HeaderSection<'_> {
    /// Everybody who is said to have sent the message, of every block; none if the author did it alone.
    ///
    /// # Errors
    /// `Unreadable` if one of the fields is no mailbox-list with one reading ([`MailboxListError`] says why),
    /// `Several` if a Sender or Resent-Sender names more than one mailbox (RFC 5322 §3.6.2, §3.6.6).
    pub fn agents(&self) -> Result<Vec<Agent>, AgentError> {
        let mut agents = Vec::new();
        for field in AgentField::ALL {
            for found in self.all(field.as_str()) {
                let unreadable = |error| AgentError::Unreadable(field, error);
                let mailboxes = mailbox_list::parse(&found.unfolded()).map_err(unreadable)?;
                if mailboxes.len() > 1 && !field.may_name_several() {
                    return Err(AgentError::Several(field));
                }
                agents.extend(mailboxes.into_iter().map(|mailbox| Agent { field, mailbox }));
            }
        }
        Ok(agents)
    }
}

impl AgentError {
    /// The answer to the client: permanent, and it names the field.
    pub fn to_refusal(self) -> Refusal {
        Refusal::new(RefusalKind::MessageMalformed, self.to_string())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::message::HeaderLimits;

    fn agents(fields: &str) -> Result<Vec<String>, AgentError> {
        let raw = format!("From: a@a.example\r\n{fields}\r\n");
        let agents = HeaderSection::parse(raw.as_bytes(), &HeaderLimits::default()).unwrap().agents()?;
        Ok(agents.iter().map(|agent| format!("{} {}", agent.field.as_str(), agent.mailbox)).collect())
    }

    #[test]
    fn a_field_that_names_nobody_or_too_many_is_refused() {
        use AgentField::{ResentFrom, ResentSender, Sender};
        for (fields, wanted) in [
            ("Sender:\r\n", AgentError::Unreadable(Sender, MailboxListError::Empty)),
            ("Sender: a@a.example, b@a.example\r\n", AgentError::Several(Sender)),
            (
                "sender: a@a.example <b@a.example>\r\n",
                AgentError::Unreadable(Sender, MailboxListError::Structure),
            ),
            ("Resent-Sender: a@a.example, b@a.example\r\n", AgentError::Several(ResentSender)),
            ("Resent-From: x:;\r\n", AgentError::Unreadable(ResentFrom, MailboxListError::Group)),
            // The second block is read too.
            (
                "Resent-From: a@a.example\r\nResent-From:\r\n",
                AgentError::Unreadable(ResentFrom, MailboxListError::Empty),
            ),
        ] {
            assert_eq!(agents(fields), Err(wanted), "{fields:?}");
            assert_eq!(wanted.to_refusal().kind, RefusalKind::MessageMalformed);
        }
    }

    #[test]
    fn everybody_in_every_block_is_named_and_nobody_else() {
        let blocks = "Resent-Date: x\r\nRESENT-FROM: B <b@b.example>,\r\n c@c.example\r\nResent-To: t@t.example\r\n\
                      Resent-Sender: d@d.example\r\nReceived: x\r\nResent-From: e@e.example\r\nSender: s@s.example\r\n";
        assert_eq!(
            agents(blocks).unwrap(),
            [
                "Sender s@s.example",
                "Resent-From b@b.example",
                "Resent-From c@c.example",
                "Resent-From e@e.example",
                "Resent-Sender d@d.example"
            ]
        );
        assert_eq!(agents("Reply-To: b@b.example\r\nX-Sender: c@c.example\r\n").unwrap(), [""; 0]);
    }
}
