//! The command line: what can be asked of the binary, in the words of its manual; the examples stand in `manual.rs`.
//!
//! Exit codes follow sysexits(3): 64 wrong usage, 65 bad input, 69 something needed is unavailable, 73 a file cannot
//! be made, 78 wrong configuration. Everything that prints takes `--json`.

use crate::key_file::KeyKind;
use crate::manual;
use crate::remote::{Remote, login, nouns};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// An email service provider in a box.
///
/// posthouse accepts mail from many tenants, keeps it safe, delivers it politely, and tells each tenant what became
/// of it. `posthouse up --lab` runs everything on this machine, with a simulated internet to send to.
#[derive(Debug, Parser)]
#[command(name = "posthouse", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Errs with clap's own text, also for help and version, which are no failures.
    pub fn read() -> Result<Cli, clap::Error> {
        Cli::from_arg_matches(&Cli::whole().try_get_matches()?)
    }

    /// With everything that its help shows.
    pub fn whole() -> clap::Command {
        manual::whole(Cli::command())
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process on this machine
    ///
    /// Without --database it runs its own PostgreSQL from the host's binaries (15 or newer) under DIR/postgres. A second
    /// start continues where the first one stopped. Ctrl-C stops everything cleanly.
    Up(Up),
    /// Run in production: external PostgreSQL, configuration from a file
    ///
    /// Needs database.url, tls.chain and tls.key in that file, and a database that `posthouse migrate` has prepared; for
    /// somebody to log in, `posthouse operator add`. SIGTERM stops it cleanly.
    Serve(Serve),
    /// Bring the database to the schema of this version
    ///
    /// Before the first `serve`, and before the nodes of a new version are started. What is applied already is left
    /// alone, so that it may be run again.
    Migrate(Migrate),
    /// People who run the house: the first one, and one who forgot the password
    ///
    /// Works on the database itself, because before the first operator nobody can log in. Everybody else is made and
    /// changed through the API. The new password is made here and printed once.
    #[command(subcommand)]
    Operator(OperatorCommand),
    /// Keys of the installation: which there are, a new one, the end of an old one
    ///
    /// Works on the key files of the data directory; a node reads them when it starts. A new key is known to every node
    /// before it is used, and an old one is read until it is retired, so nobody is locked out and no secret is lost.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Check a configuration file and print every mistake with its line
    ///
    /// `check-config FILE` and `check-config --config FILE` are the same.
    CheckConfig(CheckConfig),
    /// Look at this host and its configuration, and say what to do
    ///
    /// Checks the configuration, the data directory and its disk, descriptors, clock, ports, certificate, name servers,
    /// PostgreSQL, the addresses of the registry, and the node if one runs here. Changes nothing. Each line is ok,
    /// warning or ERROR; below it stands what to do. `doctor FILE` and `doctor --config FILE` are the same.
    ///
    /// Exit code 0 if nothing stands in the way, else that of the first error: 78 the configuration or certificate, 73
    /// the data directory, 69 anything else.
    Doctor(Doctor),
    /// Tenants: onboard, limit, pause, delete
    Tenant(Remote<nouns::Tenant>),
    /// Sending domains and their DNS records and keys
    Domain(Remote<nouns::Domain>),
    /// SMTP credentials of a tenant
    Credential(Remote<nouns::Credential>),
    /// API keys of a tenant
    ApiKey(Remote<nouns::ApiKey>),
    /// Sets of addresses that mail leaves from
    Pool(Remote<nouns::Pool>),
    /// Addresses that mail leaves from
    Source(Remote<nouns::Source>),
    /// Where a tenant's events are sent
    Webhook(Remote<nouns::Webhook>),
    /// Send a message, and see what became of it
    Message(Remote<nouns::Message>),
    /// What is due, why it does not move, and holds
    Queue(Remote<nouns::Queue>),
    /// What happened, as a list and as it happens
    Event(Remote<nouns::Event>),
    /// Log in to an API, for the commands that call it
    ///
    /// Asks for address and password (or reads the password from standard input) and keeps the login for this user.
    Login(login::Login),
    /// End the login that is kept, here and there
    Logout(login::Logout),
    /// Print a script that completes these commands in a shell
    ///
    /// Write it where the shell looks for such scripts; a new shell then completes commands and options.
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Look into the journal on the disk, also while a node runs; nothing is changed
    #[command(subcommand)]
    Spool(SpoolCommand),
    /// The simulated internet alone, and its load client and sink
    ///
    /// Without a subcommand: the internet, as `lab run`.
    Lab(LabOptions),
}

#[derive(Debug, Args)]
pub struct Up {
    /// Where everything is kept: journal, keys, certificates, PostgreSQL; `.posthouse` here, unless the configuration
    /// says otherwise
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Add the simulated internet; mail then goes to loopback addresses only
    #[arg(long)]
    pub lab: bool,
    /// Use this PostgreSQL instead of an own one
    #[arg(long, value_name = "URL")]
    pub database: Option<String>,
    /// Write addresses and process id here, as JSON, once every listener accepts
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// The configuration file; every key has a default
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Start although the database has secrets and the master key opens none of them: it is lost for good, and every DKIM
    /// key, webhook secret, SMTP credential and API key will be made anew
    #[arg(long)]
    pub master_key_lost: bool,
    /// Print the content of the ready file instead of the screen for people
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Serve {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Roles of this process, several with commas. The journal lies on this node's disk, so ingress, egress and events
    /// run together; api may be left out
    #[arg(long, value_name = "ROLE", value_delimiter = ',', default_value = "ingress,egress,events,api")]
    pub role: Vec<String>,
    /// Write addresses and process id here, as JSON, once every listener accepts
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Start although the database has secrets and the master key opens none of them: it is lost for good, and every DKIM
    /// key, webhook secret, SMTP credential and API key will be made anew
    #[arg(long)]
    pub master_key_lost: bool,
}

#[derive(Debug, Args)]
pub struct Migrate {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The database, instead of database.url of the configuration; its user owns it and may create roles
    #[arg(long, value_name = "URL")]
    pub database: Option<String>,
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum OperatorCommand {
    /// Make an operator
    Add(OperatorPerson),
    /// Give an operator a new password; tokens and sessions of the old one end
    Password(OperatorPerson),
}

#[derive(Debug, Args)]
pub struct OperatorPerson {
    /// Whom: the address to log in with
    #[arg(long, value_name = "ADDRESS")]
    pub email: String,
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The database, instead of database.url of the configuration
    #[arg(long, value_name = "URL")]
    pub database: Option<String>,
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// List the keys and what each is good for; no key is printed
    Show(KeysPlace),
    /// Make a new key, in force now or from a time on
    ///
    /// With several nodes say a time by which the file is on all of them and each was restarted.
    Rotate(KeysRotate),
    /// End an old key for good
    ///
    /// Refused while anything needs it. Of a master key stays what checks credentials and return paths made under it.
    Retire(KeysRetire),
}

#[derive(Debug, Args)]
pub struct KeysPlace {
    /// The node's data directory, instead of node.data
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct KeysRotate {
    /// Which key
    pub kind: KeyKind,
    /// In force from this time on, such as 2026-12-01T12:00:00Z; now, unless told
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    #[command(flatten)]
    pub place: KeysPlace,
}

#[derive(Debug, Args)]
pub struct KeysRetire {
    /// Which key
    pub kind: KeyKind,
    /// Its version, as `posthouse keys show` lists it
    pub version: u32,
    /// Of a session key: now, with every token that it signed; people go on by their cookie
    #[arg(long)]
    pub at_once: bool,
    /// The database, instead of database.url of the configuration or that of a running `up`
    #[arg(long, value_name = "URL")]
    pub database: Option<String>,
    #[command(flatten)]
    pub place: KeysPlace,
}

/// Of the two commands that look at nothing else: a bare name can only mean this file.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// The configuration file of the node; every key has a default
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The same, as the other commands have it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    pub fn path(&self) -> Option<&Path> {
        self.file.as_deref().or(self.config.as_deref())
    }
}

#[derive(Debug, Args)]
pub struct CheckConfig {
    #[command(flatten)]
    pub config: ConfigFile,
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    pub config: ConfigFile,
    /// The node's data directory, instead of node.data
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Print one JSON object with all findings, for programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct LabOptions {
    #[command(subcommand)]
    pub command: Option<LabCommand>,
    #[command(flatten)]
    pub run: LabRun,
}

#[derive(Debug, Subcommand)]
pub enum SpoolCommand {
    /// Read all of it, check every checksum, and say what each segment holds
    ///
    /// Exit code 65 if something is damaged. Beside a running node the last segment may end in a write that is not
    /// finished, and old segments may go while they are read; neither is damage.
    Verify(SpoolVerify),
    /// Print the records, without bodies
    Inspect(SpoolInspect),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct SpoolPlace {
    /// The node's data directory; the journal is in `spool` below
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The journal's own directory
    #[arg(long, value_name = "DIR")]
    pub spool: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct SpoolVerify {
    #[command(flatten)]
    pub place: SpoolPlace,
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct SpoolInspect {
    #[command(flatten)]
    pub place: SpoolPlace,
    /// Only what is about this message
    #[arg(long, value_name = "ID")]
    pub message: Option<mail::MessageId>,
    /// Only the record that begins here, as logs show it: 0000002a:00001f40
    #[arg(long, value_name = "POSITION")]
    pub position: Option<spool::Position>,
    /// Print the bodies as well: they are people's mail
    #[arg(long)]
    pub body: bool,
    /// Print one JSON object a line, for programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Mailbox providers, DNS and control on loopback, until Ctrl-C
    Run(LabRun),
    /// Submit messages and print figures
    Load(LabLoad),
    /// Receive messages as fast as they come and print figures
    Sink(LabSink),
}

#[derive(Debug, Args)]
pub struct LabRun {
    /// Where its HTTP interface listens
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8053")]
    pub control: SocketAddr,
    /// Where its name server listens
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:5353")]
    pub dns: SocketAddr,
    /// Port on which every provider listens; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub smtp_port: u16,
    /// Where providers send bounces and complaints; nowhere without it
    #[arg(long, value_name = "IP:PORT")]
    pub inbound: Option<SocketAddr>,
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct LabLoad {
    /// Submission listener to send to
    #[arg(long, value_name = "IP:PORT")]
    pub to: SocketAddr,
    /// `user:password`, one per tenant; connections take turns
    #[arg(long = "credential", value_name = "USER:PASSWORD")]
    pub credentials: Vec<String>,
    /// Read credentials from this file, one `user:password:from-domain` a line
    #[arg(long, value_name = "FILE")]
    pub credentials_file: Option<PathBuf>,
    /// How many tenants of the file to use; 0 means all
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub tenants: usize,
    /// MAIL FROM and From, with an address of a verified domain
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<String>,
    /// Domains to send to, in turn; several with commas
    #[arg(long, value_name = "DOMAIN", value_delimiter = ',', default_value = "plain.example")]
    pub domains: Vec<String>,
    /// Messages a second, all connections together; 0 means as fast as it goes
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub rate: u32,
    /// Messages in all
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    pub count: u64,
    /// Connections at a time
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    pub connections: usize,
    /// Octets of a message
    #[arg(long, value_name = "OCTETS", default_value_t = 5120)]
    pub size: usize,
    /// `starttls`, `implicit` or `none`
    #[arg(long, value_name = "HOW", default_value = "starttls")]
    pub tls: String,
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct LabSink {
    /// Where it takes mail
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:2526")]
    pub listen: SocketAddr,
    /// Stop after this many messages; 0 runs until Ctrl-C
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub count: u64,
    /// `offered` (STARTTLS) or `none`
    #[arg(long, value_name = "HOW", default_value = "offered")]
    pub tls: String,
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// What has no words, as `posthouse …` and, if it is one, its option.
    fn unsaid(command: &clap::Command, path: &str) -> Vec<String> {
        let path = format!("{path} {}", command.get_name());
        let own = command.get_arguments().filter(|argument| argument.get_help().is_none());
        let mut all: Vec<String> = own.map(|argument| format!("{path} {}", argument.get_id())).collect();
        all.extend(command.get_about().is_none().then(|| path.clone()));
        all.extend(command.get_subcommands().flat_map(|below| unsaid(below, &path)));
        all
    }

    #[test]
    fn every_command_and_option_says_what_it_is_for() {
        let unsaid = unsaid(&Cli::command(), "");
        assert!(unsaid.is_empty(), "{unsaid:#?}");
    }

    #[test]
    fn the_lab_alone_is_the_internet() {
        let parsed = |line: &[&str]| Cli::try_parse_from(line.iter().copied());
        let Ok(Cli { command: Command::Lab(bare) }) = parsed(&["posthouse", "lab", "--json"]) else {
            panic!("`posthouse lab` is whole")
        };
        assert!(bare.command.is_none() && bare.run.json);
        assert!(parsed(&["posthouse", "lab", "run", "--smtp-port", "2599"]).is_ok());
        assert!(parsed(&["posthouse", "lab", "--json", "sink"]).is_err());
    }

    #[test]
    fn a_configuration_is_named_with_or_without_its_option() {
        let parsed = |line: &[&str]| Cli::try_parse_from([&["posthouse"], line].concat());
        for line in [&["a.toml"][..], &["--config", "a.toml"], &["a.toml", "--json"]] {
            let Ok(Cli { command: Command::CheckConfig(check) }) =
                parsed(&[&["check-config"], line].concat())
            else {
                panic!("check-config {line:?}")
            };
            let Ok(Cli { command: Command::Doctor(doctor) }) = parsed(&[&["doctor"], line].concat()) else {
                panic!("doctor {line:?}")
            };
            let file = Some(Path::new("a.toml"));
            assert_eq!((check.config.path(), doctor.config.path()), (file, file), "{line:?}");
        }
        for command in ["check-config", "doctor"] {
            assert!(parsed(&[command, "a.toml", "--config", "a.toml"]).is_err());
        }
        assert!(parsed(&["doctor"]).is_ok());
    }

    #[test]
    fn a_wrong_option_is_refused() {
        assert!(Cli::try_parse_from(["posthouse", "up", "--dta", "x"]).is_err());
        assert!(Cli::try_parse_from(["posthouse"]).is_err());
        assert!(Cli::try_parse_from(["posthouse", "spool", "verify"]).is_err());
        assert!(
            Cli::try_parse_from(["posthouse", "spool", "verify", "--data", "a", "--spool", "b"]).is_err()
        );
        assert!(
            Cli::try_parse_from(["posthouse", "spool", "inspect", "--data", "a", "--position", "7"]).is_err()
        );
    }
}
