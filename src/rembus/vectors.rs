//! The golden vectors of the protocol reference (`tests/vectors/rembus.json`), each reported by its name.

use super::cbor::{Items, Reader};
use super::codec::json::{self, Spelling};
use super::codec::{self, Frame};
use crate::mapping;
use bytes::Bytes;
use ciborium_ll::{Header, simple};
use serde_json::{Value, json};

/// Kinds that wait for a later issue, with their number in the file, so that none is skipped by accident.
const LATER: [(&str, usize, &str); 1] = [("url", 7, "never: how a client reads its address")];

/// Kinds that other parts test: the router, history, access (keys; the messages of `attestation` are read here as well).
const ELSEWHERE: [(&str, usize); 4] = [("keyspace", 14), ("schema-topic", 9), ("attestation", 8), ("key", 2)];

fn vectors(kind: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../../tests/vectors/rembus.json")).unwrap();
    file["vectors"].as_array().unwrap().iter().filter(|vector| vector["kind"] == kind).cloned().collect()
}

/// Runs `test` over all vectors of a kind and names those that failed.
fn run(kind: &str, count: usize, test: impl Fn(&str, &Value) -> Result<(), String>) {
    let vectors = vectors(kind);
    assert_eq!(vectors.len(), count, "vectors of kind {kind}");
    let failures: Vec<String> = vectors
        .iter()
        .filter_map(|vector| {
            let name = vector["name"].as_str().unwrap();
            test(name, vector).err().map(|why| format!("{name}: {why}"))
        })
        .collect();
    assert!(failures.is_empty(), "{} of {count} failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn no_kind_of_vector_is_forgotten() {
    let file: Value = serde_json::from_str(include_str!("../../tests/vectors/rembus.json")).unwrap();
    let here = [("cbor-message", 140), ("json-message", 63), ("dataframe", 19), ("tenant", 5)];
    let later = LATER.map(|(kind, count, _)| (kind, count));
    let all: Vec<(&str, usize)> = here.into_iter().chain(later).chain(ELSEWHERE).collect();
    for (kind, count) in &all {
        assert_eq!(vectors(kind).len(), *count, "{kind}");
    }
    let total: usize = all.iter().map(|(_, count)| count).sum();
    assert_eq!(file["vectors"].as_array().unwrap().len(), total);
    assert_eq!(file["count"], total);
}

#[test]
fn tenants_follow_the_first_dot() {
    run("tenant", 5, |_, vector| same(&json!(crate::message::tenant(vector["cid"].as_str().unwrap())), &vector["tenant"]));
}

#[test]
fn binary_messages_mean_what_the_reference_says() {
    run("cbor-message", 140, |name, vector| {
        let message = Bytes::from(unhex(vector["hex"].as_str().unwrap()));
        let decoded = codec::decode(&message);
        if name == "cbor-spelling/short-id" || name == "cbor-spelling/long-id" {
            // A deliberate difference (section 2.1): an id has exactly 8 bytes.
            return if decoded.is_err() { Ok(()) } else { Err("was accepted".into()) };
        }
        if vector["meaning"].get("error").is_some() {
            return if decoded.is_err() { Ok(()) } else { Err(format!("was accepted as {decoded:?}")) };
        }
        let frame = decoded.map_err(|error| error.to_string())?;
        same(&canonical(&meaning(&frame)), &canonical(&vector["meaning"]))?;
        if vector["check"] == "encode and decode" && codec::whole(&frame) != message {
            return Err(format!("encodes to {:02x?}", codec::whole(&frame).as_ref()));
        }
        Ok(())
    });
}

#[test]
fn attestations_mean_what_the_reference_says_in_both_encodings() {
    run("attestation", 8, |_, vector| {
        let message = Bytes::from(unhex(vector["hex"].as_str().unwrap()));
        let frame = codec::decode(&message).map_err(|error| error.to_string())?;
        let Frame::Attestation { cid, signature, .. } = &frame else { return Err(format!("is {frame:?}")) };
        same(&json!(cid), &vector["cid"])?;
        same(&json!(hex(signature)), &vector["signature_hex"])?;
        if codec::whole(&frame) != message {
            return Err(format!("encodes to {:02x?}", codec::whole(&frame).as_ref()));
        }
        let Some(text) = vector["text"].as_str() else { return Ok(()) };
        match json::decode(text, &mut Spelling::default()).map_err(|error| error.to_string())? {
            Frame::Attestation { cid: read, signature: bytes, .. } if (&read, &bytes) == (cid, signature) => Ok(()),
            other => Err(format!("as text is {other:?}")),
        }
    });
}

/// What text messages mean where the reference is wrong, or where it says nothing.
fn deliberate(name: &str) -> Option<Value> {
    let publication = |id: Value, flags: u8| json!({"message": "PubSubMsg", "id": id, "topic": "a/b", "data": ["x"], "flags": flags, "slot": null});
    let call =
        |topic: &str, data: Value| json!({"message": "RpcReqMsg", "id": "9", "topic": topic, "data": data, "target": null});
    let answer = |status: u8, data: Value| json!({"message": "ResMsg", "id": "9", "status": status, "data": data});
    Some(match name {
        "pub/json-both-members" => publication(Value::Null, 0),
        "pub/json-qos1-both-members" | "pub/json-jl-type-member" => publication(json!("9"), 16),
        "rpc/json-jl-string-id" | "rpc/json-no-params" => call("rid", json!([])),
        "rpc/json-params-map" => call("subtract", json!([{"x": 23, "y": 42}])),
        "rpc/json-result-standard" | "rpc/json-result-scalar" => answer(0, json!(19)),
        "rpc/json-error-standard" => answer(40, json!("boom")),
        "json/id-zero" => {
            json!({"message": "PubSubMsg", "id": null, "topic": "rid", "data": [], "flags": 0, "slot": null})
        }
        // Named arguments, none of them.
        "json/params-map-without-type" => {
            json!({"message": "RpcReqMsg", "id": "5", "topic": "rid", "data": [], "target": null})
        }
        // Looks like a call; the router's answer decides (dialogue.rs).
        "pub/json-slot-qos0" => {
            json!({"message": "RpcReqMsg", "id": "1234", "topic": "a/b", "data": ["x"], "target": null})
        }
        _ => return None,
    })
}

#[test]
fn text_messages_mean_what_the_reference_says() {
    run("json-message", 63, |name, vector| {
        let text = vector["text"].as_str().unwrap();
        let mut spelling = Spelling::default();
        let decoded = json::decode(text, &mut spelling);
        if let Some(expected) = deliberate(name) {
            let frame = decoded.map_err(|error| error.to_string())?;
            return same(&canonical(&meaning(&frame)), &canonical(&expected));
        }
        let read = &vector["decoded_by_reference"];
        let Some(written) = vector.get("meaning") else {
            // The rest of those that are only decoded are errors.
            assert!(read.get("error").is_some(), "{name} needs an expectation");
            return if decoded.is_err() { Ok(()) } else { Err(format!("was accepted as {decoded:?}")) };
        };
        let frame = decoded.map_err(|error| error.to_string())?;
        // Publications keep what was written; of everything else JSON carries what the reference reads.
        let expected = if written["message"] == "PubSubMsg" || read.get("error").is_some() { written } else { read };
        let mut expected = expected.clone();
        for member in ["signature", "pubkey"] {
            if let Some(base64) = expected.get(member).and_then(Value::as_str) {
                let bytes = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, base64).unwrap();
                expected[member] = json!({"$bytes": hex(&bytes)});
            }
        }
        same(&canonical(&meaning(&frame)), &canonical(&expected))?;
        match rewritten(&frame, spelling) {
            Some(ours) => same(&without_copy(&ours), &without_copy(text)),
            None => Ok(()),
        }
    });
}

/// What we would send; some messages only clients send.
fn rewritten(frame: &Frame, spelling: Spelling) -> Option<String> {
    Some(match frame {
        // The Python client's own decoder rejects its slots, so we send none.
        Frame::Publish { flags, .. } if flags.has_slot() && !spelling.dunder => return None,
        Frame::Publish { id, flags, topic, data } => spelling.publish(*flags, id.unwrap_or(codec::MessageId(0)), topic, data),
        Frame::Rpc { id, topic, data, .. } if data[..] != [0xf6] => spelling.rpc(*id, topic, data),
        Frame::Response { id, status, data } => {
            spelling.response(*id, crate::router::Status(u8::try_from(*status).unwrap()), data)
        }
        Frame::Ack { id } => spelling.ack(*id),
        Frame::Ack2 { id } => spelling.ack2(*id),
        _ => return None,
    })
}

/// Without the second payload that our publications carry for the Python client.
fn without_copy(text: &str) -> Value {
    let mut message: Value = serde_json::from_str(text).unwrap();
    message.as_object_mut().unwrap().remove("data");
    message
}

#[test]
fn frames_of_polars_pandas_and_arrow_are_read() {
    run("dataframe", 19, |name, vector| {
        let message = Bytes::from(unhex(vector["hex"].as_str().unwrap()));
        let frame = codec::decode(&message).map_err(|error| error.to_string())?;
        if codec::whole(&frame) != message {
            return Err("is not relayed as it came".into());
        }
        let data = match &frame {
            Frame::Publish { data, .. } | Frame::Rpc { data, .. } | Frame::Response { data, .. } => data,
            other => return Err(format!("is {other:?}")),
        };
        match name {
            "dataframe/arrow-file-format" => return unreadable(data),
            // Relayed like any other; only conversions do without (no Rembus client produces it).
            "dataframe/arrow-lz4" => return unreadable(data),
            _ => {}
        }
        let mut expected = vector["meaning"]["data"].clone();
        flatten(&mut expected);
        if let [only] = expected.as_array().map_or(&[][..], |args| args.as_slice())
            && matches!(frame, Frame::Publish { .. })
        {
            expected = only.clone();
        }
        let body = mapping::rembus_to_mqtt(data);
        if body.content_type != Some("application/json") {
            return Err(format!("has content type {:?}", body.content_type));
        }
        same(&serde_json::from_slice(&body.bytes).map_err(|error| error.to_string())?, &expected)
    });
}

fn unreadable(data: &[u8]) -> Result<(), String> {
    let mut reader = Reader::new(data);
    reader.header().unwrap();
    let packed = reader.bytes().unwrap();
    let body = mapping::rembus_to_mqtt(data);
    let raw = body.content_type == Some("application/octet-stream") && body.bytes == packed.as_ref();
    if raw && mapping::read_frame(&packed).is_err() { Ok(()) } else { Err("was read".into()) }
}

fn same(found: &Value, expected: &Value) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("is\n  {found}\nnot\n  {expected}")) }
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A frame in the words of the vectors.
fn meaning(frame: &Frame) -> Value {
    match frame {
        Frame::Identity { id, cid, meta } => {
            json!({"message": "IdentityMsg", "id": id.0.to_string(), "cid": cid, "meta": data(meta)})
        }
        Frame::Publish { id, flags, topic, data: args } => {
            let slot = id.filter(|_| flags.has_slot()).map(|id| id.0 & 0xffff_ffff);
            let id = id.map(|id| id.0.to_string());
            json!({"message": "PubSubMsg", "id": id, "topic": topic, "data": data(args), "flags": flags.0, "slot": slot})
        }
        Frame::Rpc { id, topic, target, data: args } => {
            json!({"message": "RpcReqMsg", "id": id.0.to_string(), "topic": topic, "target": target, "data": data(args)})
        }
        Frame::Admin { id, topic, data: args } => {
            json!({"message": "AdminMsg", "id": id.0.to_string(), "topic": topic, "data": data(args)})
        }
        Frame::Response { id, status, data: args } => {
            json!({"message": "ResMsg", "id": id.0.to_string(), "status": status, "data": data(args)})
        }
        Frame::Ack { id } => json!({"message": "AckMsg", "id": id.0.to_string()}),
        Frame::Ack2 { id } => json!({"message": "Ack2Msg", "id": id.0.to_string()}),
        Frame::Unregister { id } => json!({"message": "UnregisterMsg", "id": id.0.to_string()}),
        Frame::Register { id, cid, pin, pubkey, key_type } => json!({"message": "RegisterMsg", "id": id.0.to_string(),
            "cid": cid, "pin": pin, "pubkey": {"$bytes": hex(pubkey)}, "type": key_type}),
        Frame::Attestation { id, cid, signature, meta } => json!({"message": "AttestationMsg", "id": id.0.to_string(),
            "cid": cid, "signature": {"$bytes": hex(signature)}, "meta": data(meta)}),
    }
}

fn data(encoded: &[u8]) -> Value {
    let mut reader = Reader::new(encoded);
    let value = item(&mut reader);
    reader.end().unwrap();
    value
}

fn item(reader: &mut Reader<'_>) -> Value {
    let head = reader.header().unwrap();
    match head {
        Header::Positive(number) => json!({"$int": number.to_string()}),
        Header::Negative(number) => json!({"$int": (-1 - i128::from(number)).to_string()}),
        Header::Float(number) if number.is_finite() => json!(number),
        Header::Float(number) => json!({"$float": if number.is_nan() { "nan".to_owned() } else { number.to_string() }}),
        Header::Simple(simple::TRUE) => json!(true),
        Header::Simple(simple::FALSE) => json!(false),
        Header::Simple(simple::UNDEFINED) => json!({"$undefined": true}),
        Header::Simple(_) | Header::Break => Value::Null,
        Header::Text(_) => json!(String::from_utf8(reader.contents(head).unwrap().into_owned()).unwrap()),
        Header::Bytes(_) => json!({"$bytes": hex(&reader.contents(head).unwrap())}),
        Header::Tag(tag @ (2 | 3)) => {
            let magnitude = reader.bytes().unwrap();
            let number = magnitude.iter().fold(0u128, |number, byte| number << 8 | u128::from(*byte));
            json!({"$int": if tag == 2 { number.to_string() } else { format!("-{}", number + 1) }})
        }
        Header::Tag(0) => json!({"$datetime": item(reader).as_str().unwrap().replace('Z', "+00:00")}),
        Header::Tag(tag) => json!({ "$tag": tag, "value": item(reader) }),
        Header::Array(left) => {
            let mut items = Items::new(left);
            let mut list = Vec::new();
            while reader.more(&mut items).unwrap() {
                list.push(item(reader));
            }
            Value::Array(list)
        }
        Header::Map(left) => {
            let mut pairs = Items::new(left);
            let mut map = serde_json::Map::new();
            while reader.more(&mut pairs).unwrap() {
                let key = item(reader);
                map.insert(key.as_str().map_or_else(|| key.to_string(), String::from), item(reader));
            }
            Value::Object(map)
        }
    }
}

/// All integers in one spelling.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Number(number) if !number.is_f64() => json!({"$int": number.to_string()}),
        Value::Array(list) => list.iter().map(canonical).collect(),
        Value::Object(map) if map.contains_key("$int") => value.clone(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), canonical(value))).collect(),
        other => other.clone(),
    }
}

/// `$dataframe` to row objects, `$bytes` to base64, `$int` to numbers, times to ISO 8601.
fn flatten(value: &mut Value) {
    if let Some(table) = value.get("$dataframe") {
        let columns = table["columns"].as_array().unwrap().clone();
        let rows = table["rows"].as_array().unwrap().clone();
        let object = |row: Value| -> Value {
            let cells = row.as_array().unwrap().clone();
            columns
                .iter()
                .zip(cells)
                .map(|(column, mut cell)| {
                    if column[1].as_str().unwrap().starts_with("Datetime") {
                        cell = json!(cell.as_str().unwrap().replace(' ', "T"));
                    }
                    flatten(&mut cell);
                    (column[0].as_str().unwrap().to_owned(), cell)
                })
                .collect()
        };
        *value = rows.into_iter().map(object).collect();
    } else if let Some(bytes) = value.get("$bytes") {
        *value = json!(base64::Engine::encode(&base64::prelude::BASE64_STANDARD, unhex(bytes.as_str().unwrap())));
    } else if let Some(number) = value.get("$int") {
        *value = json!(number.as_str().unwrap().parse::<u64>().unwrap());
    } else if let Value::Array(list) = value {
        list.iter_mut().for_each(flatten);
    }
}
