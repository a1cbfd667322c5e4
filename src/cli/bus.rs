//! `pub`, `sub` and `rpc`: a component at the prompt.

use super::reach::{Asked, Reach};
use super::{Refusal, Streams};
use crate::mapping;
use crate::message::Qos;
use serde_json::Value;

const PUB_EXAMPLES: &str = "\
Examples:
  rembus-gateway pub dev1/telemetry '{\"temperature\": 21.5}'
  rembus-gateway pub alarms '\"door open\"' 3 --qos 0

Each argument is JSON; what is not is taken as a text.";

#[derive(Debug, clap::Args)]
#[command(after_help = PUB_EXAMPLES)]
pub(super) struct Pub {
    topic: String,
    /// Arguments of the message
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    arguments: Vec<String>,
    /// 1: returns when the message is on the disk; 0: at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    qos: u8,
    #[command(flatten)]
    pub(super) reach: Reach,
}

const SUB_EXAMPLES: &str = "\
Examples:
  rembus-gateway sub '**/telemetry'
  rembus-gateway sub alarms --count 1

Prints a line of JSON for each message. `*` stands for one segment of a topic, `**` for any number.";

#[derive(Debug, clap::Args)]
#[command(after_help = SUB_EXAMPLES)]
pub(super) struct Sub {
    pattern: String,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    pub(super) reach: Reach,
}

const RPC_EXAMPLES: &str = "\
Examples:
  rembus-gateway rpc tables
  rembus-gateway rpc query_telemetry '{\"since\": \"1h\", \"limit\": 5}'
  rembus-gateway rpc rid --target plc7

Each argument is JSON; what is not is taken as a text. The answer is printed as JSON, a table as its rows.";

#[derive(Debug, clap::Args)]
#[command(after_help = RPC_EXAMPLES)]
pub(super) struct Rpc {
    method: String,
    /// Arguments of the call
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    arguments: Vec<String>,
    /// Call this component directly
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    #[command(flatten)]
    pub(super) reach: Reach,
}

fn values(arguments: &[String]) -> Vec<Value> {
    arguments.iter().map(|text| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str()))).collect()
}

pub(super) fn publish(asked: &Asked, args: &Pub) -> Result<(), Refusal> {
    let qos = Qos::from_level(args.qos).unwrap_or_default();
    asked.publish(&args.topic, qos, &values(&args.arguments))
}

pub(super) fn subscribe(asked: &Asked, args: &Sub, streams: &mut Streams<'_>) -> Result<(), Refusal> {
    asked.subscribe(&args.pattern, args.count, streams)
}

pub(super) fn call(asked: &Asked, args: &Rpc, streams: &mut Streams<'_>) -> Result<(), Refusal> {
    let data = asked.rpc(&args.method, args.target.as_deref(), &values(&args.arguments))?;
    streams.write(&format!("{}\n", mapping::cbor_to_json(&data)))
}
