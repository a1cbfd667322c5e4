//! Tenants do not see each other, and nobody poses as the gateway (`protocol/rembus.md` sections 5.2, 7, 9, 21).

use super::*;

const DATA: Bytes = Bytes::from_static(&[0x80]);

impl World {
    /// What a component publishes itself, with what it says about itself left to the router.
    fn publish_from(&mut self, link: LinkId, topic: &str) {
        let payload = Payload::Rembus(DATA);
        let message = Message::new(topic.into(), payload, Qos::AtMostOnce, self.now().wall, Dialect::Rembus, "~1".into());
        self.say(link, Inbound::Publish { message, token: Token(0) });
    }

    fn topics(&mut self, link: LinkId) -> Vec<String> {
        self.deliveries(link).into_iter().map(|delivery| delivery.message.topic.clone()).collect()
    }

    fn expose_as(&mut self, link: LinkId, method: &str) -> Status {
        self.say(link, Inbound::Expose { token: Token(0), method: method.into() });
        self.sync();
        self.responses(link)[0].1
    }

    fn status_of_call(&mut self, link: LinkId, method: &str, target: Option<&str>) -> Option<Status> {
        let target = target.map(String::from);
        self.say(link, Inbound::Call { token: Token(9), method: method.into(), target, data: DATA });
        self.responses(link).first().map(|answer| answer.1)
    }
}

#[test]
fn publications_stay_within_their_tenant_also_under_wildcards() {
    let mut w = World::new();
    let (acme, other_acme, rival) = (w.component("a.acme"), w.component("b.acme"), w.component("a.rival"));
    let (common, mqtt) = (w.component("common"), w.client("mqtt.acme"));
    for link in [other_acme, rival, common] {
        w.subscribe(link, rembus("t"), Qos::ExactlyOnce);
        w.subscribe(link, rembus("**"), Qos::ExactlyOnce);
    }
    w.subscribe(mqtt, super::mqtt("#"), Qos::AtMostOnce);

    w.publish_from(acme, "t");
    assert_eq!(w.topics(other_acme), ["t", "t"], "once for each of its patterns");
    for stranger in [rival, common, mqtt] {
        assert_eq!(w.topics(stranger), [""; 0]);
    }
    // An MQTT client is in the common tenant, whatever its client id looks like.
    w.publish(mqtt, "t", Qos::AtMostOnce);
    assert_eq!(w.topics(common), ["t", "t"]);
    assert_eq!(w.topics(other_acme), [""; 0]);
}

#[test]
fn calls_stay_within_the_tenant_of_the_caller() {
    let mut w = World::new();
    let (server, near, far) = (w.component("server.acme"), w.component("near.acme"), w.component("far"));
    assert_eq!(w.expose_as(server, "work"), Status::OK);
    assert_eq!(w.status_of_call(far, "work", None), Some(Status::METHOD_UNAVAILABLE));
    assert_eq!(w.status_of_call(near, "work", None), None, "it is under way");
    assert_eq!(w.take(server).len(), 1);
}

#[test]
fn direct_calls_stay_within_the_tenant_of_the_caller() {
    let mut w = World::new();
    let (server, near, far) = (w.component("server.acme"), w.component("near.acme"), w.component("far"));
    assert_eq!(w.status_of_call(far, "rid", Some("server.acme")), Some(Status::TARGET_NOT_FOUND));
    assert_eq!(w.status_of_call(near, "rid", Some("server.acme")), None, "it is under way");
    // Called by its name, it is the component that is down, not the method.
    w.say(server, Inbound::Closed { reason: Closed::Lost });
    assert_eq!(w.responses(near)[0].1, Status::TARGET_DOWN);
}

#[test]
fn tables_answer_the_common_tenant_only() {
    let mut w = World::new();
    let (acme, common) = (w.component("a.acme"), w.component("common"));
    assert_eq!(w.status_of_call(acme, "query_telemetry", None), Some(Status::METHOD_NOT_FOUND));
    assert_eq!(w.status_of_call(acme, "rid", None), Some(Status::OK));
    assert_eq!(w.status_of_call(common, "query_telemetry", None), None, "history has it");
    assert_eq!(w.invoked.len(), 1);
}

#[test]
fn a_component_that_comes_again_after_a_restart_is_in_its_tenant() {
    let mut w = World::new();
    let acme = w.component("a.acme");
    w.subscribe(acme, rembus("t"), Qos::ExactlyOnce);
    w.restart(false);
    let (acme, common) = (w.component("a.acme"), w.component("common"));
    w.publish_from(common, "t");
    assert_eq!(w.topics(acme), [""; 0]);
}

#[test]
fn nobody_offers_a_method_of_the_gateway_or_one_that_looks_like_it() {
    let mut w = World::new();
    let link = w.component("mallory");
    for method in ["query_telemetry", "query_plant", "delete_x", "upsert_x", "latest_x", "rid", "version", "uptime"] {
        assert_eq!(w.expose_as(link, method), Status::GENERIC_ERROR, "{method}");
    }
    for method in ["gw1/query_telemetry", "queries", "plc"] {
        assert_eq!(w.expose_as(link, method), Status::OK, "{method}");
    }
}

#[test]
fn code_is_never_uploaded_here_nor_collected_by_somebody_else() {
    let mut w = World::new();
    let (mallory, caller) = (w.component("mallory"), w.component("caller"));
    for method in ["python_service_install", "python_subscriber_install", "julia_service_install", "python_service_list"] {
        assert_eq!(w.expose_as(mallory, method), Status::GENERIC_ERROR, "{method}");
        assert_eq!(w.status_of_call(caller, method, None), Some(Status::METHOD_NOT_FOUND), "{method}");
    }
}
