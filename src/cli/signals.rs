//! Signals: the first asks the run to stop at a safe point, the second to stop at once, the third ends the process.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::console::Console;
use crate::hub::stop::Stop;
use crate::os::process;

/// Hands the signals of this process to `stop`, in a thread of its own, for the rest of its life.
///
/// A signal that is ignored from the start stays ignored: `nohup` and a shell's background jobs mean it.
pub(super) fn listen(stop: Stop, console: Console) {
    let ignored = process::ignored_signals();
    let wanted = [SIGINT, SIGTERM, SIGHUP]
        .into_iter()
        .filter(|signal| ignored.is_none_or(|mask| mask >> signal.saturating_sub(1) & 1 == 0));
    let listener = Signals::new(wanted).and_then(|mut signals| {
        let listen = move || {
            for (count, signal) in (1..).zip(signals.forever()) {
                stop.request(signal == SIGINT);
                match count {
                    1 => console
                        .warn("stopping where every node is old or new; once more stops at once"),
                    2 => console.warn("stopping at once; nodes recover at the next run"),
                    _ => {}
                }
                if count > 2 {
                    // Fails only for signals that have no default, which these have.
                    let _has_default = signal_hook::low_level::emulate_default_handler(signal);
                }
            }
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(listen)
    });
    if listener.is_err() {
        console.warn("signals end this run at once: no thread to wait for them");
    }
}
