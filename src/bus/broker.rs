//! The methods of `.broker`: who is here, and what passes through.

use super::board::Board;
use super::client::{Client, Traffic};
use super::rpc::{BAD_PARAMETERS, NO_METHOD};
use super::socket::Socket;
use crate::mapping;
use regex::RegexBuilder;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Bytes that a compiled filter may take: a pattern can be short and a monster.
const FILTER_BYTES_MAX: usize = 1 << 20;

/// Answers a call, or says with which code it failed.
pub(super) fn answer(board: &Board, method: &str, parameters: &[u8]) -> Result<Vec<u8>, i16> {
    let bare = |value: Value| if parameters.is_empty() { Ok(pack(&value)) } else { Err(BAD_PARAMETERS) };
    match method {
        "test" => bare(json!({"ok": true})),
        "info" => bare(json!({"author": "Rembus Gateway", "version": env!("CARGO_PKG_VERSION")})),
        "stats" => bare(stats(board)),
        "client.list" => {
            let filter = filter(parameters).ok_or(BAD_PARAMETERS)?;
            let clients = clients(board, |name| filter.as_ref().is_none_or(|filter| filter.is_match(name)));
            Ok(pack(&json!({"clients": clients})))
        }
        "benchmark.test" => Ok(parameters.to_vec()),
        _ => Err(NO_METHOD),
    }
}

fn stats(board: &Board) -> Value {
    let counts = &board.settings.counts;
    let (r_frames, r_bytes) = figures(&counts.read);
    let (w_frames, w_bytes) = figures(&counts.written);
    let uptime = board.clock.mono().since(board.since).as_secs();
    json!({"uptime": uptime, "r_frames": r_frames, "r_bytes": r_bytes, "w_frames": w_frames, "w_bytes": w_bytes})
}

fn figures(traffic: &Traffic) -> (u64, u64) {
    (traffic.frames.load(Relaxed), traffic.bytes.load(Relaxed))
}

/// `None`: such parameters are not taken. `Some(None)`: everybody is meant.
fn filter(parameters: &[u8]) -> Option<Option<regex::Regex>> {
    let parameters = mapping::pack_to_cbor(parameters)?;
    let parameters: Value = mapping::tree_of(mapping::cbor_to_json(&parameters).as_bytes())?;
    let known = |value: &Value| value.as_object().is_some_and(|map| map.keys().all(|key| key == "filter"));
    match &parameters {
        Value::Null => Some(None),
        map if known(map) => match map.get("filter") {
            None | Some(Value::Null) => Some(None),
            Some(Value::String(text)) => {
                let built = RegexBuilder::new(text).size_limit(FILTER_BYTES_MAX).dfa_size_limit(FILTER_BYTES_MAX).build();
                built.ok().map(Some)
            }
            Some(_) => None,
        },
        _ => None,
    }
}

/// The programs whose name is wanted, by name; secondaries only count.
pub(super) fn clients(board: &Board, wanted: impl Fn(&str) -> bool) -> Vec<Value> {
    let all = board.all();
    let mut primaries: Vec<&Arc<Client>> = all.iter().filter(|client| client.is_primary() && wanted(&client.name)).collect();
    primaries.sort_by(|a, b| a.name.cmp(&b.name));
    primaries.into_iter().map(|client| describe(client, &all)).collect()
}

fn describe(client: &Client, all: &[Arc<Client>]) -> Value {
    let instances = all.iter().filter(|other| other.primary() == &*client.name).count();
    let (r_frames, r_bytes) = figures(&client.read);
    let (w_frames, w_bytes) = figures(&client.written);
    let (kind, source) = match client.socket {
        Socket::Unix(_) => ("local_ipc", None),
        Socket::Tcp(_) => ("tcp", Some(client.peer.to_string())),
    };
    json!({
        "name": &*client.name, "kind": kind, "source": source, "port": &*client.entrance, "r_frames": r_frames, "r_bytes": r_bytes,
        "w_frames": w_frames, "w_bytes": w_bytes, "queue": client.outbox().len(), "instances": instances,
    })
}

fn pack(value: &Value) -> Vec<u8> {
    mapping::cbor_to_pack(&mapping::json_to_cbor(value))
}
