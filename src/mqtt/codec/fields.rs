//! The fields packets are made of: integers, strings, binary data, and the properties of MQTT 5 (section 2.2.2).

use super::reason::{Fault, malformed, protocol_error};

/// Reads fields from one packet, which is complete and whose bounds it never leaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.bytes
    }

    /// All bytes must have been used.
    pub(crate) fn end(self) -> Result<(), Fault> {
        if self.bytes.is_empty() { Ok(()) } else { Err(malformed("the packet is longer than its fields")) }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(malformed("the packet ends inside a field"))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>().ok_or(malformed("the packet ends inside a field"))?;
        self.bytes = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Fault> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Fault> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// A packet identifier, which is never 0 \[MQTT-2.3.1-1\], \[MQTT-2.2.1-3\].
    pub(crate) fn packet_id(&mut self) -> Result<u16, Fault> {
        match self.u16()? {
            0 => Err(protocol_error("packet identifier 0")),
            id => Ok(id),
        }
    }

    pub(crate) fn variable(&mut self) -> Result<u32, Fault> {
        match variable(self.bytes)? {
            Some((value, length)) => {
                self.take(length)?;
                Ok(value)
            }
            None => Err(malformed("the packet ends inside a field")),
        }
    }

    pub(crate) fn binary(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// UTF-8 without U+0000 \[MQTT-1.5.3-1\], \[MQTT-1.5.3-2\], \[MQTT-1.5.4-1\], \[MQTT-1.5.4-2\].
    pub(crate) fn text(&mut self) -> Result<&'a str, Fault> {
        let text = std::str::from_utf8(self.binary()?).map_err(|_| malformed("a string is not UTF-8"))?;
        if text.as_bytes().contains(&0) { Err(malformed("a string contains U+0000")) } else { Ok(text) }
    }

    /// The property section. Its length is checked against the packet, and no property can reach beyond it.
    pub(crate) fn properties(&mut self) -> Result<PropertyFields<'a>, Fault> {
        let length = self.variable()?;
        let bytes = self.take(length as usize)?;
        Ok(PropertyFields { fields: Fields { bytes }, seen: 0 })
    }
}

/// A variable byte integer and how many bytes it took; `None` if more are needed.
pub(crate) fn variable(bytes: &[u8]) -> Result<Option<(u32, usize)>, Fault> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(malformed("a variable byte integer is longer than four bytes")) }
}

/// The properties a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Property<'a> {
    PayloadFormat(u8),
    MessageExpiry(u32),
    ContentType(&'a str),
    ResponseTopic(&'a str),
    CorrelationData(&'a [u8]),
    SubscriptionIdentifier(u32),
    SessionExpiry(u32),
    AuthenticationMethod(&'a str),
    AuthenticationData(&'a [u8]),
    RequestProblemInformation(bool),
    WillDelay(u32),
    RequestResponseInformation(bool),
    ReasonString(&'a str),
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    TopicAlias(u16),
    User(&'a str, &'a str),
    MaximumPacketSize(u32),
}

/// Identifier of the only property that may come more than once from a client.
const USER: u8 = 38;

/// Iterates over a property section.
#[derive(Debug)]
pub(crate) struct PropertyFields<'a> {
    fields: Fields<'a>,
    /// One bit for each identifier that came: all but user properties may come only once.
    seen: u64,
}

impl<'a> PropertyFields<'a> {
    fn property(&mut self) -> Result<Property<'a>, Fault> {
        let fields = &mut self.fields;
        // All identifiers are below 128, so that their variable byte integer is one byte.
        let identifier = fields.u8()?;
        if identifier != USER {
            let bit = 1_u64.checked_shl(identifier.into()).ok_or(malformed("unknown property"))?;
            if self.seen & bit != 0 {
                return Err(protocol_error("a property came twice"));
            }
            self.seen |= bit;
        }
        Ok(match identifier {
            1 => Property::PayloadFormat(fields.u8()?),
            2 => Property::MessageExpiry(fields.u32()?),
            3 => Property::ContentType(fields.text()?),
            8 => Property::ResponseTopic(fields.text()?),
            9 => Property::CorrelationData(fields.binary()?),
            11 => Property::SubscriptionIdentifier(fields.variable()?),
            17 => Property::SessionExpiry(fields.u32()?),
            21 => Property::AuthenticationMethod(fields.text()?),
            22 => Property::AuthenticationData(fields.binary()?),
            23 => Property::RequestProblemInformation(flag(fields.u8()?)?),
            24 => Property::WillDelay(fields.u32()?),
            25 => Property::RequestResponseInformation(flag(fields.u8()?)?),
            31 => Property::ReasonString(fields.text()?),
            33 => Property::ReceiveMaximum(fields.u16()?),
            34 => Property::TopicAliasMaximum(fields.u16()?),
            35 => Property::TopicAlias(fields.u16()?),
            USER => Property::User(fields.text()?, fields.text()?),
            39 => Property::MaximumPacketSize(fields.u32()?),
            18 | 19 | 26 | 28 | 36 | 37 | 40 | 41 | 42 => return Err(protocol_error("a property only a server may send")),
            _ => return Err(malformed("unknown property")),
        })
    }
}

impl<'a> Iterator for PropertyFields<'a> {
    type Item = Result<Property<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.fields.is_empty() { None } else { Some(self.property()) }
    }
}

fn flag(byte: u8) -> Result<bool, Fault> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(protocol_error("a property must be 0 or 1")),
    }
}

/// The property is known, but not in this packet (5.0 section 2.2.2.2: a protocol error).
pub(crate) fn misplaced() -> Fault {
    protocol_error("a property does not belong into this packet")
}
