//! What the answers of a lookup's steps come to together (contract §11): pure, and whole, so that the tests can walk
//! every mode with every outcome. `docs/lookups.md` shows the same table.

use schemars::JsonSchema;
use serde::Deserialize;

/// In which order the steps are asked, and what of their answers counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In order, until one finds.
    First,
    /// All at once; the first that finds wins.
    Race,
    /// All; what they find is put together.
    Merge,
    /// In order; each is asked by what the one before found.
    Chain,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::First, Self::Race, Self::Merge, Self::Chain];

    /// The name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Race => "race",
            Self::Merge => "merge",
            Self::Chain => "chain",
        }
    }

    /// Whether one provider alone gives the answer.
    #[must_use]
    pub fn has_one_answer(self) -> bool {
        matches!(self, Self::First | Self::Race)
    }
}

/// What one step said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// A customer with all that is wanted.
    Found,
    /// A customer, but without something that is wanted.
    Lacking,
    /// That there is none.
    NotFound,
    /// Nothing: it failed.
    Failed,
    /// Nothing: it was not asked, though it could have been another time.
    Skipped,
    /// Nothing: the job lacks what it takes.
    NoValue,
}

impl Said {
    /// Everything that a step may say.
    pub const ALL: [Self; 6] = [
        Self::Found,
        Self::Lacking,
        Self::NotFound,
        Self::Failed,
        Self::Skipped,
        Self::NoValue,
    ];
}

/// What they come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A customer was found.
    Found {
        /// The step whose answer it is, where one alone gives it.
        by: Option<usize>,
        /// A step failed or was skipped, so there may be more.
        incomplete: bool,
    },
    /// Every step that could be asked said that there is none.
    NotFound,
    /// The step failed, and nobody found anybody.
    Failed(usize),
    /// Nobody failed and nobody found anybody, but not everybody was asked.
    Unasked,
}

/// What the steps that count, in the order of the steps, come to.
#[must_use]
pub fn verdict(mode: Mode, said: &[Said]) -> Verdict {
    let first = |wanted: Said| said.iter().position(|said| *said == wanted);
    let failed = first(Said::Failed);
    if let Some(best) = first(Said::Found).or_else(|| first(Said::Lacking)) {
        return Verdict::Found {
            by: mode.has_one_answer().then_some(best),
            incomplete: failed.is_some() || said.contains(&Said::Skipped),
        };
    }
    if let Some(failed) = failed {
        return Verdict::Failed(failed);
    }
    if said.contains(&Said::Skipped) || !said.contains(&Said::NotFound) {
        return Verdict::Unasked;
    }
    Verdict::NotFound
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every outcome of three steps, in every mode.
    fn all() -> impl Iterator<Item = (Mode, [Said; 3])> {
        Mode::ALL.into_iter().flat_map(|mode| {
            Said::ALL.into_iter().flat_map(move |a| {
                Said::ALL
                    .into_iter()
                    .flat_map(move |b| Said::ALL.into_iter().map(move |c| (mode, [a, b, c])))
            })
        })
    }

    #[test]
    fn somebody_is_found_if_a_step_found_somebody_whatever_befell_the_others() {
        for (mode, said) in all() {
            let found = said.contains(&Said::Found) || said.contains(&Said::Lacking);
            let verdict = verdict(mode, &said);
            assert_eq!(
                matches!(verdict, Verdict::Found { .. }),
                found,
                "{mode:?} {said:?}"
            );
            if let Verdict::Found { by, incomplete } = verdict {
                let lost = said.contains(&Said::Failed) || said.contains(&Said::Skipped);
                assert_eq!(incomplete, lost, "{mode:?} {said:?}");
                assert_eq!(by.is_some(), mode.has_one_answer(), "{mode:?} {said:?}");
            }
        }
    }

    #[test]
    fn nobody_is_new_unless_every_step_that_could_be_asked_said_so() {
        for (mode, said) in all() {
            let honest = said.contains(&Said::NotFound)
                && said
                    .iter()
                    .all(|said| matches!(said, Said::NotFound | Said::NoValue));
            let verdict = verdict(mode, &said);
            assert_eq!(verdict == Verdict::NotFound, honest, "{mode:?} {said:?}");
        }
    }

    #[test]
    fn the_earliest_failure_is_told_where_nobody_was_found() {
        for (mode, said) in all() {
            let found = said.contains(&Said::Found) || said.contains(&Said::Lacking);
            let failed = said.iter().position(|said| *said == Said::Failed);
            let expected = failed.filter(|_| !found).map(Verdict::Failed);
            let verdict = verdict(mode, &said);
            let told = matches!(verdict, Verdict::Failed(_)).then_some(verdict);
            assert_eq!(told, expected, "{mode:?} {said:?}");
        }
    }

    #[test]
    fn of_those_that_lack_something_the_earliest_is_best_and_one_that_lacks_nothing_is_better() {
        let by = |said: &[Said]| match verdict(Mode::First, said) {
            Verdict::Found { by, .. } => by,
            _ => None,
        };
        assert_eq!(by(&[Said::Lacking, Said::Lacking]), Some(0));
        assert_eq!(
            by(&[Said::NotFound, Said::Lacking, Said::NotFound]),
            Some(1)
        );
        assert_eq!(by(&[Said::Lacking, Said::Found]), Some(1));
    }
}
