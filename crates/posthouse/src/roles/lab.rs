//! `posthouse lab …`: the simulated internet alone, the load client, the sink. Loopback only.

use crate::cli::{LabCommand, LabLoad, LabOptions, LabRun, LabSink};
use crate::clock::SystemClock;
use crate::exit::Failure;
use crate::node::unavailable;
use crate::printing::print_line;
use crate::roles::up::os_random;
use crate::signals::{Hangup, Signals};
use anyhow::Context;
use lab::load::{LoadTls, Sender};
use lab::{Lab, LabConfig, LabParts, LoadOptions, SinkOptions, SinkTls};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub fn run(LabOptions { command, run }: LabOptions) -> anyhow::Result<()> {
    let command = command.unwrap_or(LabCommand::Run(run));
    let _log = crate::telemetry::start_logging(&crate::config::Log {
        filter: "warn".to_owned(),
        ..Default::default()
    })?;
    crate::nofile::raise();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let mut signals = Signals::new(Hangup::Stops)?;
        let asked = stop.clone();
        let watcher = tokio::spawn(async move {
            signals.recv().await;
            asked.cancel();
        });
        let outcome = match command {
            LabCommand::Run(options) => internet(options, stop).await,
            LabCommand::Load(options) => load(options, stop).await,
            LabCommand::Sink(options) => sink(options, stop).await,
        };
        watcher.abort();
        outcome
    })
}

async fn internet(options: LabRun, stop: CancellationToken) -> anyhow::Result<()> {
    let LabRun { control, dns, smtp_port, inbound, json } = options;
    let config = LabConfig { control, dns, smtp_port, inbound, ..LabConfig::default() };
    let parts = LabParts { clock: Arc::new(SystemClock::new()), random: os_random()? };
    let lab = Lab::start(config, parts, stop.clone())
        .await
        .map_err(|error| unavailable("cannot start the lab", error))?;
    if json {
        let ready = serde_json::json!({
            "control": format!("http://{}", lab.control), "dns": lab.dns, "smtp_port": lab.smtp_port,
        });
        print_line(format_args!("{ready}"))?;
    } else {
        print_line(format_args!(
            "control   http://{}\nDNS       {}\nSMTP port {} of every provider\n",
            lab.control, lab.dns, lab.smtp_port
        ))?;
        print_line(format_args!(
            "Let posthouse send here:\n\n  [dns]\n  servers = [\"{}\"]\n  [egress]\n  smtp_port = {}\n  lab_loopback_only = true\n\nCtrl-C stops it.",
            lab.dns, lab.smtp_port
        ))?;
    }
    stop.cancelled().await;
    lab.stopped().await;
    Ok(())
}

async fn load(options: LabLoad, stop: CancellationToken) -> anyhow::Result<()> {
    let senders = senders(&options)?;
    let tls = match options.tls.as_str() {
        "starttls" => LoadTls::StartTls,
        "implicit" => LoadTls::Implicit,
        "none" => LoadTls::Plain,
        other => return Err(Failure::Usage(format!("--tls {other}: use starttls, implicit or none")).into()),
    };
    let load = LoadOptions {
        to: options.to,
        tls,
        senders,
        connections: options.connections,
        count: options.count,
        rate: (options.rate > 0).then(|| f64::from(options.rate)),
        size: options.size,
        domains: options.domains,
        ..LoadOptions::default()
    };
    let figures = lab::load::run(load, Arc::new(SystemClock::new()), stop)
        .await
        .map_err(|error| unavailable("cannot submit", error))?;
    if options.json {
        print_line(format_args!("{}", serde_json::to_string(&figures)?))?;
    } else {
        print_line(format_args!("{figures}"))?;
    }
    if figures.accepted == 0 && figures.refused + figures.failures > 0 {
        let why = figures.first_refusal.or(figures.first_failure).unwrap_or_default();
        return Err(Failure::Unavailable(format!("nothing was accepted: {why}")).into());
    }
    Ok(())
}

/// One sender a tenant: from the file, from the options, or an anonymous one.
fn senders(options: &LabLoad) -> anyhow::Result<Vec<Sender>> {
    let mut senders = Vec::new();
    if let Some(file) = &options.credentials_file {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let mut parts = line.trim().splitn(3, ':');
            match (parts.next(), parts.next(), parts.next()) {
                (Some(user), Some(password), Some(domain)) => senders.push(Sender {
                    login: Some((user.to_owned(), password.to_owned())),
                    from: format!("load@{domain}"),
                }),
                _ => {
                    let place = format!("{}:{}", file.display(), number + 1);
                    return Err(Failure::Input(format!("{place}: write user:password:from-domain")).into());
                }
            }
        }
        if options.tenants > 0 {
            senders.truncate(options.tenants);
        }
    }
    let from = options.from.clone();
    for credential in &options.credentials {
        let (user, password) = credential
            .split_once(':')
            .ok_or_else(|| Failure::Usage("--credential is written user:password".to_owned()))?;
        let from = from.clone().ok_or_else(|| Failure::Usage("--credential needs --from".to_owned()))?;
        senders.push(Sender { login: Some((user.to_owned(), password.to_owned())), from });
    }
    if senders.is_empty() {
        let from = from.ok_or_else(|| {
            Failure::Usage(
                "say who sends: --credential with --from, --credentials-file, or --from alone".to_owned(),
            )
        })?;
        senders.push(Sender { login: None, from });
    }
    Ok(senders)
}

async fn sink(options: LabSink, stop: CancellationToken) -> anyhow::Result<()> {
    let (bound, mut listens) = watch::channel(None);
    let tls = match options.tls.as_str() {
        "offered" => SinkTls::Offered,
        "none" => SinkTls::NotOffered,
        other => return Err(Failure::Usage(format!("--tls {other}: use offered or none")).into()),
    };
    let sink = SinkOptions { listen: options.listen, count: options.count, tls, ..SinkOptions::default() };
    let announced = tokio::spawn(async move {
        if let Ok(address) = listens.wait_for(Option::is_some).await
            && let Some(address) = *address
        {
            eprintln!("listening on {address}");
        }
    });
    let figures = lab::sink::run(sink, Arc::new(SystemClock::new()), bound, stop)
        .await
        .map_err(|error| unavailable("cannot receive", error))?;
    announced.abort();
    if options.json {
        print_line(format_args!("{}", serde_json::to_string(&figures)?))?;
    } else {
        print_line(format_args!("{figures}"))?;
    }
    Ok(())
}
