//! Whose part of the gateway something takes.
//!
//! Every session, retained message and call belongs to an *account*: that of the authenticated user, or, for clients that did
//! not say who they are, that of the address they come from (an IPv4 address, or the /64 of an IPv6 address, which is what one
//! household has). Two things follow from an account: the limits by user of `[limits]`, and who gives way when a total is
//! reached.
//!
//! A total is shared by *weight*: each user counts as one; all addresses together count as much as all users together, so that
//! strangers cannot take more than half from those who log in however many addresses they have, and a site without users can
//! use everything. The heaviest gives way to whoever is lighter, even after it got what it asks for. So nobody who uses less
//! than an equal part of a total loses anything to others.
//!
//! Plain bookkeeping: nothing here ends a session or drops a message, see `fairness.rs`.

use super::session::SessionKey;
use ahash::AHashMap;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

mod ranking;

pub(super) use ranking::Ranking;

/// Whom an account is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// Parts of the gateway. They have no limit of their own; in totals they weigh like a user.
    Gateway,
    User(Arc<str>),
    /// Nobody said who they are. `None` for what an earlier release stored, which did not write addresses.
    Address(Option<IpAddr>),
}

impl Owner {
    pub(super) fn of(user: Option<&Arc<str>>, peer: IpAddr) -> Self {
        match user {
            Some(user) => Self::User(Arc::clone(user)),
            None => Self::Address(Some(block(peer))),
        }
    }

    /// As it is stored: `u:NAME`, `a:ADDRESS`, `g`.
    pub(super) fn to_text(&self) -> Option<String> {
        match self {
            Self::Gateway => Some("g".into()),
            Self::User(name) => Some(format!("u:{name}")),
            Self::Address(address) => address.map(|address| format!("a:{address}")),
        }
    }

    /// What is stored in a form that this release does not know is nobody's.
    pub(super) fn from_text(text: Option<&str>) -> Self {
        match text {
            Some("g") => Self::Gateway,
            Some(text) => match (text.strip_prefix("u:"), text.strip_prefix("a:")) {
                (Some(name), _) => Self::User(name.into()),
                (None, Some(address)) => Self::Address(address.parse().ok()),
                (None, None) => Self::Address(None),
            },
            None => Self::Address(None),
        }
    }

    pub(super) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => *address,
            Self::Gateway | Self::User(_) => None,
        }
    }

    fn is_address(&self) -> bool {
        matches!(self, Self::Address(_))
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gateway => f.write_str("the gateway"),
            Self::User(name) => f.write_str(name),
            Self::Address(Some(address)) => write!(f, "@anonymous at {address}"),
            Self::Address(None) => f.write_str("@anonymous"),
        }
    }
}

/// An IPv4 address, or the /64 of an IPv6 address.
fn block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

/// What is counted by account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource {
    /// Named ones, offline or not.
    Sessions,
    /// Filters, exclusions and exposed methods.
    Registrations,
    /// Bytes in the queues of sessions.
    Queued,
    RetainedMessages,
    RetainedBytes,
    /// Calls under way, by caller.
    Calls,
    /// Bytes of wills that are not published.
    Wills,
}

impl Resource {
    const COUNT: usize = 7;

    /// As metrics name them.
    pub(super) const NAMED: [(&'static str, Self); Self::COUNT] = [
        ("sessions", Self::Sessions),
        ("subscriptions", Self::Registrations),
        ("queued_bytes", Self::Queued),
        ("retained_messages", Self::RetainedMessages),
        ("retained_bytes", Self::RetainedBytes),
        ("calls", Self::Calls),
        ("will_bytes", Self::Wills),
    ];

    /// Smaller parts are not ranked, which keeps what happens for each message cheap.
    const FLOORS: [usize; Self::COUNT] = [1, 1, 1024, 1, 1, 1, 1];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct AccountKey(usize);

impl AccountKey {
    /// For those who only tell one from another.
    pub(super) fn number(self) -> usize {
        self.0
    }
}

#[derive(Debug)]
struct Account {
    owner: Owner,
    /// Sessions, retained messages and calls that are counted here; without any it ends.
    references: usize,
    used: [usize; Resource::COUNT],
    /// Named sessions: offline ones first, and of these the one that was left first.
    members: BTreeSet<(Presence, u64, SessionKey)>,
    /// Sessions by what waits for them.
    queues: Ranking<SessionKey>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Presence {
    Offline,
    Online,
}

/// All accounts of one resource.
#[derive(Debug)]
struct Total {
    used: usize,
    /// Of it, by accounts of addresses.
    by_addresses: usize,
    /// Accounts of users that use any.
    users_active: usize,
    users: Ranking<AccountKey>,
    addresses: Ranking<AccountKey>,
}

#[derive(Debug)]
pub(super) struct Accounts {
    slots: slab::Slab<Account>,
    keys: AHashMap<Owner, AccountKey>,
    totals: [Total; Resource::COUNT],
}

impl Default for Accounts {
    fn default() -> Self {
        let total = |floor| Total {
            used: 0,
            by_addresses: 0,
            users_active: 0,
            users: Ranking::new(floor),
            addresses: Ranking::new(floor),
        };
        Self { slots: slab::Slab::new(), keys: AHashMap::new(), totals: Resource::FLOORS.map(total) }
    }
}

impl Accounts {
    /// The account of `owner`, which stays until it was [released](Self::release) as often as it was held.
    pub(super) fn hold(&mut self, owner: Owner) -> AccountKey {
        if let Some(key) = self.keys.get(&owner).copied() {
            self.hold_again(key);
            return key;
        }
        let account = Account {
            owner: owner.clone(),
            references: 1,
            used: [0; Resource::COUNT],
            members: BTreeSet::new(),
            queues: Ranking::new(Resource::FLOORS[Resource::Queued as usize]),
        };
        let key = AccountKey(self.slots.insert(account));
        self.keys.insert(owner, key);
        key
    }

    pub(super) fn hold_again(&mut self, key: AccountKey) {
        self.slots[key.0].references += 1;
    }

    pub(super) fn release(&mut self, key: AccountKey) {
        let account = &mut self.slots[key.0];
        account.references -= 1;
        if account.references == 0 {
            debug_assert_eq!(account.used, [0; Resource::COUNT], "what nobody holds uses nothing");
            let account = self.slots.remove(key.0);
            self.keys.remove(&account.owner);
        }
    }

    pub(super) fn key(&self, owner: &Owner) -> Option<AccountKey> {
        self.keys.get(owner).copied()
    }

    pub(super) fn owner(&self, key: AccountKey) -> &Owner {
        &self.slots[key.0].owner
    }

    pub(super) fn used(&self, key: AccountKey, resource: Resource) -> usize {
        self.slots[key.0].used[resource as usize]
    }

    pub(super) fn total(&self, resource: Resource) -> usize {
        self.totals[resource as usize].used
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The most that one account uses.
    pub(super) fn most(&self, resource: Resource) -> usize {
        let total = &self.totals[resource as usize];
        let of = |ranking: &Ranking<AccountKey>| ranking.top().map(|key| self.used(key, resource)).max().unwrap_or(0);
        of(&total.users).max(of(&total.addresses))
    }

    pub(super) fn add(&mut self, key: AccountKey, resource: Resource, amount: usize) {
        let before = self.used(key, resource);
        self.moved(key, resource, before + amount);
    }

    pub(super) fn sub(&mut self, key: AccountKey, resource: Resource, amount: usize) {
        let before = self.used(key, resource);
        self.moved(key, resource, before - amount);
    }

    fn moved(&mut self, key: AccountKey, resource: Resource, after: usize) {
        let account = &mut self.slots[key.0];
        let before = std::mem::replace(&mut account.used[resource as usize], after);
        let total = &mut self.totals[resource as usize];
        total.used = total.used - before + after;
        if account.owner.is_address() {
            total.by_addresses = total.by_addresses - before + after;
            total.addresses.moved(key, before, after);
        } else {
            total.users_active =
                total.users_active + usize::from(before == 0 && after > 0) - usize::from(before > 0 && after == 0);
            total.users.moved(key, before, after);
        }
    }

    /// What waits for a session has become more or less.
    pub(super) fn queue_moved(&mut self, key: AccountKey, session: SessionKey, before: usize, after: usize) {
        if before != after {
            self.slots[key.0].queues.moved(session, before, after);
            let used = self.used(key, Resource::Queued);
            self.moved(key, Resource::Queued, used - before + after);
        }
    }

    pub(super) fn join(&mut self, key: AccountKey, presence: Presence, order: u64, session: SessionKey) {
        self.slots[key.0].members.insert((presence, order, session));
    }

    pub(super) fn leave(&mut self, key: AccountKey, presence: Presence, order: u64, session: SessionKey) {
        self.slots[key.0].members.remove(&(presence, order, session));
    }

    /// The session that was left first of those that nobody is connected to.
    pub(super) fn oldest_offline(&self, key: AccountKey) -> Option<SessionKey> {
        let (presence, _, session) = self.slots[key.0].members.first()?;
        (*presence == Presence::Offline).then_some(*session)
    }

    /// Named sessions, offline ones first.
    pub(super) fn members(&self, key: AccountKey) -> impl DoubleEndedIterator<Item = (Presence, SessionKey)> + '_ {
        self.slots[key.0].members.iter().map(|(presence, _, session)| (*presence, *session))
    }

    /// Sessions with about the most that waits; those with next to nothing are not told.
    pub(super) fn longest_queues(&self, key: AccountKey) -> impl Iterator<Item = SessionKey> + '_ {
        self.slots[key.0].queues.top()
    }

    /// Who has to give way so that `requester` gets `amount` more of a total that is used up: the heaviest, if it is heavier than
    /// the requester would be then. Nobody if the requester itself is.
    pub(super) fn heavier(&self, resource: Resource, requester: &Owner, amount: usize) -> Option<AccountKey> {
        let total = &self.totals[resource as usize];
        let own = self.key(requester);
        let mine = own.map_or(0, |key| self.used(key, resource)) + amount;
        let is_new = own.is_none_or(|key| self.used(key, resource) == 0);
        let users = (total.users_active + usize::from(is_new && !requester.is_address())).max(1);
        let user = self.heaviest(&total.users, resource, own, false);
        let address = self.heaviest(&total.addresses, resource, own, true);
        let weight = |key: AccountKey| self.used(key, resource);
        if requester.is_address() {
            // All addresses together weigh as much as all users together.
            let together = total.by_addresses + amount;
            match user {
                Some(user) if weight(user).saturating_mul(users) > together => Some(user),
                _ => address.filter(|address| weight(*address) > mine),
            }
        } else {
            let user = user.filter(|user| weight(*user) > mine);
            let heaviest = user.map_or(mine, weight);
            if total.by_addresses > heaviest.saturating_mul(users) { address } else { user }
        }
    }

    /// The heaviest but `own`.
    fn heaviest(
        &self,
        ranking: &Ranking<AccountKey>,
        resource: Resource,
        own: Option<AccountKey>,
        addresses: bool,
    ) -> Option<AccountKey> {
        let other = |key: &AccountKey| Some(*key) != own;
        let by_weight = |key: &AccountKey| self.used(*key, resource);
        let ranked = ranking.classes().find(|class| class.iter().any(other));
        match ranked {
            Some(class) => class.iter().copied().filter(other).max_by_key(by_weight),
            // All of them are below the floor.
            None => {
                let is_one = |account: &Account| account.owner.is_address() == addresses && account.used[resource as usize] > 0;
                let all = self.slots.iter().filter(|(_, account)| is_one(account)).map(|(key, _)| AccountKey(key));
                all.filter(other).max_by_key(by_weight)
            }
        }
    }
}

#[cfg(test)]
mod tests;
