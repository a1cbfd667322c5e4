//! What a change of users and rules means for links that are open. Rights follow the policy by themselves ([`crate::access`]).

use super::core::Router;
use super::event::{CloseReason, Effect, LinkId, Now};
use super::fairness::Ended;

impl Router {
    /// A user was removed: connections, sessions and retained messages of that name end. Says how many.
    pub(super) fn user_removed(&mut self, now: Now, name: &str, effects: &mut Vec<Effect>) -> Ended {
        self.now = now;
        let ended = self.end_user(name, effects);
        let Ended { connections, sessions, subscriptions, queued, retained } = ended;
        log::info!(user = name, connections, sessions, subscriptions, queued, retained; "user removed");
        ended
    }

    /// Closes the links of users who were removed or disabled, or have another password.
    pub(super) fn policy_changed(&mut self, effects: &mut Vec<Effect>) {
        let ended = self.links.iter().filter(|(_, known)| !known.info.identity.is_valid());
        let ended: Vec<LinkId> = ended.map(|(link, _)| *link).collect();
        for link in ended {
            self.close(link, CloseReason::NotAuthorized, effects);
        }
    }
}
