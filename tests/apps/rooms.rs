//! The rooms of `examples/rooms/`, in simulated worlds: as an embedder tests an application.

#[path = "../../examples/rooms/server.rs"]
mod server;

use std::time::Duration;

use pushloop::Config;
use pushloop::testing::{Client, Faults, World, each_seed};

use server::{PAUSE, Rooms, SAYS_MAX, WARNINGS_MAX};

/// A page that comes back with its position whenever it was cut off.
struct Page {
    name: &'static str,
    client: Client,
    position: Option<(String, u64)>,
    /// What was published since it came first.
    lines: Vec<String>,
    /// How often it was told that the room is busy.
    busy: usize,
}

impl Page {
    fn opens(world: &mut World<Rooms>, name: &'static str) -> Self {
        let client = world.connect(format!("/kitchen?as={name}"));
        Self { name, client, position: None, lines: Vec::new(), busy: 0 }
    }

    fn reads(&mut self) {
        for message in self.client.messages() {
            match message.text().split_once(' ') {
                Some(("!at", at)) => {
                    let (epoch, offset) = at.split_once('.').expect("a position");
                    self.position = Some((epoch.into(), offset.parse().expect("a number")));
                }
                _ if message.text().starts_with('!') => {
                    assert_ne!(message, "!gap", "{}: so much is kept", self.name);
                    self.busy += usize::from(message == "!busy");
                }
                _ => {
                    self.lines.push(message.text().into());
                    self.position.as_mut().expect("it comes first").1 += 1;
                }
            }
        }
    }

    /// Cuts the connection wherever it is, and comes back.
    fn comes_back(&mut self, world: &mut World<Rooms>) {
        self.reads();
        self.client.cut();
        let after = self
            .position
            .as_ref()
            .map_or(String::new(), |(epoch, offset)| format!("&after={epoch}.{offset}"));
        self.client = world.knock(format!("/kitchen?as={}{after}", self.name));
    }
}

#[test]
fn a_page_that_comes_back_gets_each_line_once() {
    let (mut lines, mut busy) = (0, 0);
    each_seed(300, |seed| {
        let mut config = Config::default();
        // A few at once are too much, and refused.
        config.topic_unserved_bytes_max = 600;
        let mut world = World::new(seed, config, |_| Rooms::default());
        let choice = world.choice();
        world.network().faults = Faults::drawn_without_loss(&choice);
        // The first is never cut off, and sees all.
        let mut pages = ["ada", "ben", "cy"].map(|name| Page::opens(&mut world, name));
        for step in 0..60 {
            let page = &mut pages[choice.below(3)];
            match choice.below(12) {
                0..4 => page.client.send(format!("line {step}")),
                4 | 5 if page.name != "ada" => page.comes_back(&mut world),
                6 => page.client.reads_at(choice.of(&[0, 1, 40, usize::MAX])),
                7 => world.advance(PAUSE),
                _ => world.turn(Duration::ZERO),
            }
        }
        world.network().faults = Faults::default();
        pages.iter().for_each(|page| page.client.reads_on());
        world.run_until_quiet();
        pages.iter_mut().for_each(Page::reads);
        let [ada, others @ ..] = &pages;
        for page in others {
            let since = ada.lines.len() - page.lines.len();
            assert_eq!(page.lines, ada.lines[since..], "{}", page.name);
        }
        lines += ada.lines.len();
        busy += pages.iter().map(|page| page.busy).sum::<usize>();
    });
    println!("{lines} lines, {busy} refused");
    assert!(lines > 1000 && busy > 100);
}

#[test]
fn what_was_missed_of_a_room_that_was_empty_meanwhile_is_a_gap() {
    let mut world = World::new(0, Config::default(), |_| Rooms::default());
    let mut ben = Page::opens(&mut world, "ben");
    let ada = world.connect("/kitchen?as=ada");
    // The one that came first comes back while the room lives, and misses nothing.
    ben.comes_back(&mut world);
    world.run_until_quiet();
    ben.reads();
    assert_eq!(ben.lines[..2], ["+ben", "+ada"]);
    ada.cut();
    ben.client.cut();
    world.run_until_quiet();
    let cy = world.connect("/kitchen?as=cy");
    (0..SAYS_MAX).for_each(|_| cy.send("hello"));
    world.run_until_quiet();
    ben.comes_back(&mut world);
    world.run_until_quiet();
    assert_eq!(ben.client.next().expect("it is told"), "!gap");
}

#[test]
fn who_is_there_is_there_once() {
    let mut world = World::new(0, Config::default(), |_| Rooms::default());
    let ada = world.connect("/kitchen?as=ada");
    let windows = [(); 2].map(|()| world.connect("/kitchen?as=ben"));
    let told: Vec<_> = windows[1].messages();
    assert!(told.iter().any(|it| *it == "!here ada ben"), "{told:?}");
    windows[0].cut();
    world.run_until_quiet();
    assert_eq!(ada.messages()[2..], ["+ada", "+ben"]);
    windows[1].closes(1000);
    world.run_until_quiet();
    assert_eq!(ada.messages(), ["-ben"]);
    assert_eq!(windows[1].closed().map(|(code, _)| code), Some(1000));
}

#[test]
fn a_client_that_talks_too_fast_is_told_and_then_closed() {
    let mut world = World::new(0, Config::default(), |_| Rooms::default());
    let ada = world.connect("/kitchen?as=ada");
    ada.messages();
    for (said, heard) in [(SAYS_MAX + 1, SAYS_MAX), (2, 1)] {
        (0..said).for_each(|_| ada.send("hello"));
        world.run_until_quiet();
        let told = ada.messages();
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
    let mut world = World::new(0, Config::default(), |_| Rooms::default());
    for path in ["/", "/kitchen", "/kitchen?as=", "/kitchen?as=a%20b", "/a/b?as=ada"] {
        assert_eq!(
            world.try_connect(path).map_err(|answer| answer.status).err(),
            Some(404),
            "{path}"
        );
    }
    assert_eq!(world.get("/kitchen?as=ada").status, 426);
}
