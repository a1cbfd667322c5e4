//! Who is there: names, challenges, registration (`protocol/rembus.md` sections 5.3 to 5.8).
//!
//! ```text
//!                   no key is kept for the name
//!  anonymous ── IDENTITY ──────────────────────────────────────▶ asked ── router: yes ──▶ named
//!      │            └─ a key is: challenge ─▶ challenged ─ ATTESTATION ─▶ proving ─▶ asked
//!      └── authenticated mode: challenged from the beginning              └─ wrong: 10, late, and the end
//! ```
//!
//! While a challenge waits for its answer, and where a login is needed, nothing but the login and REGISTER is done. Anything else
//! is refused as to somebody who may do nothing, and is not the end of the connection as in the reference: a Python client whose
//! program calls while it dials again speaks before it logs in, and one that is cut then never comes back. A challenge is asked
//! once; a wrong answer, or one that nobody asked for, ends the connection, and the address waits longer each time
//! ([`crate::access`]).

use super::cbor;
use super::codec::MessageId;
use super::dialogue::{Dialogue, Farewell};
use super::name;
use super::packet::Packet;
use crate::access::keys::{Challenge, Standing};
use crate::access::policy::Change;
use crate::access::{Access, Action, Admission, ChangeError, Denied, Refused, RegisterError, Registration};
use crate::router::{Attach, Expiry, Inbound, OnConflict, Status};
use bytes::Bytes;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// The id of the challenge that the gateway sends unasked.
const CONNECTION_ID: MessageId = MessageId(0x1234_5678_dead_beef);
/// Further IDENTITY messages that wait for the outcome of a login.
const DEFERRED_MAX: usize = 4;

/// What a peer must do before it is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// Nothing.
    Free,
    /// Log in or register.
    Login,
    /// Answer the challenge that it is sent at once, or register.
    Challenge,
}

/// How far the peer has come in saying who it is.
#[derive(Debug)]
pub(super) enum Naming {
    Anonymous,
    /// It has been sent a challenge, for this name if it gave one.
    Challenged(Challenge, Option<String>),
    /// Its answer is looked at.
    Proving,
    /// The router has not answered yet.
    Asked {
        id: MessageId,
        proof: Option<(String, Admission)>,
    },
    Named,
}

pub(super) struct Login {
    pub(super) naming: Naming,
    /// Nothing else is done before this is.
    needed: bool,
    /// When the peer must have done it.
    deadline: Option<Instant>,
    /// IDENTITY messages that are answered when the login is done.
    deferred: Vec<MessageId>,
    /// The name that was proven, and what counts against the user's limit.
    proof: Option<(String, Admission)>,
    /// What takes its time: one after the other.
    errands: VecDeque<Errand>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("naming", &self.naming).field("needed", &self.needed).finish_non_exhaustive()
    }
}

/// Something that the connection waits for without holding up what it writes.
pub(super) type Errand = Pin<Box<dyn Future<Output = Done> + Send>>;

/// What came of it.
#[derive(Debug)]
pub(super) enum Done {
    Attested { id: MessageId, cid: String, outcome: Result<Admission, Denied> },
    Registered { id: MessageId, outcome: Result<(), RegisterError> },
    Changed { id: MessageId, outcome: Result<(), ChangeError> },
    Told { id: MessageId, data: Vec<u8> },
}

/// The end of a login, for the peer.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) answers: Vec<Packet>,
    pub(super) farewell: Option<Farewell>,
}

impl Login {
    pub(super) fn new(entry: Entry, challenge_timeout: std::time::Duration, login_timeout: std::time::Duration) -> Self {
        let mut naming = Naming::Anonymous;
        if entry == Entry::Challenge
            && let Some(challenge) = Challenge::new()
        {
            naming = Naming::Challenged(challenge, None);
        }
        let deadline = match entry {
            Entry::Free => None,
            Entry::Login => Some(login_timeout),
            Entry::Challenge => Some(challenge_timeout),
        };
        Self {
            naming,
            needed: entry != Entry::Free,
            deadline: deadline.map(|time| Instant::now() + time),
            deferred: Vec::new(),
            proof: None,
            errands: VecDeque::new(),
        }
    }

    /// Whether nothing but the login is heard.
    fn is_locked(&self) -> bool {
        self.needed || matches!(self.naming, Naming::Challenged(..) | Naming::Proving)
    }
}

fn not_logged_in(reason: &'static str) -> Farewell {
    Farewell::new(CloseCode::Policy, reason)
}

impl Dialogue {
    /// The challenge that begins the conversation, where it does.
    pub(super) fn greeting(&self) -> Option<Packet> {
        match &self.login.naming {
            Naming::Challenged(challenge, None) => Some(self.challenge(CONNECTION_ID, challenge)),
            _ => None,
        }
    }

    /// When the peer must have logged in.
    pub(super) fn login_by(&self) -> Option<Instant> {
        // What the gateway itself is working on is not the peer's delay.
        self.login.deadline.filter(|_| !matches!(self.login.naming, Naming::Proving | Naming::Asked { .. }))
    }

    /// Whether the peer has to log in and has not.
    pub(super) fn is_stranger(&self) -> bool {
        self.login.needed
    }

    pub(super) fn too_late(&self) -> Farewell {
        not_logged_in("no login in time")
    }

    pub(super) fn next_errand(&mut self) -> Option<Errand> {
        self.login.errands.pop_front()
    }

    pub(super) fn has_errands(&self) -> bool {
        !self.login.errands.is_empty()
    }

    /// Whether the peer must log in before it does such a thing, which is counted.
    pub(super) fn must_log_in(&self, action: Action, subject: &str) -> bool {
        let must = self.login.is_locked();
        if must && let Some(access) = &self.settings.access {
            access.deny_stranger(action, subject);
        }
        must
    }

    /// What is of no use before the login is not worth the end of the connection either.
    pub(super) fn is_deaf(&self) -> bool {
        self.login.is_locked()
    }

    fn challenge(&self, id: MessageId, challenge: &Challenge) -> Packet {
        let mut writer = cbor::Writer::with_capacity(64);
        writer.bytes(challenge.bytes());
        Packet::response(self.voice, id, Status::CHALLENGE, &writer.finish().into())
    }

    pub(super) fn identify(
        &mut self,
        id: MessageId,
        cid: String,
        batch: &mut Vec<Inbound>,
        answers: &mut Vec<Packet>,
    ) -> Result<(), Farewell> {
        let refuse = |this: &Self, reason: &str| this.answer(id, Status::GENERIC_ERROR, cbor::text(reason));
        let busy = self.login.deferred.len() >= DEFERRED_MAX;
        match &mut self.login.naming {
            Naming::Anonymous => {}
            Naming::Challenged(_, asked) if !busy && asked.as_ref().is_none_or(|asked| *asked == cid) => {
                // Where everybody is challenged this is how it may begin; the proof must be of this name then.
                *asked = Some(cid);
                self.login.deferred.push(id);
                return Ok(());
            }
            Naming::Proving if !busy => {
                self.login.deferred.push(id);
                return Ok(());
            }
            Naming::Challenged(..) | Naming::Proving => {
                answers.push(refuse(self, "another login is under way"));
                return Ok(());
            }
            Naming::Asked { .. } | Naming::Named => {
                answers.push(refuse(self, "already named"));
                return Ok(());
            }
        }
        if let Err(reason) = name::check(&cid) {
            answers.push(refuse(self, reason));
            return Ok(());
        }
        let standing = self.settings.access.as_ref().map_or(Standing::Free, |access| access.standing(&cid));
        match standing {
            Standing::Blocked(why) => {
                log::warn!(component = cid.as_str(), peer:% = self.peer, why; "login refused");
                answers.push(refuse(self, "the key of this name cannot be used"));
            }
            Standing::Keyed => match Challenge::new() {
                Some(challenge) => {
                    answers.push(self.challenge(id, &challenge));
                    self.login.naming = Naming::Challenged(challenge, Some(cid));
                    self.login.deadline = Some(Instant::now() + self.settings.challenge_timeout);
                }
                None => answers.push(refuse(self, "no randomness for a challenge")),
            },
            Standing::Free if self.login.needed => {
                answers.push(refuse(self, "there is no key for this name, and one is needed here"));
                return Err(not_logged_in(Refused::Anonymous.why()));
            }
            Standing::Free => {
                let identity = self.identity.named(&cid);
                batch.push(Inbound::Attach(self.attach(cid, identity)));
                self.login.naming = Naming::Asked { id, proof: None };
                self.unanswered += 1;
            }
        }
        Ok(())
    }

    fn attach(&self, name: String, identity: crate::access::Identity) -> Attach {
        let on_conflict = if self.settings.overwrite_connection { OnConflict::TakeOver } else { OnConflict::Refuse };
        Attach {
            name,
            on_conflict,
            clean: false,
            receive_max: self.settings.receive_max,
            packet_max: u32::MAX,
            resend_after: Some(self.settings.ack_timeout),
            identity,
            expiry: Expiry::Never,
            will: None,
        }
    }

    pub(super) fn attest(
        &mut self,
        id: MessageId,
        cid: String,
        signature: Bytes,
        answers: &mut Vec<Packet>,
    ) -> Result<(), Farewell> {
        let unasked = || not_logged_in("attestation without a challenge");
        let Some(access) = self.settings.access.clone() else {
            answers.push(self.answer(id, Status::GENERIC_ERROR, cbor::text("no challenge is pending")));
            return Err(unasked());
        };
        let asked = match std::mem::replace(&mut self.login.naming, Naming::Proving) {
            // Of another name than it said: as wrong as a signature can be.
            Naming::Challenged(challenge, asked) if asked.as_ref().is_none_or(|asked| *asked == cid) => Some(challenge),
            Naming::Challenged(..) | Naming::Anonymous | Naming::Asked { .. } | Naming::Named => None,
            Naming::Proving => {
                // A second one behind the first: the first decides.
                answers.push(self.answer(id, Status::GENERIC_ERROR, cbor::text("no challenge is pending")));
                return Ok(());
            }
        };
        // The answer to a question that nobody asked is compared with one that nobody knows: it fails, late, and is counted.
        let Some(challenge) = asked.or_else(Challenge::new) else { return Err(unasked()) };
        let peer = self.peer;
        self.login.errands.push_back(Box::pin(async move {
            let outcome = access.attest(peer, &cid, challenge, &signature).await;
            Done::Attested { id, cid, outcome }
        }));
        Ok(())
    }

    pub(super) fn register(&mut self, id: MessageId, wanted: Registration, answers: &mut Vec<Packet>) {
        let refusal = match (&self.login.naming, &self.settings.access) {
            // Packages up to 0.8.12 say the name first, and then register it.
            (Naming::Asked { .. } | Naming::Named, _) if *self.publisher != *wanted.cid => {
                "register from a connection without a name, or of that name"
            }
            (_, None) => "no registrations here",
            (_, Some(access)) => {
                let (access, peer) = (Arc::clone(access), self.peer);
                self.login
                    .errands
                    .push_back(Box::pin(async move { Done::Registered { id, outcome: access.register(peer, wanted).await } }));
                return;
            }
        };
        answers.push(self.answer(id, Status::GENERIC_ERROR, cbor::text(refusal)));
    }

    pub(super) fn unregister(&mut self, id: MessageId, answers: &mut Vec<Packet>) {
        match (&self.login.proof, &self.settings.access) {
            (Some((cid, _)), Some(access)) => {
                let (access, cid) = (Arc::clone(access), cid.clone());
                self.login
                    .errands
                    .push_back(Box::pin(async move { Done::Changed { id, outcome: access.unregister(&cid).await } }));
            }
            _ => answers.push(self.answer(id, Status::GENERIC_ERROR, cbor::text("invalid operation"))),
        }
    }

    /// Makes a change for an admin.
    pub(super) fn change(&mut self, id: MessageId, access: Arc<Access>, change: Change) {
        self.login.errands.push_back(Box::pin(async move { Done::Changed { id, outcome: access.change(change).await } }));
    }

    /// Private topics and those they are granted to.
    pub(super) fn tell_private_topics(&mut self, id: MessageId, access: &Access) {
        let (policy, _) = access.policy();
        let mut writer = cbor::Writer::default();
        writer.map(policy.private().len());
        for (topic, names) in policy.private() {
            writer.text(topic).array(names.len());
            for name in names {
                writer.text(name);
            }
        }
        let data = writer.finish();
        self.login.errands.push_back(Box::pin(std::future::ready(Done::Told { id, data })));
    }

    /// The access policy, if the peer may administer; otherwise the data of the answer.
    pub(super) fn as_admin(&self) -> Result<Arc<Access>, Option<&'static str>> {
        let Some(access) = &self.settings.access else { return Err(None) };
        match &self.login.proof {
            Some((cid, _)) if access.is_admin(cid) => Ok(Arc::clone(access)),
            None if access.is_admin(&self.publisher) => Err(Some("an admin must log in with a key")),
            _ => Err(None),
        }
    }

    /// An errand is done.
    pub(super) fn done(&mut self, done: Done, batch: &mut Vec<Inbound>, answers: &mut Vec<Packet>) -> Result<(), Farewell> {
        let (id, status, data) = match done {
            Done::Attested { id, cid, outcome: Ok(admission) } => {
                batch.push(Inbound::Attach(self.attach(cid.clone(), admission.identity.clone())));
                self.login.naming = Naming::Asked { id, proof: Some((cid, admission)) };
                self.unanswered += 1;
                return Ok(());
            }
            Done::Attested { id, outcome: Err(Denied(why)), .. } => {
                answers.push(self.answer(id, Status::GENERIC_ERROR, cbor::text(why.why())));
                answers.extend(self.deferred(Status::GENERIC_ERROR));
                self.login.naming = Naming::Anonymous;
                self.login.needed = true;
                return Err(not_logged_in(why.why()));
            }
            Done::Registered { id, outcome: Ok(()) } | Done::Changed { id, outcome: Ok(()) } => {
                (id, Status::OK, cbor::NULL.to_vec())
            }
            Done::Told { id, data } => (id, Status::OK, data),
            Done::Registered { id, outcome: Err(why) } => {
                let status = match why {
                    RegisterError::Taken(_) => Status::NAME_ALREADY_TAKEN,
                    _ => Status::GENERIC_ERROR,
                };
                if let RegisterError::Store(error) = &why {
                    log::error!(error:%; "a key could not be stored");
                }
                (id, status, cbor::text(&why.to_string()))
            }
            Done::Changed { id, outcome: Err(why) } => (id, Status::GENERIC_ERROR, cbor::text(&why.to_string())),
        };
        answers.push(self.answer(id, status, data));
        Ok(())
    }

    /// The router lets the peer have its name, or says why not.
    pub(super) fn concluded(&mut self, outcome: Result<Arc<str>, &'static str>) -> Option<Verdict> {
        // It may have said something meanwhile that ends the connection.
        if !matches!(self.login.naming, Naming::Asked { .. }) {
            return None;
        }
        let Naming::Asked { id, proof } = std::mem::replace(&mut self.login.naming, Naming::Named) else { return None };
        match outcome {
            Ok(name) => {
                self.publisher = name;
                if let Some((_, admission)) = &proof {
                    self.identity = admission.identity.clone();
                }
                self.login.proof = proof;
                self.login.needed = false;
                self.login.deadline = None;
                // No exports: plain clients do not need them, and the names are nobody's business.
                let mut answers = vec![self.answer(id, Status::OK, NO_EXPORTS.to_vec())];
                answers.extend(self.deferred(Status::OK));
                Some(Verdict { answers, farewell: None })
            }
            Err(reason) => {
                self.login.naming = Naming::Anonymous;
                let mut answers = vec![self.answer(id, Status::GENERIC_ERROR, cbor::text(reason))];
                answers.extend(self.deferred(Status::GENERIC_ERROR));
                // Its challenge is used up.
                let farewell = self.login.needed.then(|| not_logged_in(reason));
                Some(Verdict { answers, farewell })
            }
        }
    }

    fn deferred(&mut self, status: Status) -> Vec<Packet> {
        let ids = std::mem::take(&mut self.login.deferred);
        ids.into_iter().map(|id| self.answer(id, status, cbor::NULL.to_vec())).collect()
    }

    pub(super) fn answer(&self, id: MessageId, status: Status, data: Vec<u8>) -> Packet {
        Packet::response(self.voice, id, status, &data.into())
    }
}

/// `[[], []]`: no methods, no subscriptions.
const NO_EXPORTS: &[u8] = &[0x82, 0x80, 0x80];
