//! Contacts that are made while the source is still being read: a login takes longer than a look at an unchanged source.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::channel::Channel;
use super::options::RunOptions;
use super::reach::Reach;
use crate::link::{self, Link};
use crate::model::target::Target;

/// An agent that answers and was told nothing yet. Each side hears that the other is alive. Dropped, it is cut off.
#[derive(Debug)]
pub(super) struct Contact {
    pub(super) channel: Channel,
    pub(super) session: link::Session,
}

impl Contact {
    /// Brings the agent of `target` to answer.
    ///
    /// # Errors
    /// As [`Reach::open`].
    pub(super) async fn make(
        reach: &dyn Reach,
        target: &Target,
        options: &RunOptions,
    ) -> Result<Self, link::Error> {
        let Link { reader, writer, session } = reach.open(target, &options.link).await?;
        let channel = Channel::new(reader, writer, options.timeout);
        Ok(Self { channel, session })
    }
}

/// What is under way to each node.
type Making = JoinSet<Result<Contact, link::Error>>;

/// The contacts of a run that nobody has taken yet.
#[derive(Debug, Default)]
pub(super) struct Early(Mutex<Vec<Making>>);

impl Early {
    /// Begins to make contact with as many nodes as are worked on at once, the first ones.
    pub(super) fn begin(&self, runtime: &Handle, reach: &Arc<dyn Reach>, options: &RunOptions) {
        let making = options.targets.iter().take(options.parallel).map(|target| {
            let (reach, target, options) = (Arc::clone(reach), target.clone(), options.clone());
            let mut making = Making::new();
            let made = async move { Contact::make(&*reach, &target, &options).await };
            making.spawn_on(made, runtime);
            making
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = making.collect();
    }

    /// Waits for the contact with a node and gives it away; `None` if none was begun, it was taken before, or it has
    /// ended since.
    pub(super) async fn take(&self, node: usize) -> Option<Result<Contact, link::Error>> {
        let mut making = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(all.get_mut(node)?)
        };
        match making.join_next().await?.ok()? {
            Ok(contact) if contact.channel.has_ended() => None,
            made => Some(made),
        }
    }

    /// Cuts off what nobody has taken.
    pub(super) async fn close(&self) {
        let all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for mut making in all {
            making.shutdown().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::time::Duration;

    use super::*;
    use crate::wire::preamble::{AGENT, HUB};

    const TIMEOUT: Duration = Duration::from_secs(10);

    /// A contact with an agent that greets, and then goes once `stays` says so.
    async fn contact(stays: std::sync::mpsc::Receiver<()>) -> Contact {
        let serve = move |mut input: std::os::unix::net::UnixStream,
                          mut output: std::os::unix::net::UnixStream| {
            output.write_all(AGENT).unwrap();
            input.read_exact(&mut [0; HUB.len()]).unwrap();
            assert!(stays.recv().is_err(), "it is told by the end of the channel");
        };
        let Link { reader, writer, session } = link::open_local(serve, TIMEOUT).await.unwrap();
        Contact { channel: Channel::new(reader, writer, TIMEOUT), session }
    }

    fn early(contact: Contact) -> Early {
        let mut making = Making::new();
        making.spawn(async move { Ok(contact) });
        Early(Mutex::new(vec![making]))
    }

    #[tokio::test]
    async fn a_contact_is_given_away_once() {
        let (_stay, stays) = std::sync::mpsc::channel();
        let early = early(contact(stays).await);
        assert!(early.take(1).await.is_none(), "no such node");
        assert!(early.take(0).await.unwrap().is_ok());
        assert!(early.take(0).await.is_none());
    }

    #[tokio::test]
    async fn a_contact_that_has_ended_is_none() {
        let (stay, stays) = std::sync::mpsc::channel();
        let mut contact = contact(stays).await;
        drop(stay);
        assert!(contact.channel.receive().await.is_err());
        while !contact.channel.has_ended() {
            tokio::task::yield_now().await;
        }
        assert!(early(contact).take(0).await.is_none());
    }

    #[tokio::test]
    async fn what_nobody_takes_is_cut_off() {
        let (_stay, stays) = std::sync::mpsc::channel();
        let early = early(contact(stays).await);
        early.close().await;
        assert!(early.take(0).await.is_none());
    }
}
