//! `lake backup`, `lake verify` and `lake compact`: the lake as a whole, whether its gateway runs or not.
//!
//! A running gateway holds its lake still ([`gateway/lake.rs`](crate::gateway)) while this process copies or reads the files, so
//! that it costs the gateway next to nothing. A lake whose gateway does not run is locked, so that none starts meanwhile.

mod copy;

use super::remote::{Gateway, Where};
use super::{FAILED, Refusal, Streams};
use crate::config::{Flags, Loaded};
use crate::control::ControlError;
use crate::gateway::{Compacted, lock_data};
use crate::history::manifest::Manifest;
use crate::history::{self, Settings};
use crate::{clock, disk, wal};
use axum::body::{Body, BodyDataStream};
use axum::http::Method;
use futures_util::StreamExt;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

const BACKUP_EXAMPLES: &str = "\
To restore: stop the gateway, move the folder `lake` in its data folder away, copy the backup there under that name, start.
What the log still holds of later messages is loaded again.";

/// A consistent copy of the lake into a new folder, while the gateway works
#[derive(Debug, clap::Args)]
#[command(after_help = BACKUP_EXAMPLES)]
pub(super) struct Backup {
    /// Folder for the copy; must not exist
    #[arg(value_name = "DEST")]
    to: PathBuf,
    #[command(flatten)]
    gateway: Where,
}

/// Reads every file of the lake to its end; exit code 1 if something is wrong
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    #[command(flatten)]
    gateway: Where,
}

/// Merges small files and removes old ones now
#[derive(Debug, clap::Args)]
pub(super) struct Compact {
    /// Schema of the tables, for a gateway that does not run and has none in its configuration
    #[arg(long, value_name = "FILE")]
    schema: Option<String>,
    #[command(flatten)]
    gateway: Where,
}

type Environment = Vec<(OsString, OsString)>;

/// A lake that does not change as long as this lives.
struct Still<'a> {
    manifest: Manifest,
    lake: PathBuf,
    _kept: Kept<'a>,
}

#[expect(dead_code, reason = "they are dropped, not used")]
enum Kept<'a> {
    ByGateway(&'a Gateway, BodyDataStream),
    Locked(std::fs::File),
}

impl<'a> Still<'a> {
    fn of(gateway: &'a Gateway, env: Environment, place: &Where) -> Result<Self, Refusal> {
        let lake = gateway.data.join("lake");
        let answer = match gateway.wait_for(gateway.client.send(Method::POST, "/lake/hold", Body::empty())) {
            Ok(answer) => answer,
            Err(ControlError::NotRunning(_)) => {
                let lock = lock(&gateway.data)?;
                let settings = settings(&gateway.data, env, place, None)?.0;
                let manifest = history::manifest_at_rest(&settings).map_err(Refusal::failed)?;
                return Ok(Self { manifest, lake, _kept: Kept::Locked(lock) });
            }
            Err(error) => return Err(error.into()),
        };
        let mut body = answer.into_body().into_data_stream();
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let Some(piece) = gateway.wait_for(body.next()) else {
                return Err(Refusal::failed("the gateway broke off"));
            };
            line.extend_from_slice(&piece.map_err(Refusal::failed)?);
        }
        let manifest = serde_json::from_slice(&line).map_err(Refusal::failed)?;
        Ok(Self { manifest, lake, _kept: Kept::ByGateway(gateway, body) })
    }
}

pub(super) fn backup(
    args: &Backup,
    env: impl IntoIterator<Item = (OsString, OsString)>,
    streams: &mut Streams<'_>,
) -> Result<(), Refusal> {
    let env: Environment = env.into_iter().collect();
    let gateway = args.gateway.find(env.clone())?;
    let to = std::path::absolute(&args.to).map_err(Refusal::failed)?;
    copy::may_begin(&to, &gateway.data)?;
    let still = Still::of(&gateway, env, &args.gateway)?;
    let copied = copy::copy(&still.manifest, &still.lake, &to)?;
    streams.say(format_args!("{} files, {} bytes copied to {}", copied.files, copied.bytes, to.display()));
    Ok(())
}

pub(super) fn verify(
    args: &Verify,
    env: impl IntoIterator<Item = (OsString, OsString)>,
    streams: &mut Streams<'_>,
) -> Result<(), Refusal> {
    let env: Environment = env.into_iter().collect();
    let gateway = args.gateway.find(env.clone())?;
    let still = Still::of(&gateway, env, &args.gateway)?;
    let (mut tables, mut wrong) = (BTreeMap::<&str, (u64, u64, u64)>::new(), 0);
    for file in &still.manifest.files {
        let table = tables.entry(file.table.as_str()).or_default();
        table.0 += 1;
        table.1 += if file.deletions { 0 } else { file.rows };
        table.2 += file.bytes;
        // The Parquet library panics on some damage; whoever runs this hears at least where.
        let path = file.path.clone();
        std::panic::set_hook(Box::new(move |_| {
            let line = format!("FAIL  {} makes no sense; the check ends here\n", path.display());
            drop(std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes()));
            std::process::exit(i32::from(FAILED));
        }));
        let found = file.audit(&still.lake);
        drop(std::panic::take_hook());
        if let Err(what) = found {
            wrong += 1;
            streams.say(format_args!("FAIL  {} {what}", file.path.display()));
        }
    }
    for (table, (files, rows, bytes)) in &tables {
        streams.say(format_args!("{table}: {files} files, {rows} rows, {bytes} bytes"));
    }
    match wrong {
        0 => {
            streams.say("everything is whole");
            Ok(())
        }
        wrong => Err(Refusal::failed(format_args!(
            "{wrong} of {} files are damaged; the next start of the gateway moves them to `lake/quarantine` if they are missing or \
             cut short, and loads their rows again from the log where it still holds them",
            still.manifest.files.len()
        ))),
    }
}

pub(super) fn compact(
    args: &Compact,
    env: impl IntoIterator<Item = (OsString, OsString)>,
    streams: &mut Streams<'_>,
) -> Result<(), Refusal> {
    let env: Environment = env.into_iter().collect();
    let gateway = args.gateway.find(env.clone())?;
    let done: Compacted = match gateway.wait_for(gateway.client.post("/lake/compact", &())) {
        Ok(done) => done,
        Err(ControlError::NotRunning(_)) => at_rest(args, &gateway.data, env)?,
        Err(error) => return Err(error.into()),
    };
    streams.say(format_args!(
        "done; since the lake was opened: {} merges, {} files removed, {} rows beyond their retention removed",
        done.merges, done.files_removed, done.rows_expired
    ));
    Ok(())
}

fn at_rest(args: &Compact, data: &Path, env: Environment) -> Result<Compacted, Refusal> {
    let _lock = lock(data)?;
    let (settings, loaded) = settings(data, env, &args.gateway, args.schema.clone())?;
    let Some(schema) = loaded.schema else {
        return Err(Refusal::wrong_use("which tables? Say it with --schema FILE, or --config FILE if that names one"));
    };
    history::manifest_at_rest(&settings).map_err(Refusal::failed)?;
    // The lake says which log its rows came from, so the log has to be the right one.
    let (disk, clock) = (disk::SystemDisk::shared(), clock::SystemClock::shared());
    let (_, log, _) = wal::open(disk, clock, wal::Options::new(data.join("wal"))).map_err(Refusal::failed)?;
    Ok(history::compact_at_rest(&settings, &schema, log.identity().clone()).map_err(Refusal::failed)?.into())
}

/// Nobody starts a gateway on the data meanwhile.
fn lock(data: &Path) -> Result<std::fs::File, Refusal> {
    if !data.is_dir() {
        return Err(Refusal::failed(format_args!("there is no data folder `{}`", data.display())));
    }
    lock_data(data).map_err(|error| Refusal::failed(format_args!("{error}, and does not answer yet")))
}

fn settings(data: &Path, env: Environment, place: &Where, schema: Option<String>) -> Result<(Settings, Loaded), Refusal> {
    let loaded = Loaded::load(&Flags { schema, ..Flags::default() }, env, place.config())?;
    Ok((Settings::new(data, &loaded.config.history), loaded))
}
