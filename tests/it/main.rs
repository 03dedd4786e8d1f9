//! The one integration binary: a module for each part of the world that the worker meets.

mod conformance; // the five kinds, held against their documents; no I/O
