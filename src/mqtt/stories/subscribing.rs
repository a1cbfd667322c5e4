//! SUBSCRIBE and UNSUBSCRIBE.

use super::*;
use crate::message::Qos;
use crate::router::{Filter, Refusal, Subscription, Token};

async fn wanted(link: &mut Link) -> (Token, Vec<Subscription>) {
    match link.next().await {
        Inbound::Subscribe { token, filters } => (token, filters),
        other => panic!("expected a subscription, got {other:?}"),
    }
}

fn names(filters: &[Subscription]) -> Vec<&str> {
    let mut names = Vec::new();
    for subscription in filters {
        let Filter::Mqtt(name) = &subscription.filter else { panic!("{subscription:?}") };
        names.push(name.as_str());
    }
    names
}

fn subscribe_311(id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let filters: Vec<u8> = filters.iter().flat_map(|(name, qos)| [text(name), vec![*qos]].concat()).collect();
    packet(0x82, &[&id.to_be_bytes()[..], &filters].concat())
}

fn subscribe_5(id: u16, properties: &[u8], filters: &[(&str, u8)]) -> Vec<u8> {
    let filters: Vec<u8> = filters.iter().flat_map(|(name, options)| [text(name), vec![*options]].concat()).collect();
    packet(0x82, &[&id.to_be_bytes()[..], &[properties.len() as u8], properties, &filters].concat())
}

#[tokio::test(start_paused = true)]
async fn each_filter_gets_its_code_in_order() {
    let mut stage = Stage::new();
    let (mut client, mut link) = stage.client_311().await;
    client.send(&subscribe_311(3, &[("a/+", 0), ("#", 2), ("no", 1)])).await;
    let (token, filters) = wanted(&mut link).await;
    assert_eq!(names(&filters), ["a/+", "#", "no"]);
    assert_eq!(filters[1].qos, Qos::ExactlyOnce);
    let outcomes = vec![Ok(Qos::AtMostOnce), Ok(Qos::ExactlyOnce), Err(Refusal::NotAuthorized)];
    link.send(Outbound::Subscribed { token, outcomes: outcomes.clone() }).await;
    assert_eq!(client.packet().await, [0x90, 5, 0, 3, 0, 2, 0x80]);

    let (mut client, mut link) = stage.client_5().await;
    client.send(&subscribe_5(3, &[], &[("a/+", 0), ("#", 2), ("no", 1)])).await;
    let (token, _) = wanted(&mut link).await;
    link.send(Outbound::Subscribed { token, outcomes }).await;
    assert_eq!(client.packet().await, [0x90, 6, 0, 3, 0, 0, 2, 0x87]);
}

#[tokio::test(start_paused = true)]
async fn options_and_the_identifier_of_5_reach_the_router() {
    let mut stage = Stage::new();
    let (mut client, mut link) = stage.client_5().await;
    // No local, retain as published, retain handling 2; identifier 200.
    client.send(&subscribe_5(1, &[11, 0xC8, 0x01], &[("a", 0x2D), ("b", 0)])).await;
    let (_, filters) = wanted(&mut link).await;
    assert!(filters[0].no_local && filters[0].retain_as_published);
    assert_eq!((filters[0].qos, filters[0].identifier), (Qos::AtLeastOnce, Some(200)));
    assert!(!filters[1].no_local && !filters[1].retain_as_published);
    assert_eq!(filters[1].identifier, Some(200));
}

#[tokio::test(start_paused = true)]
async fn a_shared_subscription_is_told_as_group_and_filter_and_a_broken_one_refused() {
    let mut stage = Stage::new();
    let (mut client, mut link) = stage.client_5().await;
    let broken = ["$share", "$share/g", "$share//a", "$share/g/", "$share/+/a"];
    let mut filters = vec![("$share/g/a/+", 1)];
    filters.extend(broken.map(|filter| (filter, 1)));
    client.send(&subscribe_5(1, &[], &filters)).await;
    let (token, filters) = wanted(&mut link).await;
    assert_eq!(filters.len(), 1);
    assert_eq!(filters[0].filter, Filter::Shared { group: "g".into(), filter: "a/+".into() });
    link.send(Outbound::Subscribed { token, outcomes: vec![Ok(Qos::AtLeastOnce)] }).await;
    assert_eq!(client.packet().await, [0x90, 9, 0, 1, 0, 1, 0x8F, 0x8F, 0x8F, 0x8F, 0x8F]);
}

#[tokio::test(start_paused = true)]
async fn more_filters_than_the_limit_are_refused_one_by_one() {
    let mut stage = Stage::with(|settings| settings.max_filters = 2);
    let (mut client, mut link) = stage.client_5().await;
    client.send(&subscribe_5(1, &[], &[("a", 0), ("b", 0), ("c", 0), ("d", 0)])).await;
    let (token, filters) = wanted(&mut link).await;
    assert_eq!(names(&filters), ["a", "b"]);
    link.send(Outbound::Subscribed { token, outcomes: vec![Ok(Qos::AtMostOnce); 2] }).await;
    assert_eq!(client.packet().await, [0x90, 7, 0, 1, 0, 0, 0, 0x97, 0x97]);
}

#[tokio::test(start_paused = true)]
async fn unsubscribing_says_in_5_whether_there_was_anything() {
    let mut stage = Stage::new();
    let filters = [text("a"), text("b"), text("$share/g/a")].concat();
    for (connect, request, answer) in [
        (connect_311("c1", 0), packet(0xA2, &[&[0, 5][..], &filters].concat()), vec![0xB0, 2, 0, 5]),
        (connect_5("c1", 0, &[]), packet(0xA2, &[&[0, 5, 0][..], &filters].concat()), vec![0xB0, 6, 0, 5, 0, 0, 0x11, 0x11]),
    ] {
        let (mut client, mut link) = stage.client(&connect).await;
        client.send(&request).await;
        let Inbound::Unsubscribe { token, filters } = link.next().await else { panic!("expected an end") };
        let shared = Filter::Shared { group: "g".into(), filter: "a".into() };
        assert_eq!(filters, [Filter::Mqtt("a".into()), Filter::Mqtt("b".into()), shared]);
        assert_eq!(token, Token(5));
        link.send(Outbound::Unsubscribed { token, outcomes: vec![true, false, false] }).await;
        assert_eq!(client.packet().await, answer);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_the_client_cannot_take_ends_the_connection() {
    let mut stage = Stage::new();
    let filters: Vec<(&str, u8)> = vec![("a", 0); 20];
    let unsubscribe = packet(0xA2, &[&[0, 1, 0][..], &text("a").repeat(20)].concat());
    for (from_router, request) in [
        (true, subscribe_5(1, &[], &filters)),
        // Answered by the door itself: none of these is a filter.
        (false, subscribe_5(1, &[], &[("a#", 0); 20])),
        (true, unsubscribe),
    ] {
        // CONNACK has 16 bytes, SUBACK and UNSUBACK for twenty filters 25.
        let (mut client, mut link) = stage.client(&connect_5("c1", 0, &[39, 0, 0, 0, 24])).await;
        client.send(&request).await;
        if from_router {
            match link.next().await {
                Inbound::Subscribe { token, filters } => {
                    let outcomes = vec![Ok(Qos::AtMostOnce); filters.len()];
                    link.send(Outbound::Subscribed { token, outcomes }).await;
                }
                Inbound::Unsubscribe { token, filters } => {
                    link.send(Outbound::Unsubscribed { token, outcomes: vec![true; filters.len()] }).await;
                }
                other => panic!("{other:?}"),
            }
        }
        // With the words it would be too large itself.
        assert_eq!(client.packet().await, [0xE0, 2, 0x95, 0]);
        client.is_closed().await;
        link.ends_with(crate::router::Closed::Lost).await;
    }
}
