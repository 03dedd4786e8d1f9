//! The command line, without a broker.
