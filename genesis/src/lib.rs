//! quorate-genesis
