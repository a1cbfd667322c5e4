//! The gateway's own log lines.
//!
//! Started by systemd, they go to the journal with each key-value as a field of its own, so that a technician filters with
//! `journalctl CLIENT_ID=dev1`. Otherwise they are lines on standard error:
//!
//! ```text
//! 2026-11-21T09:10:11.123Z INFO  listening door=mqtt addr=127.0.0.1:1883
//! ```
//!
//! Messages that matter to an operator have a `MESSAGE_ID` in the journal, by which they are found and explained ([`events`]).
//!
//! The text from the message on is the same in both, and scripts of users read it. Libraries may speak from `warn` on; more of
//! their words would drown ours. `REMBUS_GATEWAY_LOG` sets our level. A place that speaks too often is cut short (`rate.rs`), and
//! text of others cannot steer the terminal that shows it ([`crate::visible`]).

mod events;
mod rate;

use crate::clock::{SharedClock, SystemClock, Wall};
use crate::visible;
use log::kv::{Key, Source, Value, VisitSource};
use log::{LevelFilter, Log, Metadata, Record};
use rate::Rate;
pub use rate::lines_kept_back;
use std::fmt::Write as _;
use std::io::Write as _;
use systemd_journal_logger::{JournalLog, connected_to_journal};

/// Sends log lines to the journal or to standard error from now on. Once a process; later calls change nothing.
pub fn install() {
    let level = std::env::var("REMBUS_GATEWAY_LOG").ok().and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::Info);
    let journal = if connected_to_journal() { JournalLog::new().ok() } else { None };
    let logger = Logger { level, journal, clock: SystemClock::shared(), rate: Rate::default() };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(level);
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let what = panic.payload_as_str().unwrap_or("panic");
            log::error!(place; "a broken invariant, please report it: {what}");
        }));
    }
}

struct Logger {
    level: LevelFilter,
    /// Without it: standard error.
    journal: Option<JournalLog>,
    clock: SharedClock,
    rate: Rate,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target().split("::").next() == Some("rembus_gateway");
        let level = if ours { self.level } else { self.level.min(LevelFilter::Warn) };
        metadata.level() <= level
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let Some(kept_back) = self.rate.may_say(record, self.clock.mono()) else { return };
        let mut text = Text::of(record);
        if kept_back > 0 {
            write!(text.0, " lines_kept_back={kept_back}").unwrap_or_default();
        }
        match &self.journal {
            Some(journal) => journal.log(
                &Record::builder()
                    .metadata(record.metadata().clone())
                    .args(format_args!("{text}"))
                    .key_values(&Fields { said: record.key_values(), event: events::id_of(&text.0) })
                    .module_path(record.module_path())
                    .file(record.file())
                    .line(record.line())
                    .build(),
            ),
            None => {
                let line = line(self.clock.wall(), record.level(), &text);
                // One write, so that lines of several threads do not mix. Nobody could be told about a failure.
                drop(std::io::stderr().lock().write_all(line.as_bytes()));
            }
        }
    }

    fn flush(&self) {}
}

/// What the journal gets beside the text.
struct Fields<'a> {
    said: &'a dyn Source,
    event: Option<&'static str>,
}

impl Source for Fields<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), log::kv::Error> {
        if let Some(id) = self.event {
            visitor.visit_pair(Key::from("message_id"), Value::from(id))?;
        }
        self.said.visit(&mut Safe(visitor))
    }
}

/// Values as fields of the journal, whose readers print them.
struct Safe<'a, 'kvs>(&'a mut dyn VisitSource<'kvs>);

impl<'kvs> VisitSource<'kvs> for Safe<'_, 'kvs> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        let text = value.to_string();
        match visible::line(&text) {
            std::borrow::Cow::Borrowed(_) => self.0.visit_pair(key, value),
            // A value cannot be made here that lives as long as those of the record do.
            std::borrow::Cow::Owned(_) => self.0.visit_pair(key, Value::from("(not printable; see the message)")),
        }
    }
}

fn line(at: Wall, level: log::Level, text: &Text) -> String {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(at.0);
    format!("{} {level:<5} {text}\n", humantime::format_rfc3339_millis(at))
}

/// A message with its key-values behind it, on one line whatever a peer put into them.
struct Text(String);

impl Text {
    fn of(record: &Record<'_>) -> Self {
        let mut text = Self(String::new());
        text.put(&record.args().to_string());
        // The only possible error would be ours, and we have none.
        record.key_values().visit(&mut text).unwrap_or_default();
        text
    }

    fn put(&mut self, text: &str) {
        self.0.push_str(&visible::line(text));
    }
}

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'kvs> VisitSource<'kvs> for Text {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        let value = value.to_string();
        write!(self.0, " {key}=")?;
        let plain = !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || visible::is_hazard(c) || c == '"');
        if plain {
            self.0.push_str(&value)
        } else {
            // Quotes and what steers a terminal are escaped.
            self.put(&format!("{value:?}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Level;

    fn logger(level: LevelFilter) -> Logger {
        Logger { level, journal: None, clock: SystemClock::shared(), rate: Rate::default() }
    }

    fn text(args: std::fmt::Arguments<'_>, pairs: &[(&str, &str)]) -> String {
        Text::of(&Record::builder().args(args).key_values(&pairs).build()).0
    }

    #[test]
    fn key_values_follow_the_message_as_scripts_expect_them() {
        assert_eq!(
            text(format_args!("listening"), &[("door", "mqtt"), ("addr", "127.0.0.1:1883")]),
            "listening door=mqtt addr=127.0.0.1:1883"
        );
        assert_eq!(text(format_args!("ready"), &[]), "ready");
    }

    #[test]
    fn an_event_brings_its_id_as_a_field_beside_the_others() {
        let said: &[(&str, &str)] = &[("reason", "too slow")];
        let id = events::id_of("ready");
        for event in [id, None] {
            let fields = Fields { said: &said, event };
            assert_eq!(fields.get(Key::from("message_id")).map(|id| id.to_string()), event.map(str::to_owned));
            assert_eq!(fields.get(Key::from("reason")).unwrap().to_string(), "too slow");
        }
    }

    #[test]
    fn what_a_peer_sends_cannot_forge_a_line() {
        assert_eq!(
            text(format_args!("bad\nname"), &[("client_id", "x\nready"), ("reason", "too slow"), ("empty", "")]),
            "bad\\nname client_id=\"x\\nready\" reason=\"too slow\" empty=\"\""
        );
    }

    #[test]
    fn what_a_peer_sends_cannot_steer_the_terminal_that_shows_the_log() {
        let attack = "a\u{1b}[2J\u{9b}31m\u{202e}b\r";
        let text = text(format_args!("{attack}"), &[("client_id", attack), ("reason", &format!("with spaces {attack}"))]);
        assert!(!text.chars().any(visible::is_hazard), "{text:?}");

        let said: &[(&str, &str)] = &[("client_id", attack), ("user", "dev1")];
        let fields = Fields { said: &said, event: None };
        assert!(!fields.get(Key::from("client_id")).unwrap().to_string().chars().any(visible::is_hazard));
        assert_eq!(fields.get(Key::from("user")).unwrap().to_string(), "dev1");
    }

    #[test]
    fn a_line_begins_with_time_and_level() {
        let text = Text("ready".into());
        assert_eq!(line(Wall(1_500_000_000), Level::Info, &text), "1970-01-01T00:00:01.500Z INFO  ready\n");
        assert_eq!(line(Wall(0), Level::Error, &text), "1970-01-01T00:00:00.000Z ERROR ready\n");
    }

    #[test]
    fn libraries_speak_only_when_something_is_wrong() {
        let enabled =
            |level, target| logger(LevelFilter::Debug).enabled(&Metadata::builder().level(level).target(target).build());
        assert!(enabled(Level::Debug, "rembus_gateway::mqtt"));
        assert!(!enabled(Level::Trace, "rembus_gateway::mqtt"));
        assert!(enabled(Level::Warn, "hyper::proto"));
        assert!(!enabled(Level::Info, "hyper::proto"));
        assert!(!enabled(Level::Debug, "rembus_gateway_impostor"));
    }
}
