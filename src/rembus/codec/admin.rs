//! The data of an ADMIN message: a map with the command's name in `cmd` (section 6).

use crate::rembus::cbor::{CborError, Reader};
use ciborium_ll::{Header, simple};

/// Names of handlers that every Python client lists in `setup`; they upload code and are never offered to others.
const IGNORED_EXPOSERS: [&str; 6] = [
    "python_service_install",
    "python_service_uninstall",
    "python_service_list",
    "python_subscriber_install",
    "python_subscriber_uninstall",
    "python_subscriber_list",
];

/// Topics in one `setup`.
const SETUP_MAX: usize = 10_000;

#[derive(Debug, Clone, PartialEq)]
pub enum AdminCommand {
    /// `msg_from`: nanoseconds before now from which stored messages are wanted; infinite for all unseen ones.
    Subscribe {
        msg_from: f64,
    },
    Unsubscribe,
    Expose,
    Unexpose,
    /// `msg_from` bounds how far back stored messages are wanted, as in `subscribe`; infinite if it is missing.
    Reactive {
        on: bool,
        msg_from: f64,
    },
    Setup {
        exposers: Vec<String>,
        subscribers: Vec<String>,
    },
    /// Needs the admin role, like all that follow.
    PrivateTopic,
    PublicTopic,
    Authorize {
        cid: String,
    },
    Unauthorize {
        cid: String,
    },
    PrivateTopicsConfig,
    BrokerConfig,
    Unknown(String),
}

/// Answered with status 10; the text is the data, `None` for null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdminError(pub Option<&'static str>);

impl From<CborError> for AdminError {
    fn from(_: CborError) -> Self {
        Self(None)
    }
}

#[derive(Debug, Default)]
struct Fields {
    cmd: Option<String>,
    cid: Option<Result<String, ()>>,
    /// `Err` if it is there and not a number.
    msg_from: Option<Result<f64, ()>>,
    status: Option<Result<bool, ()>>,
    exposers: Option<Result<Vec<String>, ()>>,
    subscribers: Option<Result<Vec<String>, ()>>,
}

impl AdminCommand {
    /// Reads the command out of well-formed `data`. Unknown fields, those of the mesh among them, are ignored.
    pub fn parse(data: &[u8]) -> Result<Self, AdminError> {
        let fields = Fields::read(data)?;
        let Some(cmd) = fields.cmd.clone() else { return Err(AdminError(None)) };
        let msg_from =
            |missing| fields.msg_from.unwrap_or(Ok(missing)).map_err(|()| AdminError(Some("msg_from is not a number")));
        Ok(match cmd.as_str() {
            "subscribe" => Self::Subscribe { msg_from: msg_from(0.0)? },
            "unsubscribe" => Self::Unsubscribe,
            "expose" => Self::Expose,
            "unexpose" => Self::Unexpose,
            "reactive" => Self::Reactive {
                msg_from: msg_from(f64::INFINITY)?,
                on: match fields.status {
                    Some(Ok(on)) => on,
                    Some(Err(())) => return Err(AdminError(Some("status is not a boolean"))),
                    None => return Err(AdminError(Some("status is missing"))),
                },
            },
            "setup" => {
                let mut exposers = fields
                    .exposers
                    .unwrap_or(Ok(Vec::new()))
                    .map_err(|()| AdminError(Some("exposers is not a list of topics")))?;
                exposers.retain(|topic| !IGNORED_EXPOSERS.contains(&topic.as_str()));
                let subscribers = fields
                    .subscribers
                    .unwrap_or(Ok(Vec::new()))
                    .map_err(|()| AdminError(Some("subscribers is not a list of topics")))?;
                Self::Setup { exposers, subscribers }
            }
            "private_topic" => Self::PrivateTopic,
            "public_topic" => Self::PublicTopic,
            "authorize" => Self::Authorize { cid: fields.cid()? },
            "unauthorize" => Self::Unauthorize { cid: fields.cid()? },
            "private_topics_config" => Self::PrivateTopicsConfig,
            "broker_config" => Self::BrokerConfig,
            _ => Self::Unknown(cmd),
        })
    }
}

impl Fields {
    fn read(data: &[u8]) -> Result<Self, AdminError> {
        let mut fields = Self::default();
        let mut reader = Reader::new(data);
        let mut pairs = reader.map()?;
        while reader.more(&mut pairs)? {
            let key = if matches!(reader.peek()?, Header::Text(_)) {
                reader.text()?
            } else {
                reader.skip()?;
                "".into()
            };
            let value = reader.skip()?;
            let value = data.get(value).unwrap_or_default();
            match key.as_ref() {
                "cmd" => fields.cmd = Reader::new(value).text().ok().map(String::from),
                "cid" => fields.cid = Some(Reader::new(value).text().map(String::from).map_err(|_| ())),
                "msg_from" => fields.msg_from = Some(number(value)),
                "status" => fields.status = Some(boolean(value)),
                "exposers" => fields.exposers = Some(topics(value)),
                "subscribers" => fields.subscribers = Some(topics(value)),
                _ => {}
            }
        }
        Ok(fields)
    }

    fn cid(self) -> Result<String, AdminError> {
        match self.cid {
            Some(Ok(cid)) if !cid.is_empty() => Ok(cid),
            Some(Ok(_)) => Err(AdminError(Some("cid is empty"))),
            Some(Err(())) => Err(AdminError(Some("cid is not a text"))),
            None => Err(AdminError(Some("cid is missing"))),
        }
    }
}

// A window of 2^53 ns is 104 days; single nanoseconds do not matter there.
fn number(value: &[u8]) -> Result<f64, ()> {
    match Reader::new(value).header() {
        Ok(Header::Float(number)) if !number.is_nan() => Ok(number),
        Ok(Header::Positive(number)) => Ok(number as f64),
        Ok(Header::Negative(number)) => Ok(-1.0 - number as f64),
        // JSON has no infinity; these stand for it.
        Ok(Header::Simple(simple::NULL)) => Ok(f64::INFINITY),
        Ok(Header::Text(_)) => match Reader::new(value).text().as_deref() {
            Ok("inf" | "Infinity" | "LastReceived") => Ok(f64::INFINITY),
            _ => Err(()),
        },
        _ => Err(()),
    }
}

fn boolean(value: &[u8]) -> Result<bool, ()> {
    match Reader::new(value).header() {
        Ok(Header::Simple(simple::TRUE)) => Ok(true),
        Ok(Header::Simple(simple::FALSE)) => Ok(false),
        _ => Err(()),
    }
}

fn topics(value: &[u8]) -> Result<Vec<String>, ()> {
    let mut reader = Reader::new(value);
    if reader.null().unwrap_or(false) {
        return Ok(Vec::new());
    }
    let mut list = Vec::new();
    let mut items = reader.array().map_err(|_| ())?;
    while reader.more(&mut items).map_err(|_| ())? {
        if list.len() == SETUP_MAX {
            return Err(());
        }
        let topic = reader.text().map_err(|_| ())?;
        if topic.len() > super::NAME_MAX {
            return Err(());
        }
        list.push(topic.into_owned());
    }
    Ok(list)
}
