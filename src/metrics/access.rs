//! What access counts.

use super::exposition::{Kind, Page};
use crate::access::Counts;

pub(super) fn render(page: &mut Page, counts: &Counts) {
    page.one("access_users", Kind::Gauge, "Users there are.", counts.users);
    page.one("access_keys", Kind::Gauge, "Components with a key.", counts.keys);
    page.one("access_rules", Kind::Gauge, "Rules there are.", counts.rules);
    page.one("access_logins_total", Kind::Counter, "Peers let in.", counts.logins);
    page.family("access_refused_total", Kind::Counter, "Peers not let in, by reason.").each("reason", &counts.refused);
    page.family("access_denied_total", Kind::Counter, "Requests that no rule allows, by action.")
        .each("action", &counts.denied);
    page.one(
        "access_withheld_total",
        Kind::Counter,
        "Copies not made because the subscriber may not have that topic.",
        counts.withheld,
    );
    page.one("access_suspects", Kind::Gauge, "Addresses with failed logins.", counts.throttled);
}
