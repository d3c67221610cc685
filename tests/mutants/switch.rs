
/// Whether the mutant is switched on: MUTANT in the environment is its number. Which ones are asked for is
/// noted in the file that MUTANTS_REACHED names, each once, and without taking memory: that is counted.
pub(crate) fn mutant(number: u32) -> bool {
    use std::{
        env,
        fs::{File, OpenOptions},
        io::Write,
        sync::{
            LazyLock,
            atomic::{AtomicBool, Ordering::Relaxed},
        },
    };
    static ON: LazyLock<Option<u32>> =
        LazyLock::new(|| env::var("MUTANT").ok().map(|number| number.parse().expect("a number")));
    static REACHED: LazyLock<Option<File>> = LazyLock::new(|| {
        let path = env::var_os("MUTANTS_REACHED")?;
        Some(OpenOptions::new().append(true).create(true).open(path).expect("a file"))
    });
    static NOTED: [AtomicBool; 10_000] = [const { AtomicBool::new(false) }; 10_000];

    if !NOTED[number as usize].load(Relaxed) && !NOTED[number as usize].swap(true, Relaxed) {
        if let Some(mut file) = REACHED.as_ref() {
            let mut line = *b"0000\n";
            for (at, place) in [1000, 100, 10, 1].into_iter().enumerate() {
                line[at] += (number / place % 10) as u8;
            }
            file.write_all(&line).expect("there is room");
        }
    }
    *ON == Some(number)
}
