//! Limits of `src/access`.

use super::{Bound, Exempt, Unit};

pub(super) const BOUNDS: &[Bound] = &[
    Bound {
        what: "Addresses with wrong passwords",
        fields: &["throttle.rs::Throttle.addresses"],
        unit: Unit::Entries("an address each"),
        limit: "4,096 (`ADDRESSES_MAX`)",
        at_limit: "the oldest is forgotten",
        metric: None,
        test: Some("a_flood_of_addresses_does_not_fill_memory"),
    },
    Bound {
        what: "Passwords that were right",
        fields: &["password.rs::Remembered.tags"],
        unit: Unit::Entries("a tag each"),
        limit: "a constant",
        at_limit: "the oldest is forgotten",
        metric: None,
        test: None,
    },
    Bound {
        what: "Keys of components",
        fields: &["keys/mod.rs::KeyRing.entries"],
        unit: Unit::Entries("16 KiB each at most"),
        limit: "100,000 (`KEYS_MAX`)",
        at_limit: "refused",
        metric: None,
        test: None,
    },
    Bound {
        what: "Rights found for recent topics",
        fields: &["rights.rs::Compiled.recent"],
        unit: Unit::Entries("128 bytes (`REMEMBERED_BYTES_MAX`)"),
        limit: "128 for each user (`REMEMBERED_MAX`)",
        at_limit: "all are forgotten",
        metric: None,
        test: None,
    },
    Bound {
        what: "Connections of each user",
        fields: &["seats.rs::Seats.0", "seats.rs::Taken.named"],
        unit: Unit::Entries("a name each"),
        limit: "the user's connections",
        at_limit: "refused",
        metric: None,
        test: None,
    },
    Bound {
        what: "Logins that wait for their password to be computed",
        fields: &["turns.rs::Lines.by_block", "turns.rs::Lines.round"],
        unit: Unit::Entries("a login each"),
        limit: "128 an address block (`LINE_MAX`), 1,024 in all (`WAITING_MAX`); lines take turns, and a block under suspicion has 4 under way (`PENDING_MAX`)",
        at_limit: "the newest of the longest line is refused: try again",
        metric: None,
        test: Some("lines_are_bounded_and_a_newcomer_takes_the_place_of_the_newest_in_the_longest"),
    },
];

pub(super) const EXEMPT: &[Exempt] = &[
    Exempt {
        reason: "the policy, which administrators write; each list has its constant in `policy.rs`",
        fields: &["policy.rs::*", "policy/change.rs::*", "policy/rule.rs::*", "rights.rs::Compiled.rules"],
    },
    Exempt { reason: "a view of the policy for one answer", fields: &["admin.rs::*"] },
    Exempt { reason: "from the configuration", fields: &["login.rs::Settings.admins", "login.rs::Settings.tenants"] },
    Exempt { reason: "by reason or action, at most 128 words (`WORDS_MAX`)", fields: &["stats.rs::*"] },
];
