//! Actions of commlib nodes for components, and of components for everybody.

use super::*;

/// A commlib action's request on a topic: its reply topic and data.
fn request_to(world: &mut World, action: LinkId, topic: &str) -> (String, Value) {
    let (of, mut packet) = world.delivered(action).pop().expect("a request");
    assert_eq!(of, topic);
    (packet["header"]["reply_to"].as_str().unwrap().to_owned(), packet["data"].take())
}

const TOPICS: [&str; 3] = ["robot/move/send_goal", "robot/move/cancel_goal", "robot/move/get_result"];

#[test]
fn a_component_runs_a_goal_of_a_commlib_action_to_its_end() {
    let mut world = World::new();
    let (action, caller) = (world.mqtt(&TOPICS), world.component(&[]));
    let call = world.call(caller, "commlib/action/run", json!(["robot.move", {"cm": 3}, 30]));
    let (reply_to, data) = request_to(&mut world, action, "robot/move/send_goal");
    assert_eq!(data, json!({"description": "", "goal_data": {"cm": 3}}));
    // The status is out before the answer, and even the end.
    for status in [1, 2, 4] {
        world.publish(action, "robot/move/status", &json!({"goal_id": "g1", "status": status}));
    }
    world.publish(action, &reply_to, &json!({"data": {"status": 1, "goal_id": "g1", "error": ""}}));
    let (reply_to, data) = request_to(&mut world, action, "robot/move/get_result");
    assert_eq!(data, json!({"goal_id": "g1"}));
    world.publish(action, &reply_to, &json!({"data": {"status": 4, "result": {"at": 3}}}));
    let done = json!({"status": 4, "result": {"at": 3}, "goal_id": "g1"});
    assert_eq!(world.response(caller, call), Some((Status::OK, done)));
    // What was kept for it goes.
    world.pass(61);
    world.pass(61);
    assert_eq!(world.part.next_due(), None);
}

#[test]
fn a_goal_is_sent_waited_for_and_cancelled() {
    let mut world = World::new();
    let (action, caller) = (world.mqtt(&TOPICS), world.component(&[]));
    let call =
        world.call(caller, "commlib/action/send", json!([{"name": "robot.move", "goal": {"cm": 3}, "description": "go"}]));
    let (reply_to, data) = request_to(&mut world, action, "robot/move/send_goal");
    assert_eq!(data["description"], "go");
    world.publish(action, &reply_to, &json!({"data": {"status": 1, "goal_id": "g1"}}));
    assert_eq!(world.response(caller, call), Some((Status::OK, json!({"goal_id": "g1"}))));

    let waiting = world.call(caller, "commlib/action/result", json!(["robot/move", "g1", 20]));
    let (reply_to, _) = request_to(&mut world, action, "robot/move/get_result");
    world.publish(action, &reply_to, &json!({"data": {"status": 2, "result": {}}}));
    assert_eq!(world.response(caller, waiting), None);

    let cancel = world.call(caller, "commlib/action/cancel", json!(["robot.move", "g1"]));
    let (reply_to, data) = request_to(&mut world, action, "robot/move/cancel_goal");
    assert_eq!(data["goal_id"], "g1");
    world.publish(action, &reply_to, &json!({"data": {"status": 1, "result": {}}}));
    assert_eq!(world.response(caller, cancel), Some((Status::OK, json!(true))));

    world.publish(action, "robot/move/status", &json!({"goal_id": "g1", "status": 6}));
    let (reply_to, _) = request_to(&mut world, action, "robot/move/get_result");
    world.publish(action, &reply_to, &json!({"data": {"status": 6, "result": {}}}));
    assert_eq!(world.response(caller, waiting), Some((Status::OK, json!({"status": 6, "result": {}}))));
}

#[test]
fn a_refused_goal_is_an_error_with_the_nodes_reason() {
    let mut world = World::new();
    let (action, caller) = (world.mqtt(&TOPICS), world.component(&[]));
    let call = world.call(caller, "commlib/action/send", json!(["robot.move", {}]));
    let (reply_to, _) = request_to(&mut world, action, "robot/move/send_goal");
    world.publish(action, &reply_to, &json!({"data": {"status": 0, "goal_id": "", "error": "busy"}}));
    assert_eq!(world.response(caller, call), Some((Status::METHOD_EXCEPTION, json!("busy"))));
    let call = world.call(caller, "commlib/action/send", json!(["no.such", {}]));
    assert_eq!(world.response(caller, call).unwrap().0, Status::METHOD_NOT_FOUND);
    let call = world.call(caller, "commlib/action/send", json!(["robot.move"]));
    assert_eq!(world.response(caller, call).unwrap().0, Status::METHOD_EXCEPTION);
}

#[test]
fn a_status_that_got_lost_is_asked_for() {
    let mut world = World::new();
    let (action, caller) = (world.mqtt(&TOPICS), world.component(&[]));
    let call = world.call(caller, "commlib/action/run", json!(["robot.move", {}, 30]));
    let (reply_to, _) = request_to(&mut world, action, "robot/move/send_goal");
    world.publish(action, &reply_to, &json!({"data": {"status": 1, "goal_id": "g1"}}));
    world.pass(5);
    let (reply_to, _) = request_to(&mut world, action, "robot/move/get_result");
    world.publish(action, &reply_to, &json!({"data": {"status": 2, "result": {}}}));
    world.pass(25);
    let (reply_to, _) = request_to(&mut world, action, "robot/move/get_result");
    world.publish(action, &reply_to, &json!({"data": {"status": 2, "result": {}}}));
    let (status, text) = world.response(caller, call).unwrap();
    assert_eq!(status, Status::METHOD_UNAVAILABLE);
    assert!(text.as_str().unwrap().contains("g1"), "{text}");
}

/// A component that serves `robot/move`, with one goal of a Rembus caller under way.
fn running() -> (World, LinkId, LinkId, String) {
    let mut world = World::new();
    let robot = world.component(&["robot/move/on_goal", "robot/move/on_cancel", "robot/move/on_preempt"]);
    let caller = world.component(&[]);
    let call = world.call(caller, "action/robot/move/send", json!([{"cm": 3}]));
    let (asked, method, arguments) = world.asked(robot).remove(0);
    assert_eq!((method.as_str(), &arguments[1]), ("robot/move/on_goal", &json!({"cm": 3})));
    world.give(robot, asked, &Value::Null);
    let (status, answer) = world.response(caller, call).unwrap();
    assert_eq!(status, Status::OK);
    let id = answer["goal_id"].as_str().unwrap().to_owned();
    assert_eq!(arguments[0], id.as_str());
    (world, robot, caller, id)
}

#[test]
fn a_component_serves_an_action_for_other_components() {
    let (mut world, robot, caller, id) = running();
    world.subscribe(caller, Filter::Rembus("robot/move/feedback".into()));
    let call = world.call(robot, "action/robot/move/feedback", json!([id, {"cm": 1}]));
    assert_eq!(world.response(robot, call), Some((Status::OK, json!(true))));
    let feedback = ("robot/move/feedback".to_owned(), json!({"feedback_data": {"cm": 1}, "goal_id": id}));
    assert_eq!(world.delivered(caller), [feedback]);
    let waiting = world.call(caller, "action/robot/move/result", json!([id, 30]));
    assert_eq!(world.response(caller, waiting), None);
    world.call(robot, "action/robot.move/done", json!([id, {"at": 3}]));
    assert_eq!(world.response(caller, waiting), Some((Status::OK, json!({"status": 4, "result": {"at": 3}}))));
    let late = world.call(robot, "action/robot/move/done", json!([id, {}]));
    assert_eq!(world.response(robot, late).unwrap().0, Status::METHOD_EXCEPTION);
    assert_eq!(world.figures.read().goals, [("succeeded", 1)].into());
}

#[test]
fn a_commlib_client_uses_the_action_of_a_component() {
    let mut world = World::new();
    let robot = world.component(&["robot/move/on_goal", "robot/move/on_cancel"]);
    let client = world.mqtt(&["robot/move/status", "robot/move/feedback"]);
    let reply_to = world.request(client, "robot/move/send_goal", &json!({"description": "", "goal_data": {"cm": 3}}));
    let (asked, _, arguments) = world.asked(robot).remove(0);
    let id = arguments[0].as_str().unwrap().to_owned();
    assert_eq!(world.delivered(client), []);
    world.give(robot, asked, &json!(true));
    let heard = world.delivered(client);
    let status = |status| ("robot/move/status".to_owned(), json!({"goal_id": id, "status": status}));
    assert_eq!([&heard[0], &heard[2]], [&status(1), &status(2)]);
    assert_eq!(
        (heard[1].0.as_str(), &heard[1].1["data"]),
        (reply_to.as_str(), &json!({"status": 1, "timestamp": -1, "goal_id": id, "error": ""}))
    );

    let reply_to = world.request(client, "robot/move/cancel_goal", &json!({"goal_id": id, "timestamp": 1}));
    let (asked, method, _) = world.asked(robot).remove(0);
    assert_eq!(method, "robot/move/on_cancel");
    assert_eq!(world.delivered(client), [status(3)]);
    world.give(robot, asked, &json!(true));
    assert_eq!(world.answer(client, &reply_to).unwrap()["status"], 1);
    world.call(robot, "action/robot/move/done", json!([id, {"at": 1}]));
    assert_eq!(world.delivered(client), [status(6)]);
    let reply_to = world.request(client, "robot/move/get_result", &json!({"goal_id": id}));
    let result = json!({"status": 6, "timestamp": -1, "result": {"at": 1}, "error": ""});
    assert_eq!(world.answer(client, &reply_to), Some(result));
}

#[test]
fn a_second_goal_may_pre_empt_the_first() {
    let (mut world, robot, caller, first) = running();
    let call = world.call(caller, "action/robot/move/send", json!([{"cm": 9}]));
    let (asked, method, arguments) = world.asked(robot).remove(0);
    assert_eq!((method.as_str(), arguments), ("robot/move/on_preempt", json!([first, {"cm": 9}])));
    world.give(robot, asked, &json!(true));
    let second = world.response(caller, call).unwrap().1["goal_id"].as_str().unwrap().to_owned();
    world.call(robot, "action/robot/move/done", json!([first, {"at": 1}]));
    let (asked, method, arguments) = world.asked(robot).remove(0);
    assert_eq!((method.as_str(), arguments), ("robot/move/on_goal", json!([second, {"cm": 9}])));
    world.give(robot, asked, &json!({"at": 9}));
    for (id, wanted) in
        [(first, json!({"status": 6, "result": {"at": 1}})), (second, json!({"status": 4, "result": {"at": 9}}))]
    {
        let call = world.call(caller, "action/robot/move/result", json!([id]));
        assert_eq!(world.response(caller, call), Some((Status::OK, wanted)));
    }
}

#[test]
fn an_action_ends_with_its_component() {
    let (mut world, robot, caller, id) = running();
    assert_eq!((world.figures.read().actions, world.figures.read().goals_running), (1, 1));
    let waiting = world.call(caller, "action/robot/move/result", json!([id, 30]));
    world.say(robot, Inbound::Closed { reason: crate::router::Closed::Lost });
    assert_eq!(world.response(caller, waiting).unwrap().1["status"], 5);
    let call = world.call(caller, "action/robot/move/send", json!([{"cm": 3}]));
    assert!(world.response(caller, call).unwrap().0 != Status::OK);
    assert_eq!((world.figures.read().actions, world.figures.read().goals_running), (0, 0));
    world.pass(601);
    let call = world.call(caller, "action/robot/move/result", json!([id]));
    assert_eq!(world.response(caller, call).unwrap().0, Status::METHOD_NOT_FOUND);
}

#[test]
fn a_named_component_that_goes_and_comes_again_serves_again() {
    let mut world = World::new();
    let attach = |name: &str| Attach {
        name: name.into(),
        on_conflict: OnConflict::TakeOver,
        clean: false,
        expiry: Expiry::Never,
        will: None,
        receive_max: 1000,
        packet_max: u32::MAX,
        resend_after: None,
        identity: Identity::default(),
    };
    let robot = world.open(Dialect::Rembus);
    world.say(robot, Inbound::Attach(attach("robot")));
    world.say(robot, Inbound::Expose { token: Token(0), method: "robot/move/on_goal".into() });
    assert_eq!(world.figures.read().actions, 1);
    world.say(robot, Inbound::Closed { reason: crate::router::Closed::Lost });
    assert_eq!(world.figures.read().actions, 0);
    let robot = world.open(Dialect::Rembus);
    world.say(robot, Inbound::Attach(attach("robot")));
    assert_eq!(world.figures.read().actions, 1);
}

#[test]
fn the_helpers_work_with_actions_of_components_too() {
    let mut world = World::new();
    let (robot, caller) = (world.component(&["robot/move/on_goal"]), world.component(&[]));
    let call = world.call(caller, "commlib/action/run", json!(["robot.move", {"cm": 3}, 30]));
    let (asked, _, arguments) = world.asked(robot).remove(0);
    world.give(robot, asked, &Value::Null);
    world.call(robot, "action/robot/move/done", json!([arguments[0], {"at": 3}]));
    let done = json!({"status": 4, "result": {"at": 3}, "goal_id": arguments[0]});
    assert_eq!(world.response(caller, call), Some((Status::OK, done)));
}
