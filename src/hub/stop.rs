//! [`Stop`]: the operator's wish that a run ends.

use std::sync::Arc;

use tokio::sync::watch;

/// How urgently a run is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Urgency {
    /// Nobody asked.
    #[default]
    None,
    /// Stop at the next point where every node is at the old or the new release.
    SafePoint,
    /// Stop at once; nodes recover at next contact.
    Abort,
}

/// Whether and by what a run is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Request {
    /// How urgently.
    pub urgency: Urgency,
    /// Whether the first wish came from the terminal (SIGINT, exit code 130) and not from SIGTERM or SIGHUP (143).
    pub by_terminal: bool,
}

/// A shared wish that a run ends. Clones are the same wish; it only grows.
#[derive(Debug, Clone)]
pub struct Stop(Arc<watch::Sender<Request>>);

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

impl Stop {
    /// Nobody asked yet.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Request::default())))
    }

    /// Asks: the first time for a safe point, the second time at once. What asked first is kept.
    pub fn request(&self, by_terminal: bool) {
        self.0.send_modify(|request| {
            *request = match request.urgency {
                Urgency::None => Request { urgency: Urgency::SafePoint, by_terminal },
                Urgency::SafePoint | Urgency::Abort => {
                    Request { urgency: Urgency::Abort, ..*request }
                }
            };
        });
    }

    /// The wish as it stands.
    pub fn current(&self) -> Request {
        *self.0.borrow()
    }

    /// For waiting: changes are seen through `changed` and `wait_for`.
    pub fn subscribe(&self) -> watch::Receiver<Request> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_wish_aborts_and_the_first_origin_stays() {
        let stop = Stop::new();
        let mut seen = stop.subscribe();
        assert_eq!(stop.current(), Request::default());
        stop.clone().request(true);
        assert_eq!(stop.current(), Request { urgency: Urgency::SafePoint, by_terminal: true });
        stop.request(false);
        stop.request(false);
        assert_eq!(
            *seen.borrow_and_update(),
            Request { urgency: Urgency::Abort, by_terminal: true }
        );
    }
}
