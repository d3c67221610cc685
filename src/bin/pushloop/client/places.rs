//! How far each topic was read, and so what the next connection asks for.

use super::{options::Start, url::query_part};

pub struct Places {
    /// In the order of the URL.
    places: Vec<Place>,
    /// How many earlier publications to ask for, until a subscription has begun.
    last: Option<u64>,
}

#[derive(Clone, Default)]
struct Place {
    /// As the server calls it, which a proxy's URL need not do. None before the subscription began.
    topic: Option<String>,
    /// None in a topic that keeps no places.
    id: Option<String>,
}

impl Places {
    /// For a URL with so many topics.
    pub fn new(topics: usize, start: &Start) -> Self {
        let mut places = vec![Place::default(); topics];
        let last = match start {
            Start::After(ids) => {
                for (place, id) in places.iter_mut().zip(ids) {
                    place.id = Some(id.clone()).filter(|id| !id.is_empty());
                }
                None
            }
            Start::Last(last) => Some(*last),
        };
        Self { places, last }
    }

    /// What the next connection asks for.
    pub fn query(&self) -> String {
        let ids: Vec<_> = self.places.iter().map(|place| place.id.as_deref()).collect();
        if ids.iter().any(Option::is_some) {
            let ids: Vec<_> = ids.iter().map(|id| query_part(id.unwrap_or_default())).collect();
            return format!("envelope=json&after={}", ids.join(","));
        }
        match self.last {
            Some(last) => format!("envelope=json&last={last}"),
            None => "envelope=json".to_owned(),
        }
    }

    /// All up to this id was printed, and what follows comes without a gap: a publication or a greeting has
    /// said so.
    pub fn reached(&mut self, topic: &str, id: Option<&str>) {
        self.last = None;
        self.of(topic).id = id.map(str::to_owned);
    }

    fn of(&mut self, topic: &str) -> &mut Place {
        let is_it = |place: &Place| place.topic.as_deref() == Some(topic);
        // Greetings come in the order of the URL.
        let known = self.places.iter().position(is_it);
        let known = known.or_else(|| self.places.iter().position(|place| place.topic.is_none()));
        let at = known.unwrap_or(self.places.len());
        if at == self.places.len() {
            self.places.push(Place::default());
        }
        let place = &mut self.places[at];
        place.topic.get_or_insert_with(|| topic.to_owned());
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun_after(ids: &[&str]) -> Places {
        Places::new(2, &Start::After(ids.iter().map(|id| (*id).to_owned()).collect()))
    }

    #[test]
    fn the_first_connection_asks_for_what_the_options_say() {
        assert_eq!(begun_after(&[]).query(), "envelope=json");
        assert_eq!(begun_after(&["a-1"]).query(), "envelope=json&after=a-1,");
        assert_eq!(begun_after(&["", "a-1"]).query(), "envelope=json&after=,a-1");
        assert_eq!(begun_after(&["a,b&", "c"]).query(), "envelope=json&after=a%2Cb%26,c");
        assert_eq!(Places::new(2, &Start::Last(3)).query(), "envelope=json&last=3");
    }

    #[test]
    fn the_next_one_asks_for_what_is_behind_the_place_in_each_topic() {
        let mut places = begun_after(&["d-1"]);
        places.reached("a", Some("e-5"));
        assert_eq!(places.query(), "envelope=json&after=e-5,");
        places.reached("b", Some("f-0"));
        places.reached("b", Some("f-1"));
        assert_eq!(places.query(), "envelope=json&after=e-5,f-1");
        // The order is that of the first connection.
        places.reached("b", Some("f-2"));
        places.reached("a", Some("e-6"));
        assert_eq!(places.query(), "envelope=json&after=e-6,f-2");
        places.reached("a", None);
        assert_eq!(places.query(), "envelope=json&after=,f-2");
    }

    #[test]
    fn the_last_publications_are_asked_for_once() {
        let mut places = Places::new(2, &Start::Last(3));
        places.reached("a", None);
        assert_eq!(places.query(), "envelope=json");
        places.reached("b", Some("f-1"));
        assert_eq!(places.query(), "envelope=json&after=,f-1");
    }
}
