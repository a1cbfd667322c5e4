//! CONNECT (section 3.1 of both versions), the one packet that says which version the others have.

use super::decode::keep_property;
use super::fields::{Fields, Property, misplaced};
use super::reason::{Fault, ReasonCode, malformed, protocol_error};
use super::{Version, topic};
use crate::message::{Properties, Qos};
use bytes::Bytes;

/// What a client wants. `None` in the optional numbers means: not said, so that the default of the specification counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connect {
    pub(crate) version: Version,
    pub(crate) clean: bool,
    /// Seconds; 0 is off.
    pub(crate) keep_alive: u16,
    pub(crate) client_id: String,
    pub(crate) will: Option<Will>,
    pub(crate) user: Option<String>,
    /// Any bytes; never logged.
    pub(crate) password: Option<Bytes>,
    pub(crate) session_expiry: u32,
    pub(crate) receive_max: u16,
    /// The largest packet the client takes.
    pub(crate) max_packet: Option<u32>,
    /// Aliases that the client takes from us.
    pub(crate) topic_alias_max: u16,
    pub(crate) authentication_method: Option<String>,
}

/// The will as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) payload: Bytes,
    pub(crate) properties: Option<Box<Properties>>,
    pub(crate) delay_s: u32,
}

/// A CONNECT that cannot be served. `answer` says in which version a CONNACK can tell so; without it the connection just ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectError {
    pub(crate) fault: Fault,
    pub(crate) answer: Option<Version>,
}

/// Reads what follows the fixed header.
pub(crate) fn read_connect(body: &[u8]) -> Result<Connect, ConnectError> {
    let mut fields = Fields::new(body);
    let version = read_version(&mut fields)?;
    read_rest(fields, version).map_err(|fault| {
        // 3.1.1 has no return code for a malformed packet: the connection is closed [MQTT-4.8.0-1]. 5.0 has (3.1.4).
        ConnectError { fault, answer: version.is_5().then_some(version) }
    })
}

fn read_version(fields: &mut Fields<'_>) -> Result<Version, ConnectError> {
    let silent = |fault| ConnectError { fault, answer: None };
    let name = fields.text().map_err(silent)?;
    let level = fields.u8().map_err(silent)?;
    match (name, level) {
        ("MQTT", 4) => Ok(Version::V311),
        ("MQTT", 5) => Ok(Version::V5),
        ("MQIsdp", 3) => Ok(Version::V31),
        // [MQTT-3.1.2-2]: a known name with an unknown level is answered. Levels with the high bit are mosquitto bridges, which
        // try their own dialect first and fall back when they are told in the form of 3.1.1.
        ("MQTT" | "MQIsdp", level) => Err(ConnectError {
            fault: Fault { reason: ReasonCode::UNSUPPORTED_VERSION, what: "unsupported protocol level" },
            answer: Some(if (6..0x80).contains(&level) { Version::V5 } else { Version::V311 }),
        }),
        // [MQTT-3.1.2-1]
        _ => Err(silent(protocol_error("this is not MQTT"))),
    }
}

fn read_rest(mut fields: Fields<'_>, version: Version) -> Result<Connect, Fault> {
    let flags = fields.u8()?;
    // [MQTT-3.1.2-3]
    if flags & 0x01 != 0 {
        return Err(malformed("the reserved CONNECT flag is set"));
    }
    let has_will = flags & 0x04 != 0;
    let (will_qos, will_retain) = ((flags >> 3) & 0x03, flags & 0x20 != 0);
    let (has_password, has_user) = (flags & 0x40 != 0, flags & 0x80 != 0);
    // [MQTT-3.1.2-11], [MQTT-3.1.2-13], [MQTT-3.1.2-14], [MQTT-3.1.2-15]
    if will_qos == 3 || (!has_will && (will_qos != 0 || will_retain)) {
        return Err(malformed("the will flags contradict each other"));
    }
    // [MQTT-3.1.2-22] of 3.1.1; 5.0 allows a password alone.
    if has_password && !has_user && !version.is_5() {
        return Err(malformed("a password without a user name"));
    }
    let mut connect = Connect {
        version,
        clean: flags & 0x02 != 0,
        keep_alive: fields.u16()?,
        client_id: String::new(),
        will: None,
        user: None,
        password: None,
        session_expiry: 0,
        receive_max: u16::MAX,
        max_packet: None,
        topic_alias_max: 0,
        authentication_method: None,
    };
    if version.is_5() {
        read_properties(&mut fields, &mut connect)?;
    }
    connect.client_id = fields.text()?.to_owned();
    if has_will {
        connect.will = Some(read_will(&mut fields, version, will_qos, will_retain)?);
    }
    if has_user {
        connect.user = Some(fields.text()?.to_owned());
    }
    if has_password {
        connect.password = Some(Bytes::copy_from_slice(fields.binary()?));
    }
    fields.end()?;
    Ok(connect)
}

fn read_properties(fields: &mut Fields<'_>, connect: &mut Connect) -> Result<(), Fault> {
    let mut has_data = false;
    for property in fields.properties()? {
        match property? {
            Property::SessionExpiry(seconds) => connect.session_expiry = seconds,
            Property::ReceiveMaximum(0) => return Err(protocol_error("receive maximum 0")),
            Property::ReceiveMaximum(count) => connect.receive_max = count,
            Property::MaximumPacketSize(0) => return Err(protocol_error("maximum packet size 0")),
            Property::MaximumPacketSize(bytes) => connect.max_packet = Some(bytes),
            Property::AuthenticationMethod(method) => connect.authentication_method = Some(method.to_owned()),
            Property::AuthenticationData(_) => has_data = true,
            Property::TopicAliasMaximum(count) => connect.topic_alias_max = count,
            // We never send response information or reason strings in acknowledgements.
            Property::RequestResponseInformation(_) | Property::RequestProblemInformation(_) | Property::User(..) => {}
            _ => return Err(misplaced()),
        }
    }
    if has_data && connect.authentication_method.is_none() {
        return Err(protocol_error("authentication data without a method"));
    }
    Ok(())
}

fn read_will(fields: &mut Fields<'_>, version: Version, qos: u8, retain: bool) -> Result<Will, Fault> {
    let (mut delay_s, mut kept) = (0, None::<Box<Properties>>);
    if version.is_5() {
        for property in fields.properties()? {
            match property? {
                Property::WillDelay(seconds) => delay_s = seconds,
                property => keep_property(property, kept.get_or_insert_default())?,
            }
        }
    }
    let topic = fields.text()?;
    if !topic::is_name(topic) {
        return Err(malformed("the will topic is not a topic name"));
    }
    let payload = Bytes::copy_from_slice(fields.binary()?);
    let qos = Qos::from_level(qos).ok_or(malformed("the will flags contradict each other"))?;
    Ok(Will { topic: topic.to_owned(), qos, retain, payload, properties: kept, delay_s })
}
