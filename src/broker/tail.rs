//! What a job that waits carries behind its body: what the steps of a lookup have said. One header tells how long it
//! is, and nothing else of it.

use bytes::Bytes;

/// The form that this program writes and reads.
const VERSION: u32 = 1;

/// What stands behind a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    /// Nothing.
    None,
    /// This.
    Known(Bytes),
    /// Something in a form of a later version: whoever reads that has to go on with the job.
    Foreign,
}

/// Body and tail of what came, as the header says. Anybody can write it: what it does not describe has no tail.
pub(super) fn cut(whole: &Bytes, header: Option<&str>) -> (Bytes, Tail) {
    let none = (whole.clone(), Tail::None);
    let Some((version, length)) = header.and_then(|header| header.split_once(':')) else {
        return none;
    };
    match (version.parse::<u32>(), length.parse::<usize>()) {
        (Ok(VERSION), Ok(length)) if length <= whole.len() => {
            let end = whole.len() - length;
            (whole.slice(..end), Tail::Known(whole.slice(end..)))
        }
        (Ok(version), _) if version > VERSION => (whole.clone(), Tail::Foreign),
        _ => none,
    }
}

/// The header of a tail of this length.
pub(super) fn header_of(length: usize) -> String {
    format!("{VERSION}:{length}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_header_describes_is_cut_off_and_nothing_else() {
        let whole = Bytes::from_static(b"bodytail");
        let body = |header| cut(&whole, header);
        let header = header_of(4);
        assert_eq!(
            body(Some(&header)),
            ("body".into(), Tail::Known("tail".into()))
        );
        for header in [
            None,
            Some(""),
            Some("1"),
            Some("1:9"),
            Some("1:x"),
            Some("0:4"),
            Some("x:4"),
        ] {
            assert_eq!(body(header), (whole.clone(), Tail::None), "{header:?}");
        }
        for header in ["2:4", "2:4:more", "17:whatever"] {
            assert_eq!(
                body(Some(header)),
                (whole.clone(), Tail::Foreign),
                "{header}"
            );
        }
    }
}
