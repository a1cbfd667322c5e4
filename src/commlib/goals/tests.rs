use super::*;
use serde_json::json;

const LIMITS: Limits = Limits { goal_max: Duration::from_secs(60), grace: Duration::from_secs(5) };

struct World {
    goals: Goals,
    now: Mono,
}

fn data(value: serde_json::Value) -> Data {
    value.as_object().unwrap().clone()
}

impl World {
    fn new() -> Self {
        Self { goals: Goals::new(LIMITS), now: Mono::default() }
    }

    fn pass(&mut self, seconds: u64) -> Vec<Deed> {
        self.now = self.now.plus(Duration::from_secs(seconds));
        let mut deeds = Vec::new();
        self.goals.tick(self.now, &mut deeds);
        deeds
    }

    fn does(&mut self, event: impl FnOnce(&mut Goals, Mono, &mut Vec<Deed>)) -> Vec<Deed> {
        let mut deeds = Vec::new();
        event(&mut self.goals, self.now, &mut deeds);
        deeds
    }

    fn send(&mut self, asker: u64, id: &str) -> Vec<Deed> {
        let goal = data(json!({"target": id}));
        self.does(|goals, now, deeds| goals.send(asker, id.into(), goal, now, deeds))
    }

    /// A goal that runs.
    fn run(&mut self, asker: u64, id: &str) {
        self.send(asker, id);
        self.does(|goals, now, deeds| goals.goal_answered(id, Verdict::Yes, now, deeds));
        assert_eq!(self.goals.result(id).0, Status::Running);
    }
}

fn tell(id: &str, status: Status) -> Deed {
    Deed::Tell { id: id.into(), status }
}

#[test]
fn a_goal_is_accepted_runs_and_succeeds() {
    let mut world = World::new();
    let ask = Deed::AskGoal { id: "g1".into(), goal: data(json!({"target": "g1"})) };
    assert_eq!(world.send(1, "g1"), [ask]);
    let accepted = world.does(|goals, now, deeds| goals.goal_answered("g1", Verdict::Yes, now, deeds));
    let wanted = [tell("g1", Status::Accepted), Deed::Accepted { asker: 1, id: "g1".into() }, tell("g1", Status::Running)];
    assert_eq!(accepted, wanted);
    let done = world.does(|goals, now, deeds| assert!(goals.done("g1", data(json!({"at": 3})), now, deeds)));
    assert_eq!(done, [tell("g1", Status::Succeeded)]);
    assert_eq!(world.goals.result("g1"), (Status::Succeeded, data(json!({"at": 3}))));
    assert_eq!(world.goals.result("").0, Status::Succeeded);
    assert_eq!(world.goals.result("other").0, Status::Unknown);
}

#[test]
fn a_component_may_refuse_or_be_done_at_once() {
    let mut world = World::new();
    world.send(1, "g1");
    let refused = world.does(|goals, now, deeds| goals.goal_answered("g1", Verdict::No("too far".into()), now, deeds));
    assert_eq!(refused, [Deed::Refused { asker: 1, reason: "too far".into() }]);
    assert_eq!(world.goals.result("g1").0, Status::Unknown);

    world.send(2, "g2");
    let done = world.does(|goals, now, deeds| goals.goal_answered("g2", Verdict::Done(data(json!({"x": 1}))), now, deeds));
    assert_eq!(done.last(), Some(&tell("g2", Status::Succeeded)));
    assert_eq!(world.goals.result("g2"), (Status::Succeeded, data(json!({"x": 1}))));
}

#[test]
fn a_cancelled_goal_ends_when_the_component_says_so() {
    let mut world = World::new();
    world.run(1, "g1");
    let cancelling = world.does(|goals, now, deeds| goals.cancel(2, "g1", now, deeds));
    assert_eq!(cancelling, [tell("g1", Status::Canceling), Deed::AskCancel { id: "g1".into() }]);
    let agreed = world.does(|goals, now, deeds| goals.cancel_answered("g1", true, now, deeds));
    assert_eq!(agreed, [Deed::Cancelled { asker: 2, done: true }]);
    let ended = world.does(|goals, now, deeds| assert!(goals.done("g1", data(json!({"at": 1})), now, deeds)));
    assert_eq!(ended, [tell("g1", Status::Canceled)]);
    let late = world.does(|goals, now, deeds| goals.cancel(3, "g1", now, deeds));
    assert_eq!(late, [Deed::Cancelled { asker: 3, done: false }]);
}

#[test]
fn a_goal_that_cannot_be_cancelled_runs_on() {
    let mut world = World::new();
    world.run(1, "g1");
    world.does(|goals, now, deeds| goals.cancel(2, "g1", now, deeds));
    let no = world.does(|goals, now, deeds| goals.cancel_answered("g1", false, now, deeds));
    assert_eq!(no, [Deed::Cancelled { asker: 2, done: false }, tell("g1", Status::Running)]);
}

#[test]
fn a_goal_that_does_not_stop_counts_as_cancelled_after_a_while() {
    let mut world = World::new();
    world.run(1, "g1");
    world.does(|goals, now, deeds| goals.cancel(2, "g1", now, deeds));
    assert_eq!(world.pass(4), []);
    assert_eq!(world.pass(1), [Deed::Cancelled { asker: 2, done: true }, tell("g1", Status::Canceled)]);
    assert!(!world.does(|goals, now, deeds| assert!(!goals.done("g1", Data::new(), now, deeds))).iter().any(|_| true));
}

#[test]
fn a_second_goal_is_refused_unless_the_component_gives_up_the_first() {
    let mut world = World::new();
    world.run(1, "g1");
    let goal = data(json!({"target": "g2"}));
    assert_eq!(world.send(2, "g2"), [Deed::AskPreempt { id: "g1".into(), goal: goal.clone() }]);
    let no = world.does(|goals, now, deeds| goals.preempt_answered("g1", false, now, deeds));
    assert_eq!(no, [Deed::Refused { asker: 2, reason: BUSY.into() }]);

    world.send(3, "g3");
    assert_eq!(world.send(4, "g4"), [Deed::Refused { asker: 4, reason: BUSY.into() }]);
    let yes = world.does(|goals, now, deeds| goals.preempt_answered("g1", true, now, deeds));
    let wanted = [tell("g3", Status::Accepted), Deed::Accepted { asker: 3, id: "g3".into() }, tell("g1", Status::Canceling)];
    assert_eq!(yes, wanted);
    assert_eq!(world.goals.result("g3").0, Status::Accepted);
    let ended = world.does(|goals, now, deeds| assert!(goals.done("g1", Data::new(), now, deeds)));
    let ask = Deed::AskGoal { id: "g3".into(), goal: data(json!({"target": "g3"})) };
    assert_eq!(ended, [tell("g1", Status::Canceled), ask]);
    let runs = world.does(|goals, now, deeds| goals.goal_answered("g3", Verdict::Yes, now, deeds));
    assert_eq!(runs, [tell("g3", Status::Running)]);
}

#[test]
fn a_goal_that_waits_can_be_cancelled() {
    let mut world = World::new();
    world.run(1, "g1");
    world.send(2, "g2");
    world.does(|goals, now, deeds| goals.preempt_answered("g1", true, now, deeds));
    let cancelled = world.does(|goals, now, deeds| goals.cancel(3, "g2", now, deeds));
    assert_eq!(cancelled, [tell("g2", Status::Canceled), Deed::Cancelled { asker: 3, done: true }]);
    let ended = world.does(|goals, now, deeds| assert!(goals.done("g1", Data::new(), now, deeds)));
    assert_eq!(ended, [tell("g1", Status::Canceled)]);
}

#[test]
fn the_first_may_end_while_the_component_thinks_about_the_second() {
    let mut world = World::new();
    world.run(1, "g1");
    world.send(2, "g2");
    let ended = world.does(|goals, now, deeds| assert!(goals.done("g1", Data::new(), now, deeds)));
    assert_eq!(ended[0], tell("g1", Status::Succeeded));
    assert!(matches!(&ended[1], Deed::AskGoal { id, .. } if id == "g2"));
    assert_eq!(world.does(|goals, now, deeds| goals.preempt_answered("g1", false, now, deeds)), []);
    let runs = world.does(|goals, now, deeds| goals.goal_answered("g2", Verdict::Yes, now, deeds));
    assert_eq!(runs[1], Deed::Accepted { asker: 2, id: "g2".into() });
}

#[test]
fn goals_of_a_component_that_is_gone_are_aborted() {
    let mut world = World::new();
    world.run(1, "g1");
    world.send(2, "g2");
    let gone = world.does(|goals, now, deeds| goals.gone(now, deeds));
    assert!(matches!(&gone[0], Deed::Refused { asker: 2, .. }));
    assert_eq!(gone[1], tell("g1", Status::Aborted));
    assert_eq!(world.goals.result("g1").0, Status::Aborted);
}

#[test]
fn a_goal_does_not_run_for_ever_and_is_not_remembered_for_ever() {
    let mut world = World::new();
    world.run(1, "g1");
    assert_eq!(world.pass(60), [tell("g1", Status::Aborted)]);
    assert_eq!(world.goals.result("g1").0, Status::Aborted);
    world.pass(600);
    assert_eq!(world.goals.result("g1").0, Status::Unknown);
    assert!(world.goals.is_idle());

    for n in 0..ENDED_MAX + 5 {
        let id = format!("n{n}");
        world.run(1, &id);
        world.does(|goals, now, deeds| assert!(goals.done(&id, Data::new(), now, deeds)));
    }
    assert_eq!(world.goals.result("n4").0, Status::Unknown);
    assert_eq!(world.goals.result("n5").0, Status::Succeeded);
}

#[test]
fn large_results_are_remembered_less_long() {
    let mut world = World::new();
    let large = data(json!({"x": "y".repeat(ENDED_BYTES_MAX / 2)}));
    for id in ["g1", "g2", "g3"] {
        world.run(1, id);
        world.does(|goals, now, deeds| assert!(goals.done(id, large.clone(), now, deeds)));
    }
    assert_eq!(world.goals.result("g2").0, Status::Unknown);
    assert_eq!(world.goals.result("g3").0, Status::Succeeded);
}
