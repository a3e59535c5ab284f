//! A node with a master key that opens nothing in its database is not started.
//!
//! It would say that it is ready, refuse every credential, sign nothing, and seal what is new with a key that no other
//! node has. A key file that this very start has made is removed again: whoever puts the backup in its place must not
//! wonder which of the two is right. Only somebody who says that the key is lost for good may go on without what it
//! sealed. Called by `keepers.rs`, and by the doctor for its words.

use crate::exit::Failure;
use crate::node::unavailable;
use crate::secrets::Secrets;
use database::{Database, KeyFit};
use registry::Access;
use std::path::Path;

/// What the command line says about a master key that opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyLoss {
    /// Nothing: then it is a mistake.
    Unsaid,
    /// It is lost, and what it sealed will be made anew.
    Accepted,
}

impl KeyLoss {
    pub fn of(option: bool) -> KeyLoss {
        if option { KeyLoss::Accepted } else { KeyLoss::Unsaid }
    }
}

/// Errs with 78 if the database has secrets of which these keys open none.
pub async fn expect(database: &Database, secrets: &Secrets, loss: KeyLoss) -> anyhow::Result<()> {
    let fit = database.key_fit(&Access::house("start")).await;
    match (fit.map_err(|fault| unavailable("cannot try the master key", fault))?, loss) {
        (KeyFit::NothingSealed | KeyFit::Opens, _) => Ok(()),
        (KeyFit::NothingOpens, KeyLoss::Accepted) => {
            tracing::warn!("the master key opens no secret of the database; each has to be made anew");
            Ok(())
        }
        (KeyFit::NothingOpens, KeyLoss::Unsaid) => {
            let made =
                if secrets.take_back() { " (this start had made one, and removed it again)" } else { "" };
            let text = format!("{}{made}. {ADVICE}", found(secrets.path()));
            Err(Failure::Configuration(text).into())
        }
    }
}

pub fn found(path: &Path) -> String {
    format!("the database has sealed secrets, and none of the keys in {} opens one of them", path.display())
}

pub const ADVICE: &str = "Put the file of this installation there: from your backup, or copied from another node. If it is lost for good, every \
     DKIM key, webhook secret, SMTP credential and API key has to be made anew; --master-key-lost starts a node for that";
