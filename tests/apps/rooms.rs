//! The rooms of `examples/rooms/`, in simulated worlds: as an embedder tests an application.

#[path = "../../examples/rooms/server.rs"]
mod server;

use std::{collections::BTreeSet, time::Duration};

use pushloop::testing::{Client, Faults, World, each_seed};
use pushloop::{History, Position};

use server::{LINES_MAX, PAUSE, Rooms, SAYS_MAX, WARNINGS_MAX};

/// A page, and what it has heard.
struct Page {
    url: String,
    client: Client,
    position: Option<Position>,
    /// What was said since it came first, or since its last gap.
    lines: Vec<String>,
    here: BTreeSet<String>,
    gaps: usize,
    busy: usize,
}

impl Page {
    fn opens(world: &mut World<Rooms>, name: &str) -> Self {
        let url = format!("/kitchen?as={name}");
        let (client, lines, here) = (world.connect(&*url), Vec::new(), BTreeSet::new());
        Self { url, client, position: None, lines, here, gaps: 0, busy: 0 }
    }

    fn reads(&mut self) {
        for message in self.client.messages() {
            match message.text().split_once(' ').unwrap_or((message.text(), "")) {
                ("!at", at) => self.position = Some(at.parse().expect("a position")),
                ("!here", names) => {
                    self.here = names.split_whitespace().map(str::to_owned).collect()
                }
                ("!gap", _) => (self.lines, self.gaps) = (Vec::new(), self.gaps + 1),
                ("!busy", _) => self.busy += 1,
                ("!slow", _) => {}
                (change, "") => {
                    let [what, name] = [1, 5].map(|nth| change.split('"').nth(nth).expect("JSON"));
                    let is_new = self.here.insert(name.into());
                    assert_eq!((what == "join", what == "leave"), (is_new, !is_new), "{change}");
                    _ = what == "leave" && self.here.remove(name);
                }
                _ => {
                    self.lines.push(message.text().into());
                    self.position.as_mut().expect("it comes first").offset += 1;
                }
            }
        }
    }

    /// It is cut wherever it is, and comes back with its position.
    fn comes_back(&mut self, world: &mut World<Rooms>, after: Duration) {
        self.reads();
        self.client.cut();
        if !after.is_zero() {
            world.advance(after);
        }
        let after = self.position.map_or(String::new(), |position| format!("&after={position}"));
        self.client = world.knock(format!("{}{after}", self.url));
    }
}

#[test]
fn a_page_that_comes_back_has_each_line_once_and_knows_who_is_there() {
    let (mut lines, mut busy, mut gaps) = (0, 0, 0);
    each_seed(300, |seed| {
        let mut config = server::config();
        let kept = [LINES_MAX, 2][seed as usize % 2];
        // A few at once are too much, and refused.
        (config.topic.history, config.topic_unserved_bytes_max) = (Some(History::of(kept)), 500);
        let mut world = World::new(seed, config, |_| Rooms::default());
        let choice = world.choice();
        // The first is never cut off, and sees all.
        let mut pages = ["ada", "ben", "cy"].map(|name| Page::opens(&mut world, name));
        world.network().faults = Faults::drawn_without_loss(&choice);
        for step in 0..60 {
            let at = choice.below(3);
            match choice.below(12) {
                0..4 => pages[at].client.send(format!("line {step}")),
                4 | 5 if at > 0 => {
                    pages[at].comes_back(&mut world, PAUSE * choice.of(&[0, 0, 0, 1, 11]))
                }
                6 => pages[at].client.reads_at(choice.of(&[0, 1, 40, usize::MAX])),
                7 => world.advance(PAUSE),
                _ => world.turn(Duration::ZERO),
            }
        }
        world.network().faults = Faults::default();
        pages.iter().for_each(|page| page.client.reads_on());
        world.run_until_quiet();
        pages.iter_mut().for_each(Page::reads);
        // One has a second window, and one is gone for good.
        let _window = world.connect(&*pages[1].url);
        pages[1..].iter().for_each(|page| page.client.cut());
        world.advance(PAUSE * 11);
        pages.iter_mut().for_each(Page::reads);
        let [ada, others @ ..] = &pages;
        assert_eq!(ada.here.iter().collect::<Vec<_>>(), ["ada", "ben"]);
        for page in others {
            assert!(ada.lines.ends_with(&page.lines), "{}: {:?}", page.url, page.lines);
            assert_eq!(page.position, ada.position, "{}", page.url);
            assert!(page.gaps == 0 || kept < LINES_MAX, "{}: so much is kept", page.url);
        }
        lines += ada.lines.len();
        busy += pages.iter().map(|page| page.busy).sum::<usize>();
        gaps += pages.iter().map(|page| page.gaps).sum::<usize>();
    });
    println!("{lines} lines, {busy} refused, {gaps} gaps");
    assert!(lines > 1000 && busy > 100 && gaps > 50);
}

#[test]
fn a_client_that_talks_too_fast_is_told_and_then_closed() {
    let mut world = World::new(0, server::config(), |_| Rooms::default());
    let ada = world.connect("/kitchen?as=ada");
    ada.messages();
    for (said, heard) in [(SAYS_MAX + 1, SAYS_MAX), (2, 1)] {
        (0..said).for_each(|_| ada.send("hello"));
        let told = {
            world.run_until_quiet();
            ada.messages()
        };
        let lines = told.iter().filter(|it| **it == "ada: hello").count();
        assert_eq!((lines as u32, told.len() as u32), (heard, said), "{told:?}");
        world.advance(PAUSE);
    }
    (0..=WARNINGS_MAX).for_each(|_| ada.send("hello"));
    world.run_until_quiet();
    assert_eq!(ada.closed(), Some((1008, "slow down".into())));
}

#[test]
fn no_room_without_names() {
    let mut world = World::new(0, server::config(), |_| Rooms::default());
    for path in ["/", "/kitchen", "/kitchen?as=", "/kitchen?as=a%20b", "/a/b?as=ada"] {
        assert_eq!(world.try_connect(path).map_err(|no| no.status).err(), Some(404), "{path}");
    }
    assert_eq!(world.get("/kitchen?as=ada").status, 426);
}
