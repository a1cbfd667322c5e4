//! The rules of texts that are values of the configuration.

use super::keys::Words;

/// The name of a component.
pub(super) const COMPONENT: Words =
    Words { example: "ops", check: |name| crate::rembus::name::check(name).map_err(str::to_owned) };
/// The name of a tenant: what stands behind the first dot of its components' names.
pub(super) const TENANT: Words = Words {
    example: "acme",
    check: |name| match crate::rembus::name::check(name) {
        Err(why) => Err(why.to_owned()),
        Ok(()) if name != "." && name.starts_with('.') => Err("begins with a dot: `acme` is the tenant of `gw1.acme`".into()),
        Ok(()) => Ok(()),
    },
};
/// The beginning of a method's name.
pub(super) const METHOD: Words = Words { example: "query_", check: |_| Ok(()) };
pub(super) const MODE: Words = Words {
    example: "0660",
    check: |text| match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(()),
        _ => Err("is no file mode: up to three digits from 0 to 7".into()),
    },
};
pub(super) const GROUP: Words = Words {
    example: "dialout",
    check: |text| if text.contains([':', '/', ' ']) { Err("is no name of a group".into()) } else { Ok(()) },
};
pub(super) const UID: Words = Words {
    example: "1000",
    check: |text| text.parse::<u32>().map(drop).map_err(|_| "is no number of a user; `id -u NAME` says it".into()),
};
/// Where a page comes from, as browsers say it.
pub(super) const ORIGIN: Words = Words { example: "https://dash.example", check: crate::door::check_origin };
/// Any text is a topic of the bus.
pub(super) const BUS_TOPIC: Words = Words { example: "sensors/#", check: |_| Ok(()) };
