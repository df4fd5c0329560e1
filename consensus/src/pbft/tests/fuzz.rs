//! Fuzz targets (`docs/testing.md`, Fuzzing): any bytes as a message or a record, any events in any order.

mod events;
mod happening;
mod oracle;
mod wire;
mod world;
