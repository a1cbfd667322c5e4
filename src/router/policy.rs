//! What a change of users and rules means for links that are open. Rights follow the policy by themselves ([`crate::access`]).

use super::core::Router;
use super::event::{CloseReason, Effect, LinkId};

impl Router {
    /// Closes the links of users who were removed or disabled, or have another password.
    pub(super) fn policy_changed(&mut self, effects: &mut Vec<Effect>) {
        let ended = self.links.iter().filter(|(_, known)| !known.info.identity.is_valid());
        let ended: Vec<LinkId> = ended.map(|(link, _)| *link).collect();
        for link in ended {
            self.close(link, CloseReason::NotAuthorized, effects);
        }
    }
}
