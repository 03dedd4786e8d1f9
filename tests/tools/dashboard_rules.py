"""The expressions of a Grafana dashboard as recording rules on standard output, for promtool to read:
dashboard_rules.py FILE. Variables get a value of their own kind."""

import json
import sys

VALUES = {
    "$__rate_interval": "5m",
    "$provider": ".*",
    "$prefix": "lookup",
}


def expressions(value):
    if isinstance(value, dict):
        if isinstance(value.get("expr"), str):
            yield value["expr"]
        for inner in value.values():
            yield from expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        dashboard = json.load(file)
    rules = []
    for number, expression in enumerate(expressions(dashboard)):
        for variable, value in VALUES.items():
            expression = expression.replace(variable, value)
        rules.append({"record": f"dashboard:{number}", "expr": expression})
    # JSON is YAML.
    json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
