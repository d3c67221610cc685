//! What Centrifugo's clients exclude.

use super::Taken;

impl Taken {
    pub(super) fn check_centrifuge(&self) -> Result<(), String> {
        if !self.options.centrifuge {
            return self.refuse(&["centrifuge-key-file"], "it is an API of --centrifuge: add that");
        }
        let why = "nobody is asked of what clients of --centrifuge do, nor told of it, yet";
        self.refuse(&["hook-url"], why)
    }
}
