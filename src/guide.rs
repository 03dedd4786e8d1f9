//! What stands in `docs/`, for those who run the worker and those who change it.
//!
//! The files lie beside the sources of a checkout and are read when documentation is made, not when the program is.

#[cfg_attr(doc, doc = "[What can fail]: crate::guide::failures\n\n")]
#[cfg_attr(doc, doc = include_str!("../docs/architecture.md"))]
#[cfg_attr(not(doc), doc = "`docs/architecture.md`")]
pub mod architecture {}

#[cfg_attr(doc, doc = include_str!("../docs/failures.md"))]
#[cfg_attr(not(doc), doc = "`docs/failures.md`")]
pub mod failures {}

#[cfg_attr(doc, doc = include_str!("../docs/from-your-program.md"))]
#[cfg_attr(not(doc), doc = "`docs/from-your-program.md`")]
pub mod from_your_program {}

#[cfg_attr(doc, doc = include_str!("../docs/lookups.md"))]
#[cfg_attr(not(doc), doc = "`docs/lookups.md`")]
pub mod lookups {}

#[cfg_attr(doc, doc = "[What can fail]: crate::guide::failures\n\n")]
#[cfg_attr(doc, doc = include_str!("../docs/operations.md"))]
#[cfg_attr(not(doc), doc = "`docs/operations.md`")]
pub mod operations {}

#[cfg_attr(doc, doc = include_str!("../docs/performance.md"))]
#[cfg_attr(not(doc), doc = "`docs/performance.md`")]
pub mod performance {}

#[cfg_attr(doc, doc = include_str!("../docs/providers-word.md"))]
#[cfg_attr(not(doc), doc = "`docs/providers-word.md`")]
pub mod providers_word {}

#[cfg_attr(doc, doc = include_str!("../docs/upgrading.md"))]
#[cfg_attr(not(doc), doc = "`docs/upgrading.md`")]
pub mod upgrading {}
