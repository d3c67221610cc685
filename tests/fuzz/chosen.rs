//! Which target of a program is run.

use std::sync::OnceLock;

pub type Target = fn(&[u8]);
pub type Targets = &'static [(&'static str, Target)];

/// The target that `FUZZ_TARGET` names.
pub fn of(targets: Targets) -> Target {
    static CHOSEN: OnceLock<Target> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET says which target is run");
        let found = targets.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("no target is called {name}")).1
    })
}
