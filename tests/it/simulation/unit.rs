//! What travels as one piece: a greeting or a frame.

use depsync::wire::frame::{self, HEADER_BYTES, Header};
use depsync::wire::message::{ToAgent, ToHub, Txid};
use depsync::wire::preamble::{AGENT, HUB};

use super::link::Way;

/// A greeting or a frame, on its way.
#[derive(Debug)]
pub(crate) struct Unit<'a> {
    pub(crate) node: usize,
    pub(crate) link: usize,
    pub(crate) way: Way,
    /// How many there were before it on its stream, signs of life not counted.
    pub(crate) at: u32,
    pub(crate) bytes: &'a [u8],
    pub(crate) said: Said,
}

/// What a unit says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Greeting,
    Hub(Box<ToAgent>),
    Agent(Box<ToHub>),
    Noise,
}

impl<'a> Unit<'a> {
    /// The unit of `bytes` that is the so manieth on its stream.
    pub(crate) fn new(node: usize, link: usize, way: Way, (at, bytes): (u32, &'a [u8])) -> Self {
        Self { node, link, way, at, bytes, said: said(bytes, way) }
    }

    pub(crate) fn is_sign_of_life(&self) -> bool {
        match &self.said {
            Said::Hub(message) => **message == ToAgent::Alive,
            Said::Agent(message) => **message == ToHub::Alive,
            Said::Greeting | Said::Noise => false,
        }
    }

    /// The message's name.
    pub(crate) fn name(&self) -> String {
        let text = match &self.said {
            Said::Hub(message) => format!("{message:?}"),
            Said::Agent(message) => format!("{message:?}"),
            Said::Greeting => "Greeting".to_owned(),
            Said::Noise => "Noise".to_owned(),
        };
        let name = |text: &str| {
            let end = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
            text.get(..end).unwrap_or_default().to_owned()
        };
        match &self.said {
            Said::Agent(message) => match &**message {
                ToHub::Failed(failed) => format!("Failed {}: {}", failed.kind, failed.message),
                _ => name(&text),
            },
            Said::Hub(message) => match &**message {
                ToAgent::Settle { decided, .. } => format!("Settle decided={decided}"),
                _ => name(&text),
            },
            _ => text,
        }
    }

    /// The transaction that is to be committed by this, if any.
    pub(crate) fn commit(&self) -> Option<Txid> {
        match &self.said {
            Said::Hub(message) => match **message {
                ToAgent::Commit { txid } => Some(txid),
                _ => None,
            },
            _ => None,
        }
    }
}

fn said(bytes: &[u8], way: Way) -> Said {
    let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else { return Said::Noise };
    if bytes == HUB || bytes == AGENT {
        return Said::Greeting;
    }
    let Ok(header) = Header::parse(head) else { return Said::Noise };
    let control = bytes.get(HEADER_BYTES..HEADER_BYTES + header.control_bytes).unwrap_or_default();
    match way {
        Way::ToAgent => {
            ToAgent::decode(control).map_or(Said::Noise, |message| Said::Hub(Box::new(message)))
        }
        Way::ToHub => {
            ToHub::decode(control).map_or(Said::Noise, |message| Said::Agent(Box::new(message)))
        }
    }
}

/// The length of the first unit of `written`, if it is whole.
pub(crate) fn length(written: &[u8], is_greeted: bool, way: Way) -> Option<usize> {
    let length = if is_greeted {
        let header = Header::parse(written.first_chunk()?).expect("both sides write frames");
        HEADER_BYTES + header.control_bytes + header.bulk_bytes
    } else if way == Way::ToAgent {
        HUB.len()
    } else {
        AGENT.len()
    };
    (written.len() >= length).then_some(length)
}

/// True if `bytes` are exactly one frame, whole and unchanged as far as its check tells.
pub(crate) fn is_frame(bytes: &[u8], sequence: u32) -> bool {
    let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else { return false };
    let Ok(header) = Header::parse(head) else { return false };
    let control = bytes.get(HEADER_BYTES..HEADER_BYTES + header.control_bytes);
    control.is_some_and(|control| header.verify(sequence, control).is_ok())
}

/// The frame of a `Stage` with another fence; any other frame as it is.
pub(crate) fn with_fence(bytes: &[u8], fence: u64) -> Vec<u8> {
    let Said::Hub(message) = said(bytes, Way::ToAgent) else { return bytes.to_vec() };
    let ToAgent::Stage(mut stage) = *message else { return bytes.to_vec() };
    stage.fence = fence;
    let sequence = bytes[8..12].try_into().map_or(0, u32::from_le_bytes);
    let control = ToAgent::Stage(stage).encode();
    [frame::encode(sequence, &control, 0)].concat()
}
