//! One CBOR value at a time out of a `data` value, without a tree: what history needs to know of it and no more.
//!
//! Written for bytes from strangers: every length is checked against what is there before anything is allocated, nesting is
//! bounded, and there is no recursion while reading. Lists and maps stay bytes until somebody asks for their children.

use crate::mapping::number;
use std::borrow::Cow;

/// How deep lists, maps and tags may nest. Deeper values are refused; nothing that people store comes near.
const DEPTH_MAX: usize = 64;

/// Longer integers have no digits here: making them takes time with the square of their length.
const DIGITS_BYTES_MAX: usize = 64;

/// The bytes are not one whole CBOR value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the payload is not valid CBOR at byte {at}")]
pub struct Malformed {
    pub at: usize,
}

/// A value, borrowed where possible.
#[derive(Debug, Clone, PartialEq)]
pub enum Item<'a> {
    /// `null` and `undefined`.
    Null,
    Bool(bool),
    Integer(i128),
    /// An integer beyond 128 bits (tags 2 and 3): as near as a float comes, and its decimal digits unless they are absurdly many.
    Huge(f64, Option<Box<str>>),
    Float(f64),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    /// Tag 80 around bytes: an Arrow IPC stream.
    Frame(Cow<'a, [u8]>),
    /// Microseconds since 1970: tag 1, and timestamps of frames.
    Micros(i64),
    /// Days since 1970: tag 100, and dates of frames.
    Days(i32),
    /// The encoding of an array, its head included.
    List(&'a [u8]),
    /// The encoding of a map, its head included.
    Map(&'a [u8]),
    /// A simple value without a meaning here.
    Simple(u8),
}

impl Item<'_> {
    /// What it is, for people. Never what it says: payloads do not belong into logs.
    #[must_use]
    pub fn describe(&self) -> Cow<'static, str> {
        match self {
            Self::Null => "null".into(),
            Self::Bool(_) => "a boolean".into(),
            Self::Integer(_) => "an integer".into(),
            Self::Huge(..) => "an integer beyond 128 bits".into(),
            Self::Float(value) if value.is_nan() => "NaN".into(),
            Self::Float(value) if value.is_infinite() => "infinity".into(),
            Self::Float(_) => "a float".into(),
            Self::Text(text) => format!("a text of {}", bytes(text.len())).into(),
            Self::Bytes(raw) => bytes(raw.len()).into(),
            Self::Frame(_) => "a frame".into(),
            Self::Micros(_) => "a time".into(),
            Self::Days(_) => "a date".into(),
            Self::List(_) => "a list".into(),
            Self::Map(_) => "a map".into(),
            Self::Simple(number) => format!("simple value {number}").into(),
        }
    }
}

fn bytes(count: usize) -> String {
    format!("{count} byte{}", if count == 1 { "" } else { "s" })
}

/// Reads values one after the other.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The head of a value: its major type and its argument, `None` for an indefinite length.
#[derive(Debug, Clone, Copy)]
struct Head {
    major: u8,
    minor: u8,
    argument: Option<u64>,
}

const BREAK: u8 = 0xff;

impl<'a> Reader<'a> {
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The one value that `bytes` hold.
    pub fn single(bytes: &'a [u8]) -> Result<Item<'a>, Malformed> {
        let mut reader = Self::new(bytes);
        let item = reader.item()?;
        if reader.at == bytes.len() { Ok(item) } else { Err(reader.malformed()) }
    }

    fn malformed(&self) -> Malformed {
        Malformed { at: self.at }
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], Malformed> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = usize::try_from(count).ok().and_then(|count| rest.get(..count)).ok_or(self.malformed())?;
        self.at += taken.len();
        Ok(taken)
    }

    fn head(&mut self) -> Result<Head, Malformed> {
        let first = self.take(1)?[0];
        let minor = first & 0x1f;
        let argument = match minor {
            0..=23 => Some(u64::from(minor)),
            24..=27 => Some(self.take(1 << (minor - 24))?.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))),
            31 if !matches!(first >> 5, 0 | 1 | 6) => None,
            _ => return Err(self.malformed()),
        };
        Ok(Head { major: first >> 5, minor, argument })
    }

    /// The next value.
    pub fn item(&mut self) -> Result<Item<'a>, Malformed> {
        self.item_at(0)
    }

    fn item_at(&mut self, depth: usize) -> Result<Item<'a>, Malformed> {
        if depth > DEPTH_MAX {
            return Err(self.malformed());
        }
        let start = self.at;
        let head = self.head()?;
        match (head.major, head.argument) {
            (0, Some(value)) => Ok(Item::Integer(value.into())),
            (1, Some(value)) => Ok(Item::Integer(-1 - i128::from(value))),
            (2, length) => self.string(2, length).map(Item::Bytes),
            (3, length) => self.text(length).map(Item::Text),
            (4 | 5, _) => {
                self.at = start;
                self.skip()?;
                let raw = self.bytes.get(start..self.at).unwrap_or_default();
                Ok(if head.major == 4 { Item::List(raw) } else { Item::Map(raw) })
            }
            (6, Some(tag)) => self.tagged(tag, depth),
            (7, Some(value)) => self.simple(head.minor, value),
            _ => Err(Malformed { at: start }),
        }
    }

    fn simple(&self, minor: u8, value: u64) -> Result<Item<'a>, Malformed> {
        Ok(match (minor, value) {
            (20, _) => Item::Bool(false),
            (21, _) => Item::Bool(true),
            (22 | 23, _) => Item::Null,
            (25, bits) => Item::Float(half(u16::try_from(bits).map_err(|_| self.malformed())?)),
            (26, bits) => Item::Float(f32::from_bits(u32::try_from(bits).map_err(|_| self.malformed())?).into()),
            (27, bits) => Item::Float(f64::from_bits(bits)),
            (_, number) => Item::Simple(u8::try_from(number).map_err(|_| self.malformed())?),
        })
    }

    fn tagged(&mut self, tag: u64, depth: usize) -> Result<Item<'a>, Malformed> {
        let at = self.at;
        let inner = self.item_at(depth + 1)?;
        Ok(match (tag, inner) {
            (2, Item::Bytes(bytes)) => big(&bytes, false),
            (3, Item::Bytes(bytes)) => big(&bytes, true),
            (1, Item::Integer(seconds)) => {
                let micros = seconds.checked_mul(1_000_000).and_then(|micros| i64::try_from(micros).ok());
                Item::Micros(micros.ok_or(Malformed { at })?)
            }
            (1, Item::Float(seconds)) => Item::Micros(micros_of(seconds).ok_or(Malformed { at })?),
            (80, Item::Bytes(bytes)) => Item::Frame(bytes),
            (100, Item::Integer(days)) => Item::Days(i32::try_from(days).map_err(|_| Malformed { at })?),
            // Tag 0 (date and time as text), 1004 (date as text), 55799 and everything else: the value speaks for itself.
            (_, inner) => inner,
        })
    }

    fn text(&mut self, length: Option<u64>) -> Result<Cow<'a, str>, Malformed> {
        let at = self.at;
        match self.string(3, length)? {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| Malformed { at }),
            Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| Malformed { at }),
        }
    }

    /// A byte or text string; one of indefinite length comes in chunks of definite length.
    fn string(&mut self, major: u8, length: Option<u64>) -> Result<Cow<'a, [u8]>, Malformed> {
        if let Some(length) = length {
            return self.take(length).map(Cow::Borrowed);
        }
        let mut whole = Vec::new();
        while !self.at_break() {
            match self.head()? {
                Head { major: chunk, argument: Some(length), .. } if chunk == major => {
                    whole.extend_from_slice(self.take(length)?);
                }
                _ => return Err(self.malformed()),
            }
        }
        Ok(Cow::Owned(whole))
    }

    /// Whether a break comes next; if so it is consumed.
    fn at_break(&mut self) -> bool {
        let found = self.bytes.get(self.at) == Some(&BREAK);
        self.at += usize::from(found);
        found
    }

    /// Passes one value, checking that all of it is there.
    fn skip(&mut self) -> Result<(), Malformed> {
        // Values still to come at each open level; `None` until a break.
        let mut open: Vec<Option<u64>> = vec![Some(1)];
        while let Some(level) = open.last_mut() {
            match level {
                Some(0) => {
                    open.pop();
                    continue;
                }
                Some(left) => *left -= 1,
                None if self.at_break() => {
                    open.pop();
                    continue;
                }
                None => {}
            }
            let head = self.head()?;
            match (head.major, head.argument) {
                (0 | 1, _) | (7, Some(_)) => {}
                (2 | 3, length) => drop(self.string(head.major, length)?),
                (4, count) => open.push(count),
                // An odd number of values in an indefinite map is found when its pairs are read.
                (5, Some(count)) => open.push(Some(count.checked_mul(2).ok_or(self.malformed())?)),
                (5, None) => open.push(None),
                (6, _) => open.push(Some(1)),
                _ => return Err(self.malformed()),
            }
            if open.len() > DEPTH_MAX {
                return Err(self.malformed());
            }
        }
        Ok(())
    }
}

/// The children of a list or map that [`Reader`] has passed.
#[derive(Debug, Clone)]
pub struct Children<'a> {
    reader: Reader<'a>,
    left: Option<u64>,
    depth: usize,
}

impl<'a> Children<'a> {
    /// Elements of [`Item::List`]; keys and values in turn of [`Item::Map`].
    #[must_use]
    pub fn of(raw: &'a [u8]) -> Self {
        Self::nested(raw, 0)
    }

    pub(super) fn nested(raw: &'a [u8], depth: usize) -> Self {
        let mut reader = Reader::new(raw);
        let left = match reader.head() {
            Ok(Head { major: 4, argument, .. }) => argument,
            Ok(Head { major: 5, argument, .. }) => argument.map(|pairs| pairs.saturating_mul(2)),
            _ => Some(0),
        };
        Self { reader, left, depth }
    }

    /// The next child.
    pub fn next_item(&mut self) -> Result<Option<Item<'a>>, Malformed> {
        match &mut self.left {
            Some(0) => return Ok(None),
            Some(left) => *left -= 1,
            None if self.reader.at_break() => {
                self.left = Some(0);
                return Ok(None);
            }
            None => {}
        }
        self.reader.item_at(self.depth).map(Some)
    }

    /// The next key and value.
    pub fn next_pair(&mut self) -> Result<Option<(Item<'a>, Item<'a>)>, Malformed> {
        let Some(key) = self.next_item()? else { return Ok(None) };
        let value = self.next_item()?.ok_or(self.reader.malformed())?;
        Ok(Some((key, value)))
    }
}

/// The positional arguments of a call or a publication.
#[derive(Debug, Clone, PartialEq)]
pub struct Arguments<'a> {
    /// The first of them, as many as were asked for.
    pub first: Vec<Item<'a>>,
    /// How many there are.
    pub count: usize,
}

/// The positional arguments that `data` holds: an array is spread, anything else is one argument. Only the first `keep` are
/// kept, so that a payload of sixty million nulls costs sixty megabytes and not more.
pub fn arguments(data: &[u8], keep: usize) -> Result<Arguments<'_>, Malformed> {
    let raw = match Reader::single(data)? {
        Item::List(raw) => raw,
        other => return Ok(Arguments { first: vec![other], count: 1 }),
    };
    let mut arguments = Arguments { first: Vec::new(), count: 0 };
    let mut children = Children::of(raw);
    while let Some(child) = children.next_item()? {
        if arguments.count < keep {
            arguments.first.push(child);
        }
        arguments.count += 1;
    }
    Ok(arguments)
}

/// Seconds since 1970 as microseconds, to the nearest; `None` if they do not fit.
#[must_use]
pub fn micros_of(seconds: f64) -> Option<i64> {
    let micros = (seconds * 1e6).round_ties_even();
    // 2^63 as a float; everything below it fits.
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
    (micros.abs() < 9_223_372_036_854_775_808.0).then_some(micros as i64)
}

fn big<'a>(bytes: &[u8], negative: bool) -> Item<'a> {
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let digits = bytes.get(first..).unwrap_or_default();
    let magnitude = (digits.len() <= 16).then(|| digits.iter().fold(0_u128, |sum, byte| (sum << 8) | u128::from(*byte)));
    match magnitude.and_then(|magnitude| i128::try_from(magnitude).ok()) {
        Some(magnitude) if negative => Item::Integer(-1 - magnitude),
        Some(magnitude) => Item::Integer(magnitude),
        None => {
            // Read from the digits the float is the nearest; added up it is off by some units in the last place.
            let text = (digits.len() <= DIGITS_BYTES_MAX).then(|| number::bignum(digits, negative)).flatten();
            let near = text.as_ref().and_then(|text| text.parse().ok()).unwrap_or_else(|| {
                let value = digits.iter().fold(0.0_f64, |sum, byte| sum * 256.0 + f64::from(*byte));
                if negative { -value } else { value }
            });
            Item::Huge(near, text.map(String::into_boxed_str))
        }
    }
}

/// IEEE half precision; Rembus clients write NaN and the infinities this way.
pub(super) fn half(bits: u16) -> f64 {
    let (exponent, fraction) = ((bits >> 10) & 0x1f, f64::from(bits & 0x3ff));
    let value = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        exponent => (fraction + 1024.0) * 2f64.powi(i32::from(exponent) - 25),
    };
    if bits & 0x8000 == 0 { value } else { -value }
}
