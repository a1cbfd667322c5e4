use super::*;

const DATA: Bytes = Bytes::from_static(&[0x81, 0x07]);

impl World {
    fn expose(&mut self, link: LinkId, method: &str) {
        self.say(link, Inbound::Expose { token: Token(0), method: method.into() });
        self.sync_if_silent(link);
        assert!(matches!(self.take(link)[..], [Outbound::Response { status: Status::OK, .. }]));
    }

    fn call(&mut self, link: LinkId, method: &str, target: Option<&str>) -> Token {
        let token = self.token();
        let target = target.map(String::from);
        self.say(link, Inbound::Call { token, method: method.into(), target, data: DATA });
        token
    }

    fn requests(&mut self, link: LinkId) -> Vec<CallId> {
        let is_request = |out| match out {
            Outbound::Request { call, .. } => Some(call),
            _ => None,
        };
        self.take(link).into_iter().filter_map(is_request).collect()
    }

    fn only_status(&mut self, link: LinkId) -> (Status, String) {
        let [(_, status, data)] = &self.responses(link)[..] else { panic!("one answer") };
        (*status, ciborium::from_reader(&data[..]).unwrap())
    }
}

#[test]
fn a_call_reaches_the_exposer_and_its_answer_the_caller() {
    let mut w = World::new();
    let (server, caller) = (w.component("server"), w.component("caller"));
    w.expose(server, "add");
    let token = w.call(caller, "add", None);
    let call = w.requests(server)[0];
    w.say(server, Inbound::Return { call, status: Status::OK, data: DATA });
    assert_eq!(w.responses(caller), [(token, Status::OK, DATA)]);
    assert_eq!(w.router.report().calls_pending, 0);
}

#[test]
fn an_exposer_gets_many_calls_at_once_and_may_answer_in_any_order() {
    let mut w = World::new();
    let (server, caller) = (w.component("server"), w.component("caller"));
    w.expose(server, "add");
    let tokens = [w.call(caller, "add", None), w.call(caller, "add", None)];
    let calls = w.requests(server);
    for call in calls.iter().rev() {
        w.say(server, Inbound::Return { call: *call, status: Status::OK, data: DATA });
    }
    let order: Vec<_> = w.responses(caller).iter().map(|(token, ..)| *token).collect();
    assert_eq!(order, [tokens[1], tokens[0]]);
}

#[test]
fn refusals_say_what_is_missing() {
    let mut w = World::new();
    let (server, caller) = (w.component("server"), w.component("caller"));
    w.expose(server, "add");
    w.call(caller, "nothing", None);
    assert_eq!(w.only_status(caller), (Status::METHOD_NOT_FOUND, "nothing".into()));
    w.call(server, "add", None);
    assert_eq!(w.only_status(server), (Status::METHOD_LOOPBACK, "add".into()));
    w.call(caller, "add", Some("nobody"));
    assert_eq!(w.only_status(caller), (Status::TARGET_NOT_FOUND, "nobody".into()));
    w.say(server, Inbound::Closed { reason: Closed::Lost });
    w.call(caller, "add", None);
    assert_eq!(w.only_status(caller), (Status::METHOD_UNAVAILABLE, "add".into()), "registered, but offline");
}

#[test]
fn nobody_knows_a_method_that_its_last_exposer_took_back() {
    let mut w = World::new();
    let (server, caller) = (w.component("server"), w.component("caller"));
    w.expose(server, "add");
    w.say(server, Inbound::Unexpose { token: Token(0), method: "add".into() });
    w.call(caller, "add", None);
    assert_eq!(w.only_status(caller).0, Status::METHOD_NOT_FOUND);
}

#[test]
fn a_caller_learns_at_once_that_the_exposer_is_gone() {
    let mut w = World::new();
    let (server, caller) = (w.component("server"), w.component("caller"));
    w.expose(server, "add");
    w.call(caller, "add", None);
    w.say(server, Inbound::Closed { reason: Closed::Lost });
    assert_eq!(w.only_status(caller), (Status::METHOD_UNAVAILABLE, "add".into()));
}

#[test]
fn a_call_has_a_deadline_and_a_late_answer_is_dropped() {
    let mut w = World::new();
    let (server, caller) = (w.component("server"), w.component("caller"));
    w.expose(server, "add");
    w.call(caller, "add", None);
    let call = w.requests(server)[0];
    w.wait(Duration::from_secs(10));
    assert_eq!(w.only_status(caller), (Status::METHOD_EXCEPTION, "timeout".into()));
    w.say(server, Inbound::Return { call, status: Status::OK, data: DATA });
    assert!(w.take(caller).is_empty());
}

#[test]
fn nobody_can_answer_a_call_that_was_not_given_to_him() {
    let mut w = World::new();
    let (server, caller, thief) = (w.component("server"), w.component("caller"), w.component("thief"));
    w.expose(server, "add");
    w.call(caller, "add", None);
    let call = w.requests(server)[0];
    w.say(thief, Inbound::Return { call, status: Status::OK, data: DATA });
    assert!(w.take(caller).is_empty());
}

#[test]
fn an_answer_for_a_caller_that_left_hits_nobody() {
    let mut w = World::new();
    let (server, caller) = (w.component("server"), w.component("caller"));
    w.expose(server, "add");
    w.call(caller, "add", None);
    w.say(caller, Inbound::Closed { reason: Closed::Lost });
    let successor = w.component("caller");
    let call = w.requests(server)[0];
    w.say(server, Inbound::Return { call, status: Status::OK, data: DATA });
    assert!(w.take(successor).is_empty());
}

#[test]
fn a_direct_call_needs_no_exposure() {
    let mut w = World::new();
    let (server, caller) = (w.component("server"), w.component("caller"));
    w.call(caller, "rid", Some("server"));
    assert_eq!(w.requests(server).len(), 1);
    w.call(caller, "rid", Some("broker"));
    assert_eq!(w.only_status(caller), (Status::OK, "broker".into()), "the gateway's own name means the gateway");
}

#[test]
fn the_gateways_own_methods_cannot_be_taken() {
    let mut w = World::new();
    let (thief, caller) = (w.component("thief"), w.component("caller"));
    w.say(thief, Inbound::Expose { token: Token(0), method: "query_telemetry".into() });
    assert_eq!(w.responses(thief)[0].1, Status::GENERIC_ERROR);
    let token = w.call(caller, "query_telemetry", None);
    assert!(w.requests(thief).is_empty());
    let (call, ..) = w.invoked[0].clone();
    w.event(Event::Answered { call, status: Status::OK, data: DATA });
    assert_eq!(w.responses(caller), [(token, Status::OK, DATA)]);
}

#[test]
fn a_caller_that_goes_takes_its_questions_to_the_gateway_along() {
    let mut w = World::new();
    let (leaver, stayer) = (w.component("leaver"), w.component("stayer"));
    for caller in [leaver, stayer, leaver] {
        w.call(caller, "query_telemetry", None);
    }
    let calls: Vec<CallId> = w.invoked.iter().map(|(call, ..)| *call).collect();
    w.event(Event::Answered { call: calls[2], status: Status::OK, data: DATA });
    w.say(leaver, Inbound::Closed { reason: Closed::Lost });
    assert_eq!(w.cancelled, [calls[0]], "what is answered, or others asked, goes on");
    w.event(Event::Answered { call: calls[0], status: Status::OK, data: DATA });
    w.event(Event::Answered { call: calls[1], status: Status::OK, data: DATA });
    assert_eq!((w.responses(stayer).len(), w.router.report().calls_pending), (1, 0));
}

#[test]
fn a_query_sees_everything_that_came_before_it() {
    let mut w = World::new();
    let (sensor, caller) = (w.client("sensor"), w.component("caller"));
    w.publish(sensor, "a", Qos::AtLeastOnce);
    w.publish(sensor, "a", Qos::AtMostOnce);
    w.call(caller, "query_telemetry", None);
    assert_eq!(w.invoked[0].2, *w.appended.last().unwrap());
}

#[test]
fn policies_choose_as_their_names_say() {
    use crate::config::Policy;
    for (policy, expected) in [(Policy::FirstUp, [0, 0, 0]), (Policy::RoundRobin, [0, 1, 2]), (Policy::LessBusy, [0, 1, 2])] {
        let mut w = World::with(Options { policy, ..Options::default() });
        let servers = [w.component("s0"), w.component("s1"), w.component("s2")];
        let caller = w.component("caller");
        for server in servers {
            w.expose(server, "m");
        }
        let mut served = Vec::new();
        for _ in 0..3 {
            w.call(caller, "m", None);
            served.push(servers.iter().position(|s| !w.requests(*s).is_empty()).unwrap());
        }
        assert_eq!(served, expected, "{policy:?}");
    }
}
