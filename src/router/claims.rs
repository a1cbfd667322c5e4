//! Two components, one name: the older keeps it if it lives (`protocol/rembus.md` section 5.5).
//!
//! After a power or network cut the gateway still holds the dead socket while the component dials again, every two seconds.
//! So the older link is asked for a sign of life before the newcomer is refused.

use super::core::Router;
use super::event::{Attach, CloseReason, Effect, LinkId, Outbound, Refusal};
use super::timers::Timer;
use std::time::Duration;

/// How long a living peer may take to answer a probe.
const PROBE_MAX: Duration = Duration::from_secs(2);

impl Router {
    /// `newcomer` wants the name of `older`, which has a link.
    pub(super) fn claim(&mut self, newcomer: LinkId, attach: Attach, older: LinkId, effects: &mut Vec<Effect>) {
        let waiting = self.claims.entry(older).or_default();
        if waiting.is_empty() {
            effects.push(Effect::Send { link: older, out: Outbound::Probe });
            self.timers.set(self.now.mono.plus(PROBE_MAX), Timer::Probe(older));
        }
        // One claim for a link: a peer that repeats itself does not fill the list.
        if waiting.iter().all(|(known, _)| *known != newcomer) {
            waiting.push((newcomer, attach));
        }
    }

    /// The older peer lives.
    pub(super) fn refuse_claims(&mut self, older: LinkId, effects: &mut Vec<Effect>) {
        for (newcomer, _) in self.claims.remove(&older).unwrap_or_default() {
            effects.push(Effect::Send { link: newcomer, out: Outbound::Refused(Refusal::NameInUse) });
        }
    }

    /// The older peer has not been heard in time: closing its link gives the name to whoever waits for it.
    pub(super) fn probe_failed(&mut self, older: LinkId, effects: &mut Vec<Effect>) {
        if self.claims.contains_key(&older) {
            self.close(older, CloseReason::Silent, effects);
        }
    }
}
