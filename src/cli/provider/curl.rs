//! A curl command line as the request that it makes.

use std::fmt::Display;

use url::Url;

/// What a curl command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Curl {
    /// The address, with `{name}` where whoever wrote it marked a value.
    pub address: String,
    /// POST, or else GET.
    pub is_post: bool,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// `-u`: HTTP Basic. Its value is not kept.
    pub has_user: bool,
    /// The body, or, with `-G`, more parameters.
    pub data: Vec<String>,
}

/// Options of curl that take a value and say nothing of the request itself.
const TAKE_A_VALUE: [&str; 12] = [
    "-o",
    "--output",
    "-m",
    "--max-time",
    "--connect-timeout",
    "--retry",
    "-w",
    "--write-out",
    "--cacert",
    "-E",
    "--cert",
    "--key",
];

impl Curl {
    /// Reads a command line as a shell does.
    ///
    /// # Errors
    /// What was not understood.
    pub fn parse(line: &str) -> Result<Self, String> {
        let words = shell_words::split(line).map_err(|error| wrong(&error))?;
        // What is behind it reads the answer.
        let words = words.into_iter().take_while(|word| word != "|");
        let mut words = words.collect::<Vec<_>>().into_iter().peekable();
        if words.next_if(|word| word == "curl").is_none() {
            let first = words.peek().map_or("", String::as_str);
            if !first.contains(['/', '.', '-']) {
                return Err(wrong(&format!("it begins with {first:?}")));
            }
        }
        let mut curl = Self::default();
        let (mut method, mut as_parameters) = (None, false);
        while let Some(word) = words.next() {
            let (option, attached) = option(&word);
            let mut value = || {
                attached
                    .map(str::to_owned)
                    .or_else(|| words.next())
                    .ok_or_else(|| wrong(&format!("{option} without a value")))
            };
            match option {
                "-X" | "--request" => method = Some(value()?),
                "-H" | "--header" => curl.headers.extend(header(&value()?)),
                "-u" | "--user" => {
                    value()?;
                    curl.has_user = true;
                }
                "-d" | "--data" | "--data-raw" | "--data-binary" | "--data-ascii" | "--json"
                | "--data-urlencode" => curl.data.push(value()?),
                "--url" => curl.address = value()?,
                "-A" | "--user-agent" | "-e" | "--referer" | "-b" | "--cookie" => _ = value()?,
                "-G" | "--get" => as_parameters = true,
                option if TAKE_A_VALUE.contains(&option) => _ = value()?,
                option if option.starts_with('-') => {}
                address => address.clone_into(&mut curl.address),
            }
        }
        curl.is_post = match method.as_deref() {
            Some("POST") => true,
            Some("GET") => false,
            Some(other) => {
                return Err(wrong(&format!(
                    "the method is {other}, expected GET or POST: a lookup changes nothing"
                )));
            }
            None => !curl.data.is_empty() && !as_parameters,
        };
        if !curl.is_post {
            curl.data_to_parameters();
        }
        if Url::parse(&curl.address).is_err_and(|_| !curl.address.contains("://")) {
            curl.address.insert_str(0, "https://");
        }
        let address = Url::parse(&curl.address).map_err(|_| wrong(&"it holds no address"))?;
        curl.has_user |= !address.username().is_empty();
        Ok(curl)
    }

    fn data_to_parameters(&mut self) {
        for data in self.data.drain(..) {
            let mark = if self.address.contains('?') { '&' } else { '?' };
            self.address.push(mark);
            self.address.push_str(&data);
        }
    }
}

fn wrong(problem: &dyn Display) -> String {
    format!(
        "--from-curl: expected a curl command line, as 'curl https://crm.example.com/contacts?phone=…': {problem}"
    )
}

/// An option and the value that is attached to it: `-XPOST`, `--request=POST`.
fn option(word: &str) -> (&str, Option<&str>) {
    match word.as_bytes() {
        [b'-', b'-', ..] => match word.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (word, None),
        },
        [b'-', letter, _, ..] if b"XHudAeb".contains(letter) => (&word[..2], Some(&word[2..])),
        _ => (word, None),
    }
}

fn header(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once(':')?;
    Some((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_in_every_form_that_curl_takes() {
        let curl = Curl::parse(
            r#"curl -s -XPOST --header="Accept: application/json" 'https://crm.test/find' -u me:secret --data-raw '{"a":1}' -o /dev/null"#,
        )
        .unwrap();
        assert_eq!(
            curl,
            Curl {
                address: "https://crm.test/find".into(),
                is_post: true,
                headers: vec![("Accept".into(), "application/json".into())],
                has_user: true,
                data: vec![r#"{"a":1}"#.into()],
            }
        );
        let get = Curl::parse("curl -G crm.test/find --data-urlencode q=1").unwrap();
        assert_eq!(
            (get.address.as_str(), get.is_post),
            ("https://crm.test/find?q=1", false)
        );
        let piped = Curl::parse("curl https://me:secret@crm.test/find?q=1 | jq .").unwrap();
        assert!(piped.has_user && piped.address.ends_with("/find?q=1"));
    }

    #[test]
    fn what_is_no_lookup_is_refused() {
        for line in [
            "curl -X DELETE https://crm.test/1",
            "curl 'https://crm.test",
            "curl -H",
            "wget https://crm.test/find",
        ] {
            assert!(
                Curl::parse(line).unwrap_err().starts_with("--from-curl: "),
                "{line}"
            );
        }
    }
}
