//! Limits of `src/commlib`.

use super::{Bound, Exempt, Unit};

pub(super) const BOUNDS: &[Bound] = &[
    Bound {
        what: "Actions and goals that are known",
        fields: &[
            "actions.rs::Actions.known",
            "actions.rs::Actions.askers",
            "goals.rs::Goals.ended",
            "goals.rs::Goal.cancellers",
        ],
        unit: Unit::Entries("goals of up to 4 MiB together for each action (`ENDED_BYTES_MAX`)"),
        limit: "1,000 actions (`ACTIONS_MAX`), 64 ended goals each (`ENDED_MAX`)",
        at_limit: "new actions are refused; the oldest result is forgotten",
        metric: None,
        test: None,
    },
    Bound {
        what: "Waits for actions and topics",
        fields: &["actions.rs::Actions.waits", "helpers.rs::Helpers.waits"],
        unit: Unit::Entries("a call each"),
        limit: "1,024 (`WAITS_MAX`)",
        at_limit: "refused",
        metric: None,
        test: None,
    },
    Bound {
        what: "Topics seen and watched by the helper services",
        fields: &["helpers.rs::Helpers.seen", "helpers.rs::Helpers.watched", "helpers.rs::Helpers.order"],
        unit: Unit::Entries("a topic each"),
        limit: "10,000 seen (`SEEN_MAX`), 1,000 watched (`WATCHED_MAX`)",
        at_limit: "the oldest is forgotten",
        metric: None,
        test: None,
    },
    Bound {
        what: "Calls to commlib services under way",
        fields: &[
            "asking.rs::Asking.asked",
            "asking.rs::Asking.pending",
            "asking.rs::Asking.deadlines",
            "mod.rs::Commlib.called",
            "slots.rs::Slots.by_caller",
        ],
        unit: Unit::Entries("a call each"),
        limit: "`[commlib] in_flight`, of which one user takes up to three quarters of what others leave",
        at_limit: "refused",
        metric: None,
        test: Some("one_caller_leaves_places_for_others_and_gets_them_back"),
    },
    Bound {
        what: "Calls of commlib nodes under way",
        fields: &["serving.rs::Serving.deadlines"],
        unit: Unit::Entries("a call each"),
        limit: "`[commlib] in_flight`, of which one user takes up to three quarters of what others leave",
        at_limit: "refused",
        metric: None,
        test: Some("one_caller_leaves_places_for_others_and_gets_them_back"),
    },
    Bound {
        what: "Nodes",
        fields: &["nodes.rs::Nodes.nodes"],
        unit: Unit::Entries("a name of up to 512 bytes"),
        limit: "10,000 (`NODES_MAX`)",
        at_limit: "further nodes are not listed",
        metric: None,
        test: None,
    },
];

pub(super) const EXEMPT: &[Exempt] = &[
    Exempt { reason: "by outcome, which are words of the code", fields: &["figures.rs::*"] },
    Exempt { reason: "from the configuration", fields: &["settings.rs::*"] },
    Exempt { reason: "the answers to one message", fields: &["voice.rs::Voice.out"] },
];
