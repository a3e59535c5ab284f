//! `posthouse doctor`: is this host fit for a node, and if not, what is to be done?

use crate::cli::Doctor;
use crate::config::Config;
use crate::doctor::finding::{table, verdict};
use crate::doctor::{examine, mistaken};
use crate::printing::{print, print_line};

pub fn run(options: &Doctor) -> anyhow::Result<()> {
    let findings = match Config::load(options.config.path()) {
        Err(mistakes) => mistaken(&mistakes),
        Ok(mut config) => {
            if let Some(data) = &options.data {
                config.node.data.clone_from(data);
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(examine(&config))
        }
    };
    if options.json {
        print_line(format_args!(
            "{}",
            serde_json::json!({"ok": verdict(&findings).is_ok(), "findings": findings})
        ))?;
    } else {
        print(format_args!("{}", table(&findings)))?;
    }
    verdict(&findings)
}
