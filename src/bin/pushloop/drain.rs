//! SIGINT and SIGTERM: the first lets connections end, the second does not wait.

use std::{
    io::{self, Write},
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use pushloop::Handle;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{options::Drain, status::Status};

/// How often a second signal is looked for during the delay.
const STEP: Duration = Duration::from_millis(50);

/// Ends the server when the process is told to end, which `status` says from then on.
pub fn on_signals(handle: Handle, drain: Drain, status: Arc<Status>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        if signals.forever().next().is_none() {
            return;
        }
        status.not_ready.store(true, Ordering::Relaxed);
        let seconds = (drain.delay + drain.deadline).as_secs();
        // Not by a macro that panics where there is nobody to tell: all signals are this thread's.
        let _ = writeln!(
            io::stderr(),
            "pushloop: closing, {seconds} s at most; once more to stop at once"
        );
        let mut again = false;
        for _ in 0..drain.delay.as_millis() / STEP.as_millis() {
            thread::sleep(STEP);
            again = signals.pending().next().is_some();
            if again {
                break;
            }
        }
        let begun = again || handle.shutdown(drain.deadline).is_ok();
        if begun && (again || signals.forever().next().is_some()) {
            // The server may have ended by itself.
            let _ = handle.shutdown(Duration::ZERO);
        }
    });
    Ok(())
}
