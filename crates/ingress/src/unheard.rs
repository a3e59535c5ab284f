//! A message that is ours although its client may not have heard our 250 (RFC 1047): the client will send it again.
//!
//! Nothing can be undone then, since the message may be delivered already. It is counted and named in the log, so that
//! whoever asks about a message that came twice finds the reason. Sure is only what the connection shows: that the reply
//! could not be written, or that a reset came where the next command should have come.

use mail::{MessageId, TenantId};

/// The message whose 250 was said last, until the client goes on.
#[derive(Debug, Default)]
pub(crate) struct Unheard(Option<(TenantId, MessageId)>);

impl Unheard {
    pub fn said(&mut self, tenant: TenantId, message: MessageId) {
        self.0 = Some((tenant, message));
    }

    /// The client sent something, or took its leave in order.
    pub fn heard(&mut self) {
        self.0 = None;
    }

    /// The connection broke.
    pub fn lost(&mut self) {
        let Some((tenant, message)) = self.0.take() else { return };
        metrics::counter!("posthouse_smtp_replies_unheard_total").increment(1);
        tracing::info!(
            tenant.id = %tenant,
            message.id = %message,
            "a message is ours, but its client was gone before it could hear so"
        );
    }
}
