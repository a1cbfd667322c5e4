//! Messages between the log and `rumqttc`: the properties that travel with them.

use super::super::marks;
use crate::clock::Wall;
use crate::message::{Message, Properties};
use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5::PublishProperties;

/// The message was worthless before it could be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expired;

/// What goes out: payload and properties, marked with the gateway's number.
pub(super) fn out(message: &Message, number: &str, now: Wall) -> Result<(Bytes, PublishProperties), Expired> {
    let (body, content_type) = message.mqtt_body();
    let properties = marks::stamped(message.properties.as_deref().cloned().unwrap_or_default(), number);
    let message_expiry_interval = match properties.expiry_s {
        Some(seconds) => {
            let passed = now.0.saturating_sub(message.received.0) / 1_000_000_000;
            let left = u64::from(seconds).saturating_sub(passed);
            if left == 0 {
                return Err(Expired);
            }
            u32::try_from(left).ok()
        }
        None => None,
    };
    let properties = PublishProperties {
        payload_format_indicator: properties.payload_is_text.then_some(1),
        message_expiry_interval,
        topic_alias: None,
        response_topic: properties.response_topic,
        correlation_data: properties.correlation_data,
        user_properties: properties.user,
        subscription_identifiers: Vec::new(),
        content_type: properties.content_type.or_else(|| content_type.map(str::to_owned)),
    };
    Ok((body.clone(), properties))
}

/// What came in.
pub(super) fn into_properties(properties: PublishProperties) -> Properties {
    Properties {
        payload_is_text: properties.payload_format_indicator == Some(1),
        content_type: properties.content_type,
        response_topic: properties.response_topic,
        correlation_data: properties.correlation_data,
        user: properties.user_properties,
        expiry_s: properties.message_expiry_interval,
    }
}

/// Bytes of a PUBLISH packet at most.
pub(super) fn packet_bytes(topic: &str, payload: &[u8], properties: &PublishProperties) -> usize {
    let texts = |text: &Option<String>| text.as_ref().map_or(0, |text| text.len() + 3);
    let user: usize = properties.user_properties.iter().map(|(name, value)| name.len() + value.len() + 5).sum();
    let data = properties.correlation_data.as_ref().map_or(0, |data| data.len() + 3);
    // Fixed header, topic's length, packet id, length of the properties, expiry, format.
    topic.len() + payload.len() + texts(&properties.content_type) + texts(&properties.response_topic) + user + data + 24
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Dialect, Payload, Qos};

    #[test]
    fn properties_go_there_and_back_and_the_expiry_counts_down() {
        let payload = Payload::Mqtt(Bytes::from_static(b"21.5"));
        let received = Wall(1_700_000_000_000_000_000);
        let mut message = Message::new("a".into(), payload, Qos::AtLeastOnce, received, Dialect::Mqtt, "c".into());
        let properties = Properties {
            payload_is_text: true,
            content_type: Some("text/plain".into()),
            response_topic: Some("r".into()),
            correlation_data: Some(Bytes::from_static(b"7")),
            user: vec![("a".into(), "b".into())],
            expiry_s: Some(10),
        };
        message.properties = Some(Box::new(properties.clone()));
        let later = |seconds: u64| Wall(received.0 + seconds * 1_000_000_000);

        let (body, sent) = out(&message, "0001", later(4)).unwrap();
        assert!(body == "21.5" && packet_bytes("a", &body, &sent) > 60);
        let back = into_properties(sent);
        assert_eq!(back.expiry_s, Some(6));
        assert_eq!(back.user, [("a".to_owned(), "b".to_owned()), ("rembus-gateway-via".to_owned(), "0001".to_owned())]);
        assert_eq!(Properties { expiry_s: Some(10), user: properties.user.clone(), ..back }, properties);
        assert_eq!(out(&message, "0001", later(10)).unwrap_err(), Expired);
    }
}
