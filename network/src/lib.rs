//! quorate-network
