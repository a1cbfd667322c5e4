//! Filters of three dialects and topics, deep, long and full of wildcards: the tree finds what each filter finds alone, within the
//! bound of steps, and nothing is left of filters that are gone.
#![no_main]

use arbitrary::Arbitrary;

/// Parts of names that meet; a part repeated is how a name gets deep.
#[derive(Debug, Arbitrary)]
enum Part {
    A,
    B,
    Empty,
    Plus,
    Hash,
    Star,
    Stars,
    Glob,
    TwoGlobs,
    Beside,
    At,
    Dollar,
    Word(String),
    Again(u8),
}

#[derive(Debug, Arbitrary)]
struct Case {
    filters: Vec<(u8, Vec<Part>)>,
    topics: Vec<Vec<Part>>,
}

fn text(parts: &[Part]) -> String {
    let mut levels: Vec<&str> = Vec::new();
    for part in parts {
        match part {
            Part::A => levels.push("a"),
            Part::B => levels.push("b"),
            Part::Empty => levels.push(""),
            Part::Plus => levels.push("+"),
            Part::Hash => levels.push("#"),
            Part::Star => levels.push("*"),
            Part::Stars => levels.push("**"),
            Part::Glob => levels.push("a*"),
            Part::TwoGlobs => levels.push("*a*b"),
            Part::Beside => levels.push("a**"),
            Part::At => levels.push("@a"),
            Part::Dollar => levels.push("$a"),
            Part::Word(word) => levels.push(word),
            Part::Again(times) => {
                let last = levels.last().copied().unwrap_or("aaaaaaa");
                levels.extend(std::iter::repeat_n(last, usize::from(*times % 140)));
            }
        }
    }
    levels.join("/")
}

libfuzzer_sys::fuzz_target!(|case: Case| {
    let filters: Vec<(u8, String)> = case.filters.iter().take(64).map(|(dialect, parts)| (*dialect, text(parts))).collect();
    let filters: Vec<(u8, &str)> = filters.iter().map(|(dialect, text)| (*dialect, text.as_str())).collect();
    let topics: Vec<String> = case.topics.iter().take(16).map(|parts| text(parts)).collect();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    rembus_gateway::router::fuzzing::names(&filters, &topics);
});
