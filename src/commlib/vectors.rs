//! The payloads of real commlib clients (`tests/vectors/commlib.json`), read and, where the gateway says the same, written.
//! The packets around them are tested in `mqtt/codec/commlib.rs`.

use super::wire::{self, Data};
use super::{names, nodes};
use crate::clock::Wall;
use crate::mapping;
use serde_json::Value;

struct Publication {
    id: String,
    topic: String,
    payload: Vec<u8>,
    json: Value,
}

fn publications() -> Vec<Publication> {
    let file: Value = serde_json::from_str(include_str!("../../tests/vectors/commlib.json")).unwrap();
    let of = |vector: &Value| Publication {
        id: vector["id"].as_str().unwrap().into(),
        topic: vector["topic"].as_str().unwrap().into(),
        payload: unhex(vector["payload_hex"].as_str().unwrap()),
        json: vector["payload_json"].clone(),
    };
    file["vectors"].as_array().unwrap().iter().filter(|vector| vector["packet"] == "PUBLISH").map(of).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn object(value: &Value) -> Data {
    value.as_object().unwrap().clone()
}

#[test]
fn every_request_and_answer_is_read() {
    let (mut requests, mut answers) = (0, 0);
    for Publication { id, topic, payload, json } in publications() {
        let reply_to = json["header"]["reply_to"].as_str().unwrap_or_default();
        if !json["data"].is_object() || !json["header"].is_object() {
            assert_eq!(wire::read_request(&payload), None, "{id}");
            continue;
        }
        let data = object(&json["data"]);
        if reply_to.is_empty() {
            assert!(crate::router::is_reply_topic(&topic), "{id}");
            assert_eq!(wire::read_answer(&payload), Some(data), "{id}");
            answers += 1;
        } else {
            assert!(crate::router::is_reply_topic(reply_to), "{id}");
            let request = wire::read_request(&payload).unwrap();
            assert_eq!((request.reply_to.as_str(), request.data), (reply_to, data), "{id}");
            requests += 1;
        }
    }
    assert_eq!((requests, answers), (11, 10));
}

#[test]
fn requests_and_answers_are_written_as_0_13_writes_them() {
    let mut checked = 0;
    for Publication { id, payload, json, .. } in publications() {
        // 0.10 has another header; ujson escapes what need not be.
        if json["header"]["agent"] != "commlib" || !json["data"].is_object() || payload.contains(&b'\\') {
            continue;
        }
        let now = Wall(json["header"]["timestamp"].as_u64().unwrap());
        let written = wire::request(json["header"]["reply_to"].as_str().unwrap(), &object(&json["data"]), now);
        assert_eq!(String::from_utf8(written), String::from_utf8(payload), "{id}");
        checked += 1;
    }
    assert_eq!(checked, 17);
}

#[test]
fn heartbeats_are_heartbeats_and_nothing_else_is() {
    let beats: Vec<String> = publications()
        .iter()
        .filter(|known| nodes::read_beat(&known.payload).is_some())
        .map(|known| known.topic.clone())
        .collect();
    assert!(!beats.is_empty() && beats.iter().all(|topic| topic.ends_with("/heartbeat")), "{beats:?}");
}

#[test]
fn json_objects_become_the_only_argument_of_a_rembus_subscriber() {
    for Publication { id, payload, json, .. } in publications() {
        if json.is_object() {
            let data = mapping::mqtt_to_rembus(&payload);
            let back: Value = serde_json::from_str(&mapping::cbor_to_json(&data)).unwrap();
            assert_eq!(back, Value::Array(vec![json]), "{id}");
        }
    }
}

#[test]
fn topics_and_filters_are_those_that_the_names_become() {
    let file: Value = serde_json::from_str(include_str!("../../tests/vectors/commlib.json")).unwrap();
    let filters: Vec<&str> =
        file["vectors"].as_array().unwrap().iter().filter_map(|vector| vector["fields"]["subs"][0][0].as_str()).collect();
    for (pattern, filter) in [("sensors.*", "sensors/#"), ("sensors.*.front", "sensors/+/front"), ("a.*.b.*", "a/+/b/#")] {
        assert!(filters.contains(&filter));
        assert_eq!(names::filter(pattern).as_deref(), Some(filter));
    }
    for name in ["thing.device0.ops.add_two_ints", "robot.move.send_goal", "my_node.start"] {
        assert!(filters.contains(&names::topic(name).unwrap().as_str()), "{name}");
    }
}
