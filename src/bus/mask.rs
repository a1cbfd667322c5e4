//! Broadcast masks: names in parts between dots, with `?` for one part and a last `*` for one or more (busrt.md 4).

/// Whether a broadcast to `mask` is meant for the program `name`.
pub(super) fn matches(mask: &str, name: &str) -> bool {
    let (mut mask, mut name) = (mask.split('.').peekable(), name.split('.'));
    loop {
        match (mask.next(), name.next()) {
            (None, None) => return true,
            // Elsewhere than at the end it is a part like any other.
            (Some("*"), Some(_)) if mask.peek().is_none() => return true,
            (Some("?"), Some(_)) => {}
            (Some(wanted), Some(part)) if wanted == part => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn masks_follow_the_rules_of_the_vendors_broker() {
        for (mask, yes, no) in [
            ("demo.*", &["demo.a", "demo.a.b"][..], &["demo", "other.a"][..]),
            ("*", &["demo", "demo.a"], &[]),
            ("?.bob", &["demo.bob"], &["bob", "a.b.bob"]),
            ("demo.bob", &["demo.bob"], &["demo.bob.x", "demo"]),
            ("demo.a*", &["demo.a*"], &["demo.ab"]),
            ("demo.?.x", &["demo.1.x"], &["demo.x", "demo.1.2.x"]),
        ] {
            for name in yes {
                assert!(matches(mask, name), "{mask} {name}");
            }
            for name in no {
                assert!(!matches(mask, name), "{mask} {name}");
            }
        }
    }

    /// The same as a pattern of text.
    fn model(mask: &str) -> regex::Regex {
        let parts: Vec<&str> = mask.split('.').collect();
        let (last, all) = (parts.len() - 1, parts.iter().enumerate());
        let part = |(at, part): (usize, &&str)| match *part {
            "*" if at == last => ".*".to_owned(),
            "?" => "[^.]*".to_owned(),
            part => regex::escape(part),
        };
        regex::Regex::new(&format!("(?s)^{}$", all.map(part).collect::<Vec<_>>().join("[.]"))).unwrap()
    }

    fn name(parts: &'static [&'static str]) -> impl Strategy<Value = String> {
        proptest::collection::vec(proptest::sample::select(parts), 1..6).prop_map(|parts| parts.join("."))
    }

    proptest! {
        #[test]
        fn masks_agree_with_a_naive_model(
            mask in name(&["a", "b", "", "?", "*", "a*", "?b"]),
            names in proptest::collection::vec(name(&["a", "b", "", "*", "a*", "?b"]), 1..20),
        ) {
            let model = model(&mask);
            for name in names {
                prop_assert_eq!(matches(&mask, &name), model.is_match(&name), "{} {}", mask, name);
            }
        }
    }
}
