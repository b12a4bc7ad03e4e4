//! A look at a node that changes nothing: what the hub wants to know, and what the agent found.

use super::to_agent::Open;
use super::{TEXT_BYTES_MAX, from_tag, put_text, tag_in};
use crate::model::codec::{Reader, Result, Writer};
use crate::model::digest::Digest;
use crate::model::limits;
use crate::model::plan::CommitStyle;

/// Most findings of one node.
pub const FINDINGS_MAX: usize = 64;

/// Say what would fail here, and change nothing: no lease is taken, and nothing recovered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examine {
    /// What a push would open.
    pub open: Open,
    /// The header of the manifest it would offer, without the rules of files, in canonical bytes: trees and rules.
    pub header: Vec<u8>,
    /// How a release would become live.
    pub commit: CommitStyle,
    /// Share of the file system that must stay free, in percent.
    pub min_free_percent: u8,
    /// What sshd must bear; none where no ssh is in between.
    pub logins: Option<Logins>,
}

/// What a run asks of one node's sshd at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logins {
    /// Connections at once that have not logged in yet.
    pub startups: u32,
    /// Sessions at once on one connection.
    pub sessions: u32,
}

/// What a look came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// Which directory the target is, if it is there: two names for one are found by it.
    pub directory: Option<Identity>,
    /// What the journal there is known by, where nodes share the target and something was pushed.
    pub share: Option<Digest>,
    /// One for each thing; at most as many as a message takes are sent.
    pub findings: Vec<Finding>,
}

/// A directory, whatever it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The machine's boot id; empty if it is not known.
    pub boot: String,
    /// The device.
    pub device: u64,
    /// The inode there.
    pub inode: u64,
}

/// One thing that would fail, or is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at: a stable word for machines.
    pub check: String,
    /// How bad it is.
    pub level: Level,
    /// What was found: a lowercase sentence, escaped.
    pub message: String,
    /// One action that helps.
    pub hint: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// A push fails on it.
    Error,
    /// A push may fail on it, or something else may suffer.
    Warning,
}

const LEVELS: [Level; 2] = [Level::Error, Level::Warning];

impl Level {
    /// The word for it, in JSON and on screen.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl Examine {
    pub(super) fn encode(&self, w: &mut Writer) {
        self.open.encode(w);
        w.bytes(&self.header);
        w.bool(self.commit == CommitStyle::Swap);
        w.u8(self.min_free_percent);
        w.option(self.logins, |w, logins| {
            w.u64(u64::from(logins.startups));
            w.u64(u64::from(logins.sessions));
        });
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            open: Open::decode(r)?,
            header: r.bytes(limits::FRAME_BYTES_MAX)?.to_vec(),
            commit: if r.bool()? { CommitStyle::Swap } else { CommitStyle::InPlace },
            min_free_percent: r.u8()?,
            logins: r.option(|r| Ok(Logins { startups: r.u32()?, sessions: r.u32()? }))?,
        })
    }
}

impl Examined {
    pub(super) fn encode(&self, w: &mut Writer) {
        w.option(self.directory.as_ref(), |w, directory| {
            put_text(w, &directory.boot);
            w.u64(directory.device);
            w.u64(directory.inode);
        });
        w.option(self.share.as_ref(), Writer::digest);
        let shown = self.findings.get(..FINDINGS_MAX).unwrap_or(&self.findings);
        w.list(shown, |w, finding| {
            put_text(w, &finding.check);
            w.u8(tag_in(&LEVELS, &finding.level));
            put_text(w, &finding.message);
            put_text(w, &finding.hint);
        });
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let directory = r.option(|r| {
            Ok(Identity { boot: r.text(TEXT_BYTES_MAX)?, device: r.u64()?, inode: r.u64()? })
        })?;
        let share = r.option(Reader::digest)?;
        let findings = r.list(FINDINGS_MAX, |r| {
            Ok(Finding {
                check: r.text(TEXT_BYTES_MAX)?,
                level: from_tag(r, &LEVELS)?,
                message: r.text(TEXT_BYTES_MAX)?,
                hint: r.text(TEXT_BYTES_MAX)?,
            })
        })?;
        Ok(Self { directory, share, findings })
    }
}

#[cfg(test)]
mod tests {
    use super::super::ToHub;
    use super::*;

    fn examined(count: usize) -> Examined {
        let finding = Finding {
            check: "clock".into(),
            level: Level::Warning,
            message: "x".repeat(TEXT_BYTES_MAX + 1),
            hint: String::new(),
        };
        Examined { directory: None, share: None, findings: vec![finding; count] }
    }

    #[test]
    fn more_than_a_message_takes_is_cut_by_the_sender_and_refused_by_the_reader() {
        let bytes = ToHub::Examined(examined(FINDINGS_MAX + 1)).encode();
        let Ok(ToHub::Examined(read)) = ToHub::decode(&bytes) else { panic!("it is refused") };
        assert_eq!(read.findings.len(), FINDINGS_MAX);
        assert!(read.findings.iter().all(|finding| finding.message.len() == TEXT_BYTES_MAX));
        let mut writer = Writer::new();
        writer.u8(10);
        writer.option(None::<&Identity>, |_, _| ());
        writer.option(None::<&Digest>, |_, _| ());
        writer.list(&[(); FINDINGS_MAX + 1], |w, ()| {
            put_text(w, "clock");
            w.u8(0);
            put_text(w, "");
            put_text(w, "");
        });
        assert!(ToHub::decode(&writer.finish()).is_err());
    }
}
