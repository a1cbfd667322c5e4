//! Names of programs.

use super::frame::Code;

/// Longest name; the vendor's broker takes any.
pub(super) const LENGTH_MAX: usize = 255;
/// Stands between a program's name and that of one of its secondary connections.
pub(super) const SECONDARY: &str = "%%";

/// Checks the name that a newcomer gives itself. Names with a dot in front are the gateway's own; `/ + # * ?` and spaces have
/// meanings in methods, topics and masks.
pub(super) fn check(name: &str) -> Result<(), Code> {
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"/+#*?\"\\".contains(&byte);
    let fine = !name.is_empty() && name.len() <= LENGTH_MAX && !name.starts_with('.') && name.bytes().all(fits);
    let whole = !primary(name).is_empty();
    if fine && whole { Ok(()) } else { Err(Code::DATA) }
}

/// The program that a connection belongs to: itself, if it is no secondary.
pub(super) fn primary(name: &str) -> &str {
    name.split_once(SECONDARY).map_or(name, |(primary, _)| primary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_vendors_programs_give_themselves_are_taken() {
        for name in ["demo.alice", "cli.host-7.4711", "test.pi.12-1", "eva.core", "demo.cli%%0", "a:b@c_d"] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        assert_eq!((primary("demo.cli%%0"), primary("demo.cli")), ("demo.cli", "demo.cli"));
    }

    #[test]
    fn names_that_mean_something_else_or_nothing_are_not() {
        let long = "x".repeat(256);
        for name in ["", ".broker", ".gateway", "a/b", "a*", "?", "a b", "a\0b", "a\nb", "Küche", "%%0", &long] {
            assert_eq!(check(name), Err(Code::DATA), "{name:?}");
        }
    }
}
