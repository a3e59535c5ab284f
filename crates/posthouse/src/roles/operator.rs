//! `posthouse operator add` and `posthouse operator password`: how the first person gets in, and back in.
//!
//! The only commands that change the registry without the API, because somebody must be able to log in there first.
//! They need the database and nothing else: no key of the installation takes part in a password. Both are audited as
//! the house's own doing.

use crate::cli::{OperatorCommand, OperatorPerson};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::exit::Failure;
use crate::node::unavailable;
use crate::printing::print_line;
use crate::roles::up::os_random;
use database::{Database, Fault, Keys, UserNew};
use mail::Random;
use registry::{Access, Role};
use std::sync::Arc;
use zeroize::Zeroizing;

pub fn run(command: &OperatorCommand) -> anyhow::Result<()> {
    let (OperatorCommand::Add(person) | OperatorCommand::Password(person)) = command;
    let mut config =
        Config::load(person.config.as_deref()).map_err(|error| Failure::Configuration(error.to_string()))?;
    if let Some(url) = &person.database {
        config.database.url.clone_from(url);
    }
    if config.database.url.is_empty() {
        let text = "say which database: --database URL, or database.url in --config FILE";
        return Err(Failure::Usage(text.to_owned()).into());
    }
    let mut random = os_random()?;
    let password = new_password(&mut random);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let keys = Keys::none();
        let clock = Arc::new(SystemClock::new());
        let database = Database::connect(&config.database, keys, clock, random)
            .await
            .map_err(|error| unavailable("cannot use the database", error))?;
        match command {
            OperatorCommand::Add(person) => add(&database, &person.email, &password).await,
            OperatorCommand::Password(person) => renew(&database, &person.email, &password).await,
        }
    })?;
    tell(person, &password)
}

async fn add(database: &Database, email: &str, password: &Zeroizing<String>) -> anyhow::Result<()> {
    let access = Access::house("posthouse operator add");
    let new =
        UserNew { email: email.to_owned(), password: password.clone(), role: Role::Operator, tenant: None };
    match database.user_create(&access, new).await {
        Ok(_) => Ok(()),
        Err(Fault::Conflict { .. }) => Err(Failure::Input(format!(
            "there is somebody with the address {email} already; `posthouse operator password` gives an operator a \
             new password"
        ))
        .into()),
        Err(fault @ Fault::Invalid { .. }) => Err(Failure::Input(fault.to_string()).into()),
        Err(fault) => Err(unavailable("cannot make the operator", fault)),
    }
}

async fn renew(database: &Database, email: &str, password: &Zeroizing<String>) -> anyhow::Result<()> {
    let access = Access::house("posthouse operator password");
    let found = database.user_by_address(&access, email).await;
    let user = found.map_err(|fault| unavailable("cannot look for the operator", fault))?;
    let user =
        user.filter(|user| user.role == Role::Operator && user.disabled_at.is_none()).ok_or_else(|| {
            Failure::Input(format!(
                "there is no operator with the address {email}; `posthouse operator add` makes one"
            ))
        })?;
    let set = database.user_set_password(&access, user.id, password.clone()).await;
    set.map_err(|fault| unavailable("cannot set the password", fault))?;
    Ok(())
}

/// 128 bits in hexadecimal digits.
pub fn new_password(random: &mut Random) -> Zeroizing<String> {
    Zeroizing::new(random.bytes::<16>().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn tell(person: &OperatorPerson, password: &Zeroizing<String>) -> anyhow::Result<()> {
    let (email, password) = (&person.email, password.as_str());
    match person.json {
        true => print_line(format_args!("{}", serde_json::json!({"email": email, "password": password}))),
        false => {
            print_line(format_args!("address   {email}\npassword  {password}\n\nIt is not shown again."))
        }
    }
}
