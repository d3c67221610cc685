//! Messages as both encodings have them: fields with a name, which JSON uses, and a number, which Protobuf uses.
//! What a message has is written once, against these.

use std::borrow::Cow;

use pushloop::Message;

/// A field's name in JSON and its number in Protobuf.
pub type Field = (&'static str, u32);

/// What was sent is not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A message that came. A field that is not there reads as empty, as 0 or as false. Of one that is there more
/// than once, the last counts. One that is of another type is an error.
pub trait Source<'a>: Sized {
    fn text(&self, field: Field) -> Result<Cow<'a, str>, Malformed>;
    fn number(&self, field: Field) -> Result<u64, Malformed>;
    fn signed(&self, field: Field) -> Result<i32, Malformed>;
    fn flag(&self, field: Field) -> Result<bool, Malformed>;
    /// Bytes that the application makes, which are JSON in JSON.
    fn data(&self, field: Field) -> Result<Option<Message<'a>>, Malformed>;
    fn message(&self, field: Field) -> Result<Option<Self>, Malformed>;
    /// A map from texts to messages.
    fn entries(&self, field: Field) -> Result<Vec<(Cow<'a, str>, Self)>, Malformed>;

    fn number_32(&self, field: Field) -> Result<u32, Malformed> {
        self.number(field)?.try_into().map_err(|_| Malformed)
    }
}

/// A message that is made. What is empty, 0 or false is left out.
pub trait Sink: Sized {
    fn text(&mut self, field: Field, text: &str);
    fn number(&mut self, field: Field, number: u64);
    fn flag(&mut self, field: Field, flag: bool);
    /// A publication's, which may be no JSON.
    fn data(&mut self, field: Field, data: Message<'_>);
    /// It is there even if nothing is in it.
    fn message(&mut self, field: Field, fill: impl FnOnce(&mut Self));
    fn list<T>(
        &mut self,
        field: Field,
        items: impl IntoIterator<Item = T>,
        fill: impl FnMut(&mut Self, T),
    );
    fn entries<K: AsRef<str>, T>(
        &mut self,
        field: Field,
        items: impl IntoIterator<Item = (K, T)>,
        fill: impl FnMut(&mut Self, T),
    );
}
