//! When a component gets its past, how much of it it asks for, and what becomes of the rest.

use super::*;

#[test]
fn windows_count_back_from_when_the_component_takes_messages_again() {
    let mut w = World::new();
    let teller = w.link(Dialect::Rembus);
    w.tell(teller, "t", 1, ONCE);
    w.wait(Duration::from_secs(10));
    w.tell(teller, "t", 2, ONCE);
    w.wait(Duration::from_secs(10));
    w.tell(teller, "t", 3, ONCE);
    let link = w.reader("five", "t", Past::Window(5_000_000_000));
    assert_eq!(w.had(link), [3]);
    let link = w.reader("fifteen", "t", Past::Window(15_000_000_000));
    assert_eq!(w.had(link), [2, 3]);
    w.say(link, Inbound::LOST);
    let link = w.twin("fifteen");
    w.reactive(link, true);
    assert_eq!(w.had(link), [0; 0], "they lie in the window and were delivered");
}

#[test]
fn reactive_has_a_window_of_its_own() {
    let mut w = World::new();
    let teller = w.link(Dialect::Rembus);
    w.tell(teller, "t", 1, ONCE);
    w.wait(Duration::from_secs(10));
    w.tell(teller, "t", 2, ONCE);
    let link = w.twin("reader");
    w.follow(link, "t", Past::Unseen);
    w.reach(link, true, Past::Window(5_000_000_000));
    assert_eq!(w.had(link), [2]);
    let link = w.twin("nothing");
    w.follow(link, "t", Past::Unseen);
    w.reach(link, true, Past::Nothing);
    assert_eq!(w.had(link), [0; 0]);
    w.tell(teller, "t", 3, ONCE);
    assert_eq!(w.had(link), [3]);
}

#[test]
fn what_was_passed_over_comes_when_the_component_asks_for_more() {
    const SECOND: Past = Past::Window(1_000_000_000);
    for life in LIVES {
        for first in [Past::Nothing, SECOND] {
            for qos in [NEVER, ONCE, EXACTLY] {
                let mut w = World::new();
                let teller = w.link(Dialect::Rembus);
                w.tell(teller, "t", 1, qos);
                w.wait(Duration::from_secs(10));
                let link = w.reader("reader", "t", first);
                assert_eq!(w.had(link), [0; 0]);
                w.next_life(life, link);
                let teller = w.link(Dialect::Rembus);
                w.tell(teller, "t", 2, qos);
                w.wait(Duration::from_secs(10));
                let link = w.twin("reader");
                w.reactive(link, true);
                assert_eq!(w.had(link), [0; 0], "and still not");
                w.next_life(life, link);
                let link = w.twin("reader");
                w.follow(link, "t", Past::Unseen);
                w.reactive(link, true);
                assert_eq!(w.had(link), [1, 2], "{first:?} {life:?} {qos:?}");
                w.next_life(life, link);
                let link = w.twin("reader");
                w.reactive(link, true);
                assert_eq!(w.had(link), [0; 0], "once");
            }
        }
    }
}

#[test]
fn what_came_live_is_not_passed_over_and_ends_the_looking_back() {
    for qos in [NEVER, ONCE, EXACTLY] {
        let mut w = World::new();
        let teller = w.link(Dialect::Rembus);
        w.tell(teller, "t", 1, qos);
        let link = w.reader("reader", "t", Past::Nothing);
        w.tell(teller, "t", 2, qos);
        assert_eq!(w.had(link), [2]);
        w.follow(link, "t", Past::Unseen);
        assert_eq!(w.had(link), [0; 0], "it asks for what it has not had since the last one it had");
        w.say(link, Inbound::LOST);
        let link = w.twin("reader");
        w.follow(link, "t", Past::Nothing);
        w.tell(teller, "t", 3, qos);
        w.reactive(link, true);
        assert_eq!(w.had(link), [0; 0]);
        w.follow(link, "t", Past::Unseen);
        assert_eq!(w.had(link), [3], "also while it takes messages");
        w.tell(teller, "t", 4, qos);
        assert_eq!(w.had(link), [4]);
    }
}

#[test]
fn the_bound_of_reactive_passes_over_for_this_time() {
    let mut w = World::new();
    let teller = w.link(Dialect::Rembus);
    let link = w.twin("reader");
    w.follow(link, "t", Past::Unseen);
    w.tell(teller, "t", 1, ONCE);
    w.reach(link, true, Past::Nothing);
    assert_eq!(w.had(link), [0; 0]);
    w.follow(link, "t", Past::Window(3_600_000_000_000));
    assert_eq!(w.had(link), [1]);
}

#[test]
fn an_anonymous_component_gets_no_past() {
    let mut w = World::new();
    let teller = w.link(Dialect::Rembus);
    w.tell(teller, "t", 1, ONCE);
    let link = w.link(Dialect::Rembus);
    w.follow(link, "t", Past::Unseen);
    w.reactive(link, true);
    assert_eq!(w.had(link), [0; 0]);
    w.tell(teller, "t", 2, ONCE);
    assert_eq!(w.had(link), [2]);
}

#[test]
fn a_second_reactive_changes_nothing() {
    let mut w = World::new();
    let teller = w.link(Dialect::Rembus);
    w.tell(teller, "t", 1, ONCE);
    let link = w.reader("reader", "t", Past::Unseen);
    w.reactive(link, true);
    assert_eq!(w.had(link), [1]);
    w.reactive(link, true);
    assert_eq!(w.had(link), [0; 0]);
}

#[test]
fn between_unreactive_and_reactive_messages_wait_in_the_log() {
    let mut w = World::new();
    let teller = w.link(Dialect::Rembus);
    let (link, now) = (w.reader("reader", "t", Past::Unseen), w.reader("now", "t", Past::Nothing));
    for link in [link, now] {
        w.reactive(link, false);
    }
    w.tell(teller, "t", 1, EXACTLY);
    assert_eq!((w.had(link), w.had(now)), (vec![], vec![]));
    for link in [link, now] {
        w.reactive(link, true);
    }
    assert_eq!((w.had(link), w.had(now)), (vec![1], vec![]));
}
