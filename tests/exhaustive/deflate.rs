//! Compressed messages, by chance: whatever is sent, however it is cut, and whoever lags.

mod pressure;
mod streams;
mod window;
