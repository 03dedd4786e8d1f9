//! Commands that mend what is wrong on a broker, as a person types them, for the programs that this broker came with.

use lapin::{ExchangeKind, types::FieldTable};
use serde_json::Value;

use super::{
    browse::table,
    inquiry::Version,
    topology::{POLICY, WANTED},
};

/// The first whose `rabbitmqadmin` is of the second kind; the first kind is not shipped any more.
const SECOND_RABBITMQADMIN: Version = Version(4, 3, 0);

/// Writes commands for one virtual host.
#[derive(Debug, Clone)]
pub struct Cures {
    /// As a shell reads it.
    vhost: String,
    second: bool,
}

impl Cures {
    /// For a broker of this version; of an unknown one it is taken that it is of today.
    #[must_use]
    pub fn new(vhost: &str, version: Option<Version>) -> Self {
        Self {
            vhost: quoted(vhost),
            second: version.is_none_or(|version| version >= SECOND_RABBITMQADMIN),
        }
    }

    /// Declares a durable exchange.
    pub(super) fn declare_exchange(
        &self,
        name: &str,
        kind: &ExchangeKind,
        alternate: Option<&str>,
    ) -> String {
        let kind = match kind {
            ExchangeKind::Topic => "topic",
            ExchangeKind::Direct => "direct",
            _ => "fanout",
        };
        let arguments = alternate
            .map(|alternate| quoted(&format!("{{\"alternate-exchange\":\"{alternate}\"}}")));
        let mut options = vec![("name", name), ("type", kind), ("durable", "true")];
        options.extend(arguments.as_deref().map(|text| ("arguments", text)));
        self.admin("declare exchange", &options)
    }

    /// Declares a durable queue, and binds it.
    pub(super) fn declare_queue(
        &self,
        name: &str,
        arguments: &FieldTable,
        bindings: &[(String, String)],
    ) -> String {
        let arguments = table(arguments);
        let kind = arguments.get("x-queue-type").and_then(Value::as_str);
        let kind = kind.unwrap_or("classic").to_owned();
        let arguments = quoted(&Value::Object(arguments).to_string());
        let mut options = vec![("name", name), ("durable", "true")];
        // The second kind of rabbitmqadmin makes a classic one of it, whatever the arguments say.
        options.extend(self.second.then_some(("type", kind.as_str())));
        options.push(("arguments", &arguments));
        let declaration = self.admin("declare queue", &options);
        let bindings = bindings.iter().map(|(exchange, key)| {
            let key = quoted(key);
            let mut options = vec![("source", exchange.as_str())];
            options.extend(self.second.then_some(("destination-type", "queue")));
            options.extend([("destination", name), ("routing-key", &key)]);
            self.admin("declare binding", &options)
        });
        let commands: Vec<_> = std::iter::once(declaration).chain(bindings).collect();
        commands.join(" && ")
    }

    /// Deletes an exchange.
    pub(super) fn delete_exchange(&self, name: &str) -> String {
        self.admin("delete exchange", &[("name", name)])
    }

    /// Deletes a queue with what is in it.
    pub(super) fn delete_queue(&self, name: &str) -> String {
        format!("rabbitmqctl --vhost {} delete_queue {name}", self.vhost)
    }

    /// Gives a worker's user the rights that it needs, and takes away what else it has in this virtual host.
    pub(super) fn permit(&self, user: &str, prefix: &str, declares: bool) -> String {
        let prefix = prefix.replace('.', r"\.");
        let configure = if declares {
            format!(r"^{prefix}\.")
        } else {
            format!(r"^{prefix}\.(notices|replies)\.")
        };
        let (write, read) = (
            format!(r"^({prefix}\..*|amq\.default)$"),
            format!(r"^{prefix}\."),
        );
        let [user, configure, write, read] = [user, &configure, &write, &read].map(quoted);
        format!(
            "rabbitmqctl set_permissions --vhost {} {user} {configure} {write} {read}",
            self.vhost
        )
    }

    /// Lets the queues that workers consume from give to others what a consumer held whose node is gone.
    pub(super) fn hand_on(&self, prefix: &str) -> String {
        let named = prefix.replace('.', r"\.");
        let pattern = quoted(&format!(r"^{named}\.(jobs|suspect|delay|unrouted)"));
        let definition = quoted(&format!(r#"{{"{POLICY}":{WANTED}}}"#));
        format!(
            "rabbitmqctl set_policy --vhost {} --apply-to quorum_queues {prefix}-lost-node {pattern} {definition}",
            self.vhost
        )
    }

    /// Tells which policies there are.
    #[must_use]
    pub fn list_policies(&self) -> String {
        format!("rabbitmqctl list_policies --vhost {}", self.vhost)
    }

    /// The second kind has options, the first has words; names of options differ by a dash at most.
    fn admin(&self, what: &str, options: &[(&str, &str)]) -> String {
        let option = |(name, value): &(&str, &str)| {
            if self.second {
                format!(" --{name} {value}")
            } else {
                format!(" {}={value}", name.replace('-', "_"))
            }
        };
        let options: String = options.iter().map(option).collect();
        format!("rabbitmqadmin --vhost={} {what}{options}", self.vhost)
    }
}

/// As a shell reads it back.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_rabbitmqadmin_is_called_in_its_own_way() {
        let bindings = [("lookup.jobs".to_owned(), "a.#".to_owned())];
        let declare = |version| {
            Cures::new("a b", Some(version)).declare_queue("q", &FieldTable::default(), &bindings)
        };
        assert_eq!(
            declare(Version(4, 2, 9)),
            "rabbitmqadmin --vhost='a b' declare queue name=q durable=true arguments='{}' && \
             rabbitmqadmin --vhost='a b' declare binding source=lookup.jobs destination=q routing_key='a.#'"
        );
        assert_eq!(
            declare(Version(4, 3, 0)),
            "rabbitmqadmin --vhost='a b' declare queue --name q --durable true --type classic --arguments '{}' && \
             rabbitmqadmin --vhost='a b' declare binding --source lookup.jobs --destination-type queue \
             --destination q --routing-key 'a.#'"
        );
    }

    #[test]
    fn the_rights_are_those_of_the_prefix_and_no_pattern_of_it_is_taken_for_one() {
        let permit = Cures::new("/", None).permit("it's", "my.own", false);
        assert_eq!(
            permit,
            r"rabbitmqctl set_permissions --vhost / 'it'\''s' '^my\.own\.(notices|replies)\.' '^(my\.own\..*|amq\.default)$' '^my\.own\.'"
        );
    }
}
