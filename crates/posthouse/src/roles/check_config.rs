//! `posthouse check-config FILE` (or `--config FILE`): every mistake with its line, or nothing to say.

use crate::cli::CheckConfig;
use crate::config::Config;
use crate::exit::Failure;
use crate::printing::print_line;

pub fn run(options: &CheckConfig) -> anyhow::Result<()> {
    let Some(file) = options.config.path() else {
        return Err(Failure::Usage("say which file: check-config FILE".into()).into());
    };
    let outcome = Config::load(Some(file));
    if options.json {
        let mistakes = outcome.as_ref().err().map(|mistakes| mistakes.0.clone()).unwrap_or_default();
        print_line(format_args!(
            "{}",
            serde_json::json!({"file": file, "ok": mistakes.is_empty(), "mistakes": mistakes})
        ))?;
    }
    match outcome {
        Ok(_) if options.json => Ok(()),
        Ok(_) => {
            print_line(format_args!("{} is right", file.display()))?;
            Ok(())
        }
        Err(mistakes) => {
            Err(Failure::Configuration(format!("the configuration cannot be used\n{mistakes}")).into())
        }
    }
}
