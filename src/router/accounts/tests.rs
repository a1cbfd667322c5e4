use super::Resource::Queued;
use super::*;
use proptest::prelude::*;

fn user(name: &str) -> Owner {
    Owner::User(name.into())
}

fn address(last: u8) -> Owner {
    Owner::Address(Some([192, 0, 2, last].into()))
}

/// Accounts with so much in their queues.
fn accounts(parts: &[(Owner, usize)]) -> Accounts {
    let mut accounts = Accounts::default();
    for (owner, used) in parts {
        let key = accounts.hold(owner.clone());
        accounts.add(key, Queued, *used);
    }
    accounts
}

fn heavier(parts: &[(Owner, usize)], requester: &Owner, amount: usize) -> Option<Owner> {
    let accounts = accounts(parts);
    accounts.heavier(Queued, requester, amount).map(|key| accounts.owner(key).clone())
}

#[test]
fn the_heaviest_gives_way_and_never_to_somebody_heavier() {
    let parts = [(user("a"), 50_000), (user("b"), 10_000), (user("c"), 49_999)];
    assert_eq!(heavier(&parts, &user("b"), 1_000), Some(user("a")));
    assert_eq!(heavier(&parts, &user("new"), 1_000), Some(user("a")));
    assert_eq!(heavier(&parts, &user("a"), 1), None, "it is the heaviest itself");
    assert_eq!(heavier(&parts, &user("b"), 40_000), None, "it would be as heavy");
}

#[test]
fn those_below_the_floor_are_compared_too() {
    assert_eq!(heavier(&[(user("a"), 500), (user("b"), 100)], &user("b"), 10), Some(user("a")));
}

#[test]
fn all_addresses_together_weigh_as_much_as_all_users_together() {
    // Two users of 10 KiB each, and fifty addresses with 1 KiB each: 50 against 20.
    let mut parts = vec![(user("a"), 10_240), (user("b"), 10_240)];
    parts.extend((0..50).map(|last| (address(last), 1_024)));
    parts.push((address(99), 2_048));
    assert_eq!(heavier(&parts, &user("a"), 10), Some(address(99)));
    assert_eq!(heavier(&parts, &address(1), 10), Some(address(99)), "and among themselves the heaviest gives way");
    // Fifteen addresses: 15 against 20, so it is the users' turn.
    let mut parts = vec![(user("a"), 10_240), (user("b"), 10_239)];
    parts.extend((0..15).map(|last| (address(last), 1_024)));
    assert_eq!(heavier(&parts, &address(1), 10), Some(user("a")));
}

#[test]
fn addresses_of_one_household_are_one_account() {
    let of = |text: &str| Owner::of(None, text.parse().unwrap());
    assert_eq!(of("2001:db8::1"), of("2001:db8::ffff"));
    assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    assert_eq!(of("::ffff:192.0.2.1"), address(1));
    assert_eq!(Owner::of(Some(&"dev".into()), [192, 0, 2, 1].into()), user("dev"));
}

#[test]
fn owners_are_stored_and_found_again() {
    for owner in [Owner::Gateway, user("dev"), user("a:b"), address(1), Owner::of(None, "2001:db8::1".parse().unwrap())] {
        assert_eq!(Owner::from_text(owner.to_text().as_deref()), owner);
    }
    assert_eq!(Owner::from_text(None), Owner::Address(None));
    assert_eq!(Owner::from_text(Some("x:later")), Owner::Address(None));
}

#[test]
fn nothing_is_left_of_an_account_that_nobody_holds() {
    let mut accounts = Accounts::default();
    let key = accounts.hold(user("a"));
    accounts.add(key, Queued, 5_000);
    accounts.hold_again(key);
    accounts.sub(key, Queued, 5_000);
    accounts.release(key);
    assert_eq!(accounts.len(), 1);
    accounts.release(key);
    assert_eq!((accounts.len(), accounts.keys.len(), accounts.total(Queued)), (0, 0, 0));
    assert_eq!(accounts.totals[Queued as usize].users.classes().count(), 0);
}

fn owners() -> impl Strategy<Value = Owner> {
    prop_oneof![(0..6u8).prop_map(|n| user(&n.to_string())), (0..6u8).prop_map(address), Just(Owner::Gateway)]
}

proptest! {
    /// A requester below its share always finds somebody to give way, and whoever gives way is above its own.
    #[test]
    fn who_is_below_its_share_is_served_and_who_gives_way_is_above_it(
        parts in proptest::collection::btree_map(0..13u8, 1..9_000usize, 1..13),
        requester in owners(),
        amount in 1..3_000usize,
    ) {
        let owner = |n: u8| match n { 0..6 => user(&n.to_string()), 6..12 => address(n - 6), _ => Owner::Gateway };
        let parts: Vec<_> = parts.into_iter().map(|(n, used)| (owner(n), used)).collect();
        let accounts = accounts(&parts);
        // One byte more than there is.
        let total = accounts.total(Queued) + amount - 1;
        let others = |addresses: bool| parts.iter().filter(|(owner, _)| owner.is_address() == addresses && *owner != requester).count();
        let count = |addresses: bool| others(addresses) + usize::from(requester.is_address() == addresses);
        // In halves, if there are both.
        let group = |addresses: bool| if count(!addresses) > 0 { total / 2 } else { total };
        let share = |owner: &Owner| group(owner.is_address()) / count(owner.is_address());
        let used = |owner: &Owner| accounts.key(owner).map_or(0, |key| accounts.used(key, Queued));
        match accounts.heavier(Queued, &requester, amount) {
            Some(heavy) => {
                let heavy = accounts.owner(heavy);
                prop_assert!(used(heavy) > share(heavy), "{heavy:?} has {} of {}", used(heavy), share(heavy));
            }
            None => prop_assert!(used(&requester) + amount > share(&requester), "{requester:?} has only {}", used(&requester)),
        }
    }
}
