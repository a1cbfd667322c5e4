//! What is left of a Rembus pattern from its first `**` or `a*` on: matched with places instead of nodes.

use super::lanes::{Lane, Lanes, Places};
use super::words::WordId;
use crate::router::pattern::{self, Segment};
use ahash::AHashMap;

/// A level of a tail.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Token {
    Literal(WordId),
    /// `*`
    Star,
    /// Contains `*` beside other text.
    Glob(Box<str>),
    /// `**`
    Any,
}

/// The levels of a topic, as the tree knows them.
#[derive(Debug)]
pub(super) struct Levels<'a> {
    topic: &'a str,
    levels: Vec<Level<'a>>,
    known: Option<Known>,
    places: Places,
    /// For globs.
    bytes: Option<Bytes>,
    candidates: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Level<'a> {
    pub(super) text: &'a str,
    /// Its number in the tree, if any filter has it.
    pub(super) word: Option<WordId>,
    /// Where it begins in the topic.
    start: usize,
}

/// Which levels each kind of token takes.
#[derive(Debug)]
struct Known {
    lanes: Lanes,
    words: AHashMap<WordId, Lane>,
    /// Of `*`.
    star: Lane,
    /// Of `**`: captured text never contains `@`.
    any: Lane,
}

/// A comparison of a level with a glob takes as long as so many words of a lane.
const COMPARISON: usize = 32;

impl<'a> Levels<'a> {
    pub(super) fn new(topic: &'a str, mut word: impl FnMut(&str) -> Option<WordId>) -> Self {
        let mut start = 0;
        let level = |text: &'a str| {
            let level = Level { text, word: word(text), start };
            start += text.len() + 1;
            level
        };
        let levels = topic.split('/').map(level).collect();
        Self { topic, levels, known: None, places: Places::default(), bytes: None, candidates: Vec::new() }
    }

    pub(super) fn get(&self, depth: usize) -> Option<Level<'a>> {
        self.levels.get(depth).copied()
    }

    /// Whether the levels from `depth` on are what the tail means. The second value says how many steps it took, in words of
    /// lanes.
    pub(super) fn matches(&mut self, depth: usize, tail: &[Token]) -> (bool, usize) {
        // Most patterns with a literal end are done here.
        if let Some(Token::Literal(word)) = tail.last()
            && self.levels.last().is_some_and(|level| level.word != Some(*word))
        {
            return (false, 1);
        }
        let known = self.known.get_or_insert_with(|| Known::of(&self.levels));
        let mut steps = 0;
        self.places.start(&known.lanes, depth);
        for token in tail {
            steps += known.lanes.width();
            let (lanes, places) = (&known.lanes, &mut self.places);
            match token {
                Token::Literal(word) => match known.words.get(word) {
                    Some(lane) => places.take_one(lanes, *lane),
                    None => return (false, steps),
                },
                Token::Star => places.take_one(lanes, known.star),
                Token::Any => places.take_many(lanes, known.any, true),
                Token::Glob(glob) => {
                    self.candidates.clear();
                    // Each star takes a byte at least.
                    let fits = |at: &usize| self.levels.get(*at).is_some_and(|level| level.text.len() >= glob.len());
                    self.candidates.extend(places.items(lanes).filter(fits));
                    places.clear();
                    let candidates = self.candidates.iter().filter_map(|at| Some((*at, self.levels.get(*at)?)));
                    steps += if self.candidates.len() * COMPARISON <= glob.len() * (self.topic.len() / 64 + 1) {
                        let hits = candidates.filter(|(_, level)| pattern::glob_matches(glob, level.text));
                        hits.for_each(|(at, _)| places.add(at + 1));
                        self.candidates.len() * COMPARISON
                    } else {
                        // All of them together.
                        let bytes = self.bytes.get_or_insert_with(|| Bytes::of(self.topic));
                        let cost = bytes.run(candidates.clone().map(|(_, level)| level.start), glob);
                        let hits = candidates.filter(|(_, level)| bytes.places.has(level.start + level.text.len()));
                        hits.for_each(|(at, _)| places.add(at + 1));
                        cost + self.candidates.len()
                    };
                }
            }
            if self.places.is_empty() {
                return (false, steps);
            }
        }
        (self.places.at_end(&known.lanes), steps)
    }
}

impl Known {
    fn of(levels: &[Level<'_>]) -> Self {
        let mut lanes = Lanes::new(levels.len());
        let (star, any) = (lanes.lane(), lanes.lane());
        let mut words = AHashMap::new();
        for (at, level) in levels.iter().enumerate() {
            if !level.text.contains('@') {
                lanes.takes(any, at);
                if !level.text.is_empty() {
                    lanes.takes(star, at);
                }
            }
            if let Some(word) = level.word {
                let lane = *words.entry(word).or_insert_with(|| lanes.lane());
                lanes.takes(lane, at);
            }
        }
        Self { lanes, words, star, any }
    }
}

/// The tokens of segments; neighbouring `**` mean the same as one. `word` gives the number of a level, or `None` to give up.
pub(super) fn tokens(segments: &[Segment<'_>], mut word: impl FnMut(&str) -> Option<WordId>) -> Option<Box<[Token]>> {
    let mut tokens = Vec::with_capacity(segments.len());
    for segment in segments {
        let token = match segment {
            Segment::Literal(text) => Token::Literal(word(text)?),
            Segment::Glob("*") => Token::Star,
            Segment::Glob(glob) => Token::Glob((*glob).into()),
            Segment::AnySegments => Token::Any,
        };
        if token != Token::Any || tokens.last() != Some(&Token::Any) {
            tokens.push(token);
        }
    }
    Some(tokens.into())
}

/// The bytes of a topic, for patterns in which `**` touches other text, and for globs.
#[derive(Debug)]
pub(super) struct Bytes {
    lanes: Lanes,
    /// By byte; those that the topic does not have share one that takes nothing.
    bytes: Vec<Lane>,
    nothing: Lane,
    /// Of `*` and of `**`: captured text never contains `@`.
    in_level: Lane,
    anywhere: Lane,
    places: Places,
}

impl Bytes {
    pub(super) fn of(topic: &str) -> Self {
        let mut lanes = Lanes::new(topic.len());
        let (nothing, in_level, anywhere) = (lanes.lane(), lanes.lane(), lanes.lane());
        let mut bytes = vec![nothing; 256];
        for (at, byte) in topic.bytes().enumerate() {
            if byte != b'@' {
                lanes.takes(anywhere, at);
                if byte != b'/' {
                    lanes.takes(in_level, at);
                }
            }
            if let Some(lane) = bytes.get_mut(usize::from(byte)) {
                if *lane == nothing {
                    *lane = lanes.lane();
                }
                lanes.takes(*lane, at);
            }
        }
        Self { lanes, bytes, nothing, in_level, anywhere, places: Places::default() }
    }

    /// Whether the topic is what the pattern means, and how many steps it took to say so.
    pub(super) fn matches(&mut self, pattern: &str) -> (bool, usize) {
        let steps = self.run([0], pattern);
        (self.places.at_end(&self.lanes), steps)
    }

    /// From some places to all that the pattern leads to.
    fn run(&mut self, starts: impl IntoIterator<Item = usize>, pattern: &str) -> usize {
        let mut steps = 0;
        self.places.start(&self.lanes, 0);
        self.places.clear();
        starts.into_iter().for_each(|start| self.places.add(start));
        let mut rest = pattern.bytes().peekable();
        while let Some(byte) = rest.next() {
            steps += self.lanes.width();
            match byte {
                b'*' if rest.next_if_eq(&b'*').is_some() => self.places.take_many(&self.lanes, self.anywhere, true),
                b'*' => self.places.take_many(&self.lanes, self.in_level, false),
                byte => {
                    let lane = self.bytes.get(usize::from(byte)).copied().unwrap_or(self.nothing);
                    self.places.take_one(&self.lanes, lane);
                }
            }
            if self.places.is_empty() {
                break;
            }
        }
        steps
    }
}
