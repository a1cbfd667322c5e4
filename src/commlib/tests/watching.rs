//! Heartbeats, and what is nobody else's business.

use super::*;

#[test]
fn nodes_are_listed_by_their_heartbeats_and_changes_are_told() {
    let mut world = World::new();
    let (node, component) = (world.mqtt(&[]), world.component(&[]));
    world.subscribe(component, Filter::Rembus("commlib/node/*".into()));
    world.publish(node, "arm/heartbeat", &json!({"ts": 5}));
    world.publish(node, "arm/heartbeat", &json!({"ts": 6}));
    world.publish(node, "valve/heartbeat", &json!("on"));
    let told = ("commlib/node/arm".to_owned(), json!({"node": "arm", "state": "alive", "age_s": 0}));
    assert_eq!(world.delivered(component), [told]);
    world.pass(16);
    assert_eq!(world.delivered(component)[0].1["state"], "late");
    let call = world.call(component, "commlib/nodes", json!([]));
    let (_, list) = world.response(component, call).unwrap();
    assert_eq!(list[0]["node"], "arm");
    assert_eq!((&list[0]["state"], &list[0]["age_s"], &list[0]["beats"]), (&json!("late"), &json!(16.0), &json!(2)));
    assert_eq!(list.as_array().unwrap().len(), 1);
    // The changes are in the log for history.
    assert_eq!(world.logged.iter().filter(|(topic, history)| topic == "commlib/node/arm" && *history).count(), 2);
    assert_eq!(world.figures.read().nodes, [0, 1, 0]);
}

#[test]
fn reply_topics_are_for_those_who_talk_and_nobody_else() {
    let mut world = World::new();
    let (caller, component) = (world.mqtt(&[]), world.component(&[]));
    let reply_to = format!("rpc-{}", asking::hex());
    for filter in ["**", "*", reply_to.as_str()] {
        world.subscribe(component, Filter::Rembus(filter.into()));
    }
    world.subscribe(caller, Filter::Mqtt(reply_to.clone()));
    let service = world.mqtt(&[]);
    world.publish(service, &reply_to, &json!({"data": {}}));
    assert_eq!(world.delivered(caller).len(), 1);
    assert_eq!(world.delivered(component), []);
    assert_eq!(world.logged, [(reply_to, false)]);
    world.publish(service, "rpc-not", &json!({}));
    assert_eq!(world.delivered(component).len(), 2);
}

#[test]
fn traffic_of_an_action_is_for_those_who_ask_for_it_by_name() {
    let mut world = World::new();
    let (sensor, everything, named) = (world.mqtt(&[]), world.component(&[]), world.component(&[]));
    world.subscribe(everything, Filter::Rembus("**".into()));
    world.subscribe(named, Filter::Rembus("robot/status".into()));
    // A sensor's status is a message like others,
    world.publish(sensor, "robot/status", &json!({"battery": 80}));
    assert_eq!((world.delivered(everything).len(), world.delivered(named).len()), (1, 1));
    // and what an action says about its goals is not.
    let action = world.mqtt(&["robot/send_goal"]);
    world.publish(action, "robot/status", &json!({"goal_id": "x", "status": 1}));
    assert_eq!((world.delivered(everything).len(), world.delivered(named).len()), (0, 1));
    assert_eq!(world.logged, [("robot/status".to_owned(), true), ("robot/status".to_owned(), false)]);
}
