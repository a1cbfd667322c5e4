//! The command line.
//!
//! Exit codes: 0 fine, 1 failed, 2 wrong usage or configuration. What a command was asked for goes to standard output, what is
//! wrong to standard error, in plain sentences that make sense without colour.

mod admin;
mod bus;
mod check;
mod component;
mod doctor;
mod lake;
mod query;
mod reach;
mod remote;
mod rows;
mod status;

#[cfg(test)]
mod tests;

use crate::config::{ConfigErrors, Flags, Loaded};
use crate::control::ControlError;
use crate::journal;
use crate::visible;
use clap::Parser;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

const FAILED: u8 = 1;
const WRONG_USE: u8 = 2;

const TARGET: &str = if cfg!(target_arch = "x86_64") {
    concat!(env!("CARGO_PKG_VERSION"), " (x86_64-linux)")
} else if cfg!(target_arch = "aarch64") {
    concat!(env!("CARGO_PKG_VERSION"), " (aarch64-linux)")
} else if cfg!(target_arch = "arm") {
    concat!(env!("CARGO_PKG_VERSION"), " (arm-linux)")
} else {
    concat!(env!("CARGO_PKG_VERSION"), " (other)")
};

/// An edge broker: sensors publish over MQTT, components listen and ask over Rembus, and an acknowledgement means that the
/// message is on the disk.
#[derive(Debug, Parser)]
#[command(name = "rembus-gateway", version = TARGET, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "Exit codes: 0 fine, 1 failed, 2 wrong usage or configuration.";

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Runs the gateway until SIGTERM or SIGINT
    Run(Run),
    /// Reads the configuration as `run` would and says what it means, or what is wrong with it
    Check(Check),
    /// Rows of a table, from the running gateway
    Query(Box<query::Query>),
    /// Publishes a message
    Pub(bus::Pub),
    /// Prints messages as they come
    Sub(bus::Sub),
    /// Calls a method, of a component or of the gateway
    Rpc(bus::Rpc),
    /// The tables as a whole
    #[command(subcommand)]
    Lake(Lake),
    /// Says on one screen what the running gateway is doing
    Status(status::Args),
    /// Says what could go wrong, or does, with the configuration, the machine and the running gateway
    Doctor(doctor::Args),
    /// Users, groups and rules: who may do what
    Admin(admin::Args),
}

const RUN_AFTER_HELP: &str = "\
Every key of the configuration has an environment twin, REMBUS_GATEWAY_<SECTION>_<KEY>. A flag comes before the \
environment, the environment before the file.

REMBUS_GATEWAY_LOG sets the log level (default info).";

#[derive(Debug, clap::Args)]
#[command(after_help = RUN_AFTER_HELP)]
struct Run {
    #[command(flatten)]
    file: ConfigFile,
    /// Folder for everything that changes [default: /var/lib/rembus-gateway]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Schema of the tables to keep; without one there is no history
    #[arg(long, value_name = "FILE")]
    schema: Option<String>,
    /// How the gateway calls itself to Rembus components [default: broker]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where MQTT clients connect; port 0 picks one [default: 127.0.0.1:1883]
    #[arg(long, value_name = "ADDR|off")]
    mqtt: Option<String>,
    /// Where Rembus components connect [default: 127.0.0.1:8338]
    #[arg(long, value_name = "ADDR|off")]
    rembus: Option<String>,
    /// Where health and metrics are served [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR|off")]
    http: Option<String>,
    /// Socket for programs on this machine; comes with a later release, `off` until then
    #[arg(long, value_name = "PATH|off")]
    bus: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
enum Lake {
    Export(query::Export),
    Backup(lake::Backup),
    Verify(lake::Verify),
    Compact(lake::Compact),
}

#[derive(Debug, clap::Args)]
struct Check {
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "REMBUS_GATEWAY_CONFIG", hide_env_values = true, global = true)]
    config: Option<PathBuf>,
}

impl Run {
    fn flags(&self) -> Flags {
        Flags {
            data: self.data.clone(),
            schema: self.schema.clone(),
            name: self.name.clone(),
            mqtt: self.mqtt.clone(),
            rembus: self.rembus.clone(),
            http: self.http.clone(),
            bus: self.bus.clone(),
        }
    }
}

/// What `run` starts; it returns when the gateway has stopped.
pub type Start = fn(Loaded) -> Result<(), Box<dyn std::error::Error>>;

/// Does what the command line asks for.
#[must_use]
pub fn main(start: Start) -> ExitCode {
    let terminal = std::io::stdout().is_terminal();
    let streams = Streams { out: &mut std::io::stdout(), err: &mut std::io::stderr(), terminal };
    ExitCode::from(execute(std::env::args_os(), std::env::vars_os(), streams, start))
}

/// Where answers and complaints go.
struct Streams<'a> {
    out: &'a mut (dyn Write + Send),
    err: &'a mut dyn Write,
    /// Whether somebody looks at `out`.
    terminal: bool,
}

impl Streams<'_> {
    fn say(&mut self, text: impl std::fmt::Display) {
        // Whoever closed the pipe does not want to know.
        drop(writeln!(self.out, "{}", visible::page(&text.to_string())));
    }

    /// What the command was asked for, at once: JSON, in which nothing steers a terminal. An error if nobody reads it any more.
    fn write(&mut self, text: &str) -> Result<(), Refusal> {
        self.out.write_all(visible::json(text).as_bytes())?;
        Ok(self.out.flush()?)
    }

    /// Beside the answer, for people.
    fn note(&mut self, text: impl std::fmt::Display) {
        drop(writeln!(self.err, "{}", visible::page(&text.to_string())));
    }

    fn complain(&mut self, text: impl std::fmt::Display) {
        drop(writeln!(self.err, "{}", visible::page(&text.to_string())));
    }
}

fn execute(
    args: impl IntoIterator<Item = OsString>,
    env: impl IntoIterator<Item = (OsString, OsString)>,
    mut streams: Streams<'_>,
    start: Start,
) -> u8 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(answer) => {
            if answer.use_stderr() {
                drop(write!(streams.err, "{answer}"));
            } else {
                drop(write!(streams.out, "{answer}"));
            }
            return u8::try_from(answer.exit_code()).unwrap_or(WRONG_USE);
        }
    };
    let done = match cli.command {
        Command::Run(args) => Loaded::load(&args.flags(), env, args.file.config.as_deref())
            .map_err(Refusal::from)
            .and_then(|loaded| run(loaded, start)),
        Command::Check(args) => Loaded::load(&Flags::default(), env, args.file.config.as_deref())
            .and_then(|loaded| if loaded.survivable.is_empty() { Ok(loaded) } else { Err(loaded.survivable) })
            .map_err(Refusal::from)
            .map(|loaded| streams.say(check::summary(&loaded, args.file.config.as_deref()))),
        Command::Doctor(args) => doctor::run(&args, env.into_iter().collect(), &mut streams),
        Command::Admin(args) => admin::run(args, env, &mut streams),
        Command::Query(args) => args.reach.find(env).and_then(|asked| query::run(&asked, &args, &mut streams)),
        Command::Pub(args) => args.reach.find(env).and_then(|asked| bus::publish(&asked, &args)),
        Command::Sub(args) => args.reach.find(env).and_then(|asked| bus::subscribe(&asked, &args, &mut streams)),
        Command::Rpc(args) => args.reach.find(env).and_then(|asked| bus::call(&asked, &args, &mut streams)),
        Command::Lake(Lake::Export(args)) => args.reach.find(env).and_then(|asked| query::export(&asked, &args, &mut streams)),
        Command::Lake(Lake::Backup(args)) => lake::backup(&args, env, &mut streams),
        Command::Lake(Lake::Verify(args)) => lake::verify(&args, env, &mut streams),
        Command::Lake(Lake::Compact(args)) => lake::compact(&args, env, &mut streams),
        Command::Status(args) => args.gateway.find(env).and_then(|gateway| status::run(&gateway, &args, &mut streams)),
    };
    match done {
        Ok(()) => 0,
        Err(refusal) => {
            if !refusal.text.is_empty() {
                streams.complain(refusal.text);
            }
            refusal.code
        }
    }
}

/// Why a command ends with another code than 0, and what is said about it; nothing if it was said already.
#[derive(Debug)]
struct Refusal {
    code: u8,
    text: String,
}

impl Refusal {
    fn failed(text: impl std::fmt::Display) -> Self {
        Self { code: FAILED, text: text.to_string() }
    }

    fn wrong_use(text: impl std::fmt::Display) -> Self {
        Self { code: WRONG_USE, text: text.to_string() }
    }
}

impl From<ConfigErrors> for Refusal {
    fn from(errors: ConfigErrors) -> Self {
        Self { code: WRONG_USE, text: errors.to_string() }
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        Self::failed(error)
    }
}

fn run(loaded: Loaded, start: Start) -> Result<(), Refusal> {
    journal::install();
    for note in &loaded.notes {
        log::warn!("{note}");
    }
    start(loaded).map_err(|error| {
        log::error!("{error}");
        Refusal { code: FAILED, text: String::new() }
    })
}
