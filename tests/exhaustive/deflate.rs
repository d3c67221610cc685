//! Compressed messages, by chance: whatever is sent, however it is cut, and whichever peers lag.

mod pressure;
mod streams;
mod window;
