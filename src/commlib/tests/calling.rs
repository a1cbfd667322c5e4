//! RPC in both directions.

use super::*;

/// A commlib service that has got one request: its reply topic and data.
fn served(world: &mut World, service: LinkId) -> (String, Value) {
    let mut found = world.delivered(service);
    assert_eq!(found.len(), 1, "{found:?}");
    let mut packet = found.remove(0).1;
    (packet["header"]["reply_to"].as_str().unwrap().to_owned(), packet["data"].take())
}

#[test]
fn a_component_calls_a_commlib_service_by_its_name() {
    let mut world = World::new();
    let (service, caller) = (world.mqtt(&["thing/ops/add"]), world.component(&[]));
    let call = world.call(caller, "commlib/thing.ops.add", json!([{"a": 2, "b": 3}]));
    let (reply_to, data) = served(&mut world, service);
    assert!(crate::router::is_reply_topic(&reply_to));
    assert_eq!(data, json!({"a": 2, "b": 3}));
    assert_eq!(world.response(caller, call), None);
    world.publish(service, &reply_to, &json!({"header": {}, "data": {"c": 5}}));
    assert_eq!(world.response(caller, call), Some((Status::OK, json!({"c": 5}))));
    // A second service may answer as well; the first counts.
    world.publish(service, &reply_to, &json!({"header": {}, "data": {"c": 6}}));
    assert_eq!(world.response(caller, call), None);
    assert!(world.logged.iter().all(|(_, history)| !history), "{:?}", world.logged);
    assert_eq!(world.figures.read().calls, [("ok", 1)].into());
}

#[test]
fn a_method_of_the_configuration_names_arguments_and_the_field_of_the_result() {
    let rpc = Rpc {
        method: "add_two_ints".into(),
        service: "thing/ops/add".into(),
        args: vec!["a".into(), "b".into()],
        timeout: Duration::from_secs(3),
        unwrap: Some("c".into()),
    };
    let mut world = World::with(Settings { rpc: vec![rpc], ..Settings::default() });
    let (service, caller) = (world.mqtt(&["thing/ops/add"]), world.component(&[]));
    let call = world.call(caller, "add_two_ints", json!([2, 3]));
    let (reply_to, data) = served(&mut world, service);
    assert_eq!(data, json!({"a": 2, "b": 3}));
    world.publish(service, &reply_to, &json!({"header": {}, "data": {"c": 5}}));
    assert_eq!(world.response(caller, call), Some((Status::OK, json!(5))));

    let call = world.call(caller, "add_two_ints", json!([{"a": 1, "b": 1}]));
    let (reply_to, _) = served(&mut world, service);
    world.publish(service, &reply_to, &json!({"header": {}, "data": {"d": 2}}));
    assert_eq!(world.response(caller, call).unwrap().0, Status::METHOD_EXCEPTION);

    let call = world.call(caller, "add_two_ints", json!([1]));
    let (status, text) = world.response(caller, call).unwrap();
    assert_eq!(status, Status::METHOD_EXCEPTION);
    assert!(text.as_str().unwrap().contains("a, b"), "{text}");
}

#[test]
fn nobody_there_is_known_at_once() {
    let mut world = World::new();
    let caller = world.component(&[]);
    // Somebody who listens to everything serves nothing.
    let listener = world.mqtt(&["#"]);
    let call = world.call(caller, "commlib/no.such.service", json!([{}]));
    assert_eq!(world.response(caller, call).unwrap().0, Status::METHOD_NOT_FOUND);
    assert_eq!(world.delivered(listener), []);
    assert_eq!(world.figures.read().calls, [("not_found", 1)].into());
}

#[test]
fn a_silent_service_is_given_up_and_a_late_answer_changes_nothing() {
    let mut world = World::new();
    let (service, caller) = (world.mqtt(&["a/b"]), world.component(&[]));
    let call = world.call(caller, "commlib/a.b", json!([{}]));
    let (reply_to, _) = served(&mut world, service);
    world.pass(9);
    assert_eq!(world.response(caller, call), None);
    world.pass(1);
    assert_eq!(world.response(caller, call).unwrap().0, Status::METHOD_UNAVAILABLE);
    world.publish(service, &reply_to, &json!({"header": {}, "data": {"c": 5}}));
    assert_eq!(world.response(caller, call), None);
    assert_eq!(world.figures.read().calls_pending, 0);
}

#[test]
fn an_answer_without_data_is_an_error() {
    let mut world = World::new();
    let (service, caller) = (world.mqtt(&["a/b"]), world.component(&[]));
    let call = world.call(caller, "commlib/a.b", json!([{}]));
    let (reply_to, _) = served(&mut world, service);
    world.publish(service, &reply_to, &json!({"header": {}}));
    assert_eq!(world.response(caller, call).unwrap().0, Status::METHOD_EXCEPTION);
}

#[test]
fn only_so_many_calls_are_under_way_and_only_services_of_the_list_are_called() {
    let settings = Settings { in_flight: 2, callable: vec!["a/#".into()], ..Settings::default() };
    let mut world = World::with(settings);
    let (service, caller) = (world.mqtt(&["a/b", "c"]), world.component(&[]));
    for _ in 0..2 {
        let call = world.call(caller, "commlib/a.b", json!([{}]));
        assert_eq!(world.response(caller, call), None);
    }
    let call = world.call(caller, "commlib/a.b", json!([{}]));
    assert_eq!(world.response(caller, call).unwrap().0, Status::METHOD_UNAVAILABLE);
    assert_eq!(world.delivered(service).len(), 2);
    let call = world.call(caller, "commlib/c", json!([{}]));
    assert_eq!(world.response(caller, call).unwrap().0, Status::METHOD_NOT_FOUND);
    assert_eq!(world.figures.read().calls, [("busy", 1), ("denied", 1)].into());
}

#[test]
fn thousands_of_calls_leave_nothing_behind() {
    let mut world = World::new();
    let (service, caller) = (world.mqtt(&["a/b"]), world.component(&[]));
    for _ in 0..5_000 {
        let call = world.call(caller, "commlib/a.b", json!([{}]));
        let (reply_to, _) = served(&mut world, service);
        world.publish(service, &reply_to, &json!({"header": {}, "data": {}}));
        assert_eq!(world.response(caller, call).unwrap().0, Status::OK);
        world.sent.clear();
    }
    assert_eq!((world.part.asking.len(), world.part.called.len(), world.part.next_due()), (0, 0, None));
}

#[test]
fn history_is_a_commlib_service_out_of_the_box() {
    let mut world = World::new();
    let caller = world.mqtt(&[]);
    let reply_to = world.request(caller, "gateway/query_telemetry", &json!({"where": "dn = 'x'"}));
    let (call, method, data) = world.invoked.remove(0);
    assert_eq!((method.as_str(), data), ("query_telemetry", json!([{"where": "dn = 'x'"}])));
    let rows = mapping::json_to_cbor(&json!([{"dn": "x"}]));
    world.event(Event::Answered { call, status: Status::OK, data: rows });
    assert_eq!(world.answer(caller, &reply_to), Some(json!({"rows": [{"dn": "x"}]})));
    // What changes history is not.
    world.request(caller, "gateway/delete_telemetry", &json!({"where": "true"}));
    assert!(world.invoked.is_empty());
    assert_eq!(world.figures.read().served, [("ok", 1)].into());
}

fn exposing(expose: Expose) -> World {
    World::with(Settings { expose: vec![expose], ..Settings::default() })
}

fn expose() -> Expose {
    Expose {
        service: "plc/set".into(),
        method: "set".into(),
        args: Some(vec!["name".into(), "value".into()]),
        result: "result".into(),
        users: None,
        on_error: OnError::Silent,
        timeout: Duration::from_secs(9),
    }
}

#[test]
fn a_components_method_is_a_commlib_service() {
    let mut world = exposing(expose());
    let (plc, caller) = (world.component(&["set"]), world.mqtt(&[]));
    let reply_to = world.request(caller, "plc/set", &json!({"value": 7, "name": "valve"}));
    let (call, method, data) = world.asked(plc).remove(0);
    assert_eq!((method.as_str(), data), ("set", json!(["valve", 7])));
    world.give(plc, call, &json!(true));
    assert_eq!(world.answer(caller, &reply_to), Some(json!({"result": true})));
}

#[test]
fn errors_are_silent_or_told_as_the_operator_wants() {
    let mut world = exposing(expose());
    let caller = world.mqtt(&[]);
    let reply_to = world.request(caller, "plc/set", &json!({"value": 7, "name": "valve"}));
    assert_eq!(world.answer(caller, &reply_to), None);
    assert_eq!(world.figures.read().served, [("error", 1)].into());

    let mut world = exposing(Expose { on_error: OnError::Reply, ..expose() });
    let caller = world.mqtt(&[]);
    let reply_to = world.request(caller, "plc/set", &json!({"value": 7, "name": "valve"}));
    assert_eq!(world.answer(caller, &reply_to), Some(json!({"error": "set", "code": 42})));
    let reply_to = world.request(caller, "plc/set", &json!({"value": 7}));
    assert_eq!(world.answer(caller, &reply_to).unwrap()["code"], 40);
}

#[test]
fn who_is_not_on_the_list_or_gives_up_gets_nothing() {
    let mut world = exposing(Expose { users: Some(vec!["robot1".into()]), ..expose() });
    let (plc, caller) = (world.component(&["set"]), world.mqtt(&[]));
    world.request(caller, "plc/set", &json!({"value": 7, "name": "valve"}));
    assert!(world.asked(plc).is_empty());
    assert_eq!(world.figures.read().served, [("denied", 1)].into());

    let mut world = exposing(expose());
    let (plc, caller) = (world.component(&["set"]), world.mqtt(&[]));
    let reply_to = world.request(caller, "plc/set", &json!({"value": 7, "name": "valve"}));
    let (call, ..) = world.asked(plc).remove(0);
    world.pass(9);
    world.give(plc, call, &json!(true));
    assert_eq!(world.answer(caller, &reply_to), None);
    assert_eq!(world.figures.read().served, [("timeout", 1)].into());
}

#[test]
fn what_is_no_request_is_a_message_like_others() {
    let mut world = exposing(expose());
    let (listener, caller) = (world.mqtt(&["plc/set"]), world.mqtt(&[]));
    for payload in [json!(5), json!({"data": {}}), json!({"header": {"reply_to": "a/#"}, "data": {"value": 1, "name": "x"}})] {
        world.publish(caller, "plc/set", &payload);
    }
    assert_eq!(world.delivered(listener).len(), 3);
    assert_eq!(world.figures.read().served, [("denied", 1), ("malformed", 2)].into());
}
