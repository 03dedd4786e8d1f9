//! Which column is what: a row as the job that it asks for, or why it asks for none.

use std::path::Path;

use csv::StringRecord;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::sheet::{Row, Sheet};
use crate::{cli::Failed, lane::Lane};

/// AMQP carries ids of this length at most.
const LONGEST_ID: usize = 255;

/// `CRITERION=COLUMN`, as on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping {
    pub criterion: String,
    pub column: String,
}

impl std::str::FromStr for Mapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((criterion, column))
                if !criterion.trim().is_empty() && !column.trim().is_empty() =>
            {
                Ok(Self {
                    criterion: criterion.trim().to_owned(),
                    column: column.trim().to_owned(),
                })
            }
            _ => Err("expected CRITERION=COLUMN, as phone=Mobile".into()),
        }
    }
}

/// Where in a row everything stands, and what goes with every job.
#[derive(Debug)]
pub(super) struct Columns {
    /// Criterion, its column's name and place; of several columns of one criterion the first that is filled counts.
    criteria: Vec<(String, String, usize)>,
    id: Option<usize>,
    width: usize,
    /// Of the file, for rows that have no id of their own.
    name: String,
    provider: String,
    lane: Lane,
    options: Option<Value>,
}

/// What a row asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Asked {
    /// A job's body.
    Job(Vec<u8>),
    /// It is no job; why.
    Nothing(String),
}

impl Columns {
    pub fn find(
        sheet: &Sheet,
        path: &Path,
        mappings: &[Mapping],
        id: Option<&str>,
        (provider, lane, options): (&str, Lane, Option<Value>),
    ) -> Result<Self, Failed> {
        let place = |column: &str| place(&sheet.header, column);
        let criteria = mappings
            .iter()
            .map(|mapping| {
                let at = place(&mapping.column)?;
                Ok((mapping.criterion.clone(), mapping.column.clone(), at))
            })
            .collect::<Result<_, Failed>>()?;
        let name = path.file_stem().unwrap_or_default();
        Ok(Self {
            criteria,
            id: id.map(place).transpose()?,
            width: sheet.header.len(),
            name: name.to_string_lossy().into_owned(),
            provider: provider.to_owned(),
            lane,
            options,
        })
    }

    /// The row's own id. One without is known by its place and what stands there, so that another row at the same
    /// place of a later export is not taken for it.
    pub fn id(&self, row: &Row) -> String {
        let own = self.id.and_then(|at| row.fields.get(at)).map(str::trim);
        if let Some(id) = own.filter(|id| !id.is_empty()) {
            return id.to_owned();
        }
        let content = Uuid::new_v5(&Uuid::NAMESPACE_OID, row.fields.as_slice().as_bytes());
        let mark = content.simple().to_string();
        format!("{}-{}-{}", self.name, row.number, &mark[..8])
    }

    /// The job of a row with this id.
    pub fn asked(&self, row: &Row, id: &str) -> Asked {
        if let Some(field) = row.flaw {
            return Asked::Nothing(format!(
                "row {}: the quotation mark that opens field {field} is not closed before the row ends, or more stands \
                 behind that which closes it; a mark within a quoted field is written twice",
                row.number
            ));
        }
        let mut query = Map::new();
        for (criterion, column, at) in &self.criteria {
            let value = row.fields.get(*at).unwrap_or_default().trim();
            if value.contains('\u{FFFD}') {
                return Asked::Nothing(format!(
                    "`{criterion}`: column {column} of row {} has bytes that are none in the file's coding; \
                     name the right one by --encoding",
                    row.number
                ));
            }
            if value.contains(['\n', '\r']) {
                return Asked::Nothing(format!(
                    "`{criterion}`: column {column} of row {} holds several lines, expected one; \
                     is a quotation mark left open in it?",
                    row.number
                ));
            }
            if !value.is_empty() && !query.contains_key(criterion) {
                query.insert(criterion.clone(), value.into());
            }
        }
        if let Some(problem) = self.problem(&row.fields, row.number, id, &query) {
            return Asked::Nothing(problem);
        }
        let mut job =
            json!({ "id": id, "provider": self.provider, "lane": self.lane, "query": query });
        if let Some(options) = &self.options {
            job["options"] = options.clone();
        }
        Asked::Job(job.to_string().into_bytes())
    }

    fn problem(
        &self,
        fields: &StringRecord,
        number: u64,
        id: &str,
        query: &Map<String, Value>,
    ) -> Option<String> {
        let beyond = fields.iter().skip(self.width);
        if beyond.into_iter().any(|field| !field.trim().is_empty()) {
            return Some(format!(
                "row {number}: expected {} fields, got {}; is a separator within a field that has no quotes?",
                self.width,
                fields.len()
            ));
        }
        if id.len() > LONGEST_ID {
            return Some(format!(
                "row {number}: its id has {} bytes, expected at most {LONGEST_ID}",
                id.len()
            ));
        }
        query.is_empty().then(|| {
            let mut columns: Vec<&str> = self
                .criteria
                .iter()
                .map(|(_, column, _)| column.as_str())
                .collect();
            columns.dedup();
            format!(
                "row {number}: expected a value in {}, got none",
                columns.join(" or ")
            )
        })
    }
}

/// The place of the column of this name, which is unique; capital letters count only where they must.
fn place(header: &[String], column: &str) -> Result<usize, Failed> {
    let places = |same: &dyn Fn(&str) -> bool| -> Vec<usize> {
        let named = header.iter().enumerate().filter(|(_, name)| same(name));
        named.map(|(at, _)| at).collect()
    };
    let exact = places(&|name| name == column);
    let found = if exact.is_empty() {
        places(&|name| name.to_lowercase() == column.to_lowercase())
    } else {
        exact
    };
    match found[..] {
        [at] => Ok(at),
        [] => Err(Failed::misused(format_args!(
            "no column {column:?}; the first line names {}",
            shown(header)
        ))),
        _ => Err(Failed::misused(format_args!(
            "{} columns are named {column:?}; expected one",
            found.len()
        ))),
    }
}

/// The names of columns. A table without a header has a person's data there.
fn shown(header: &[String]) -> String {
    let private =
        |name: &String| name.contains('@') || name.bytes().filter(u8::is_ascii_digit).count() > 4;
    if header.iter().any(private) {
        return "no columns, it seems, but holds a row; expected a header".into();
    }
    header
        .iter()
        .map(|name| format!("{name:?}"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "Id,Mobile,Phone,Name\n";

    fn columns(id: Option<&str>) -> Columns {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), TABLE).unwrap();
        let sheet = Sheet::open(file.path(), None, None).unwrap();
        let mappings = ["phone=mobile", "phone=Phone"].map(|text| text.parse().unwrap());
        let with = ("antsomi", Lane::Bulk, None);
        Columns::find(&sheet, Path::new("crm.csv"), &mappings, id, with).unwrap()
    }

    fn row(fields: &[&str]) -> Row {
        Row {
            number: 7,
            fields: fields.to_vec().into(),
            flaw: None,
        }
    }

    fn asked(fields: &[&str]) -> Asked {
        let (columns, row) = (columns(Some("Id")), row(fields));
        let id = columns.id(&row);
        columns.asked(&row, &id)
    }

    #[test]
    fn the_first_column_that_is_filled_is_asked_for() {
        for fields in [&["c-1", " 84 1 ", "84 2", ""][..], &["c-1", "", "84 1"]] {
            let Asked::Job(job) = asked(fields) else {
                panic!("{fields:?}")
            };
            let job: Value = serde_json::from_slice(&job).unwrap();
            let expected = json!({
                "id": "c-1", "provider": "antsomi", "lane": "bulk", "query": {"phone": "84 1"}
            });
            assert_eq!(job, expected);
        }
    }

    #[test]
    fn a_bad_row_tells_what_is_wrong_with_it_and_no_value() {
        for (fields, words) in [
            (&["c-1", "", " ", "Ada"][..], "a value in mobile or Phone"),
            (
                &["c-1", "84", "", "King", "Ada"],
                "expected 4 fields, got 5",
            ),
            (&["c-1", "84\u{FFFD}1"], "--encoding"),
            (&["c-1", "84\n2"], "several lines"),
            (&[&"i".repeat(256), "84"], "256 bytes"),
        ] {
            let Asked::Nothing(problem) = asked(fields) else {
                panic!("{fields:?}")
            };
            assert!(problem.contains(words), "{problem}");
            assert!(!problem.contains("84"), "{problem}");
        }
    }

    #[test]
    fn a_row_without_an_id_is_known_by_its_place_and_content() {
        let columns = columns(None);
        let id = columns.id(&row(&["1", "84"]));
        assert!(id.starts_with("crm-7-"), "{id}");
        assert_eq!(id, columns.id(&row(&["1", "84"])));
        assert_ne!(id, columns.id(&row(&["1", "85"])));
    }

    #[test]
    fn a_column_that_is_not_there_is_told_with_those_that_are() {
        let header = ["Id", "Mobile", "Mobile"].map(str::to_owned);
        let told = |header: &[String], column| place(header, column).unwrap_err().message;
        assert!(told(&header, "Mobil").contains(r#""Id", "Mobile""#));
        assert!(told(&header, "Mobile").contains("2 columns"));
        let no_header = ["1", "84907089782"].map(str::to_owned);
        assert!(!told(&no_header, "Mobile").contains("84907089782"));
    }
}
