//! Signals: the first SIGINT or SIGTERM lets connections end, the second does not wait. SIGHUP has the options
//! read again.

use std::{ffi::c_int, io, thread, time::Duration};

use pushloop::Handle;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{
    logs::{Level, say},
    reload::Reload,
    supervisor,
};

/// How often a second signal is looked for during the delay.
const STEP: Duration = Duration::from_millis(50);

/// What the service is notified of, when the process is told to end.
pub const ENDS_SOON: u32 = 0;

/// Ends the server when the process is told to end. The service is notified of it at once.
pub fn on_signals(handle: Handle, mut reload: Reload) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    thread::spawn(move || {
        loop {
            match signals.forever().next() {
                Some(SIGHUP) => reload.read(&handle),
                Some(_) => break,
                None => return,
            }
        }
        let drain = reload.drain();
        supervisor::tell_stopping();
        // If the server is gone, there is nothing to make ready for.
        let _ = handle.notify(ENDS_SOON);
        let seconds = (drain.delay + drain.deadline).as_secs();
        say(Level::Info, &format!("closing, {seconds} s at most; once more to stop at once"));
        let mut again = false;
        for _ in 0..drain.delay.as_millis() / STEP.as_millis() {
            thread::sleep(STEP);
            again = signals.pending().any(is_told_to_end);
            if again {
                break;
            }
        }
        let begun = again || handle.shutdown(drain.deadline).is_ok();
        if begun && (again || signals.forever().any(is_told_to_end)) {
            // The server may have ended by itself.
            let _ = handle.shutdown(Duration::ZERO);
        }
    });
    Ok(())
}

/// Whether a signal is one more to end, once the first has come.
fn is_told_to_end(signal: c_int) -> bool {
    if signal == SIGHUP {
        say(Level::Info, "not reloaded: the server is about to end");
    }
    signal != SIGHUP
}
