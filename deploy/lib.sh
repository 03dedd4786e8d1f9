# shellcheck shell=bash disable=SC2034
# What deploy/test and deploy/demo share: a place, a voice, and what must be on the machine.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# What is built without optimisation leaves out jemalloc, which the released program has: its build takes nearly two
# minutes of a processor.
BUILD_OPTIONS=(--locked --no-default-features)
APT_OPTIONS=(-o DPkg::Lock::Timeout=300)

if [[ -t 1 && -z ${NO_COLOR-} && ${TERM-dumb} != dumb ]]; then
    BOLD=$'\e[1m' DIM=$'\e[2m' RED=$'\e[31m' GREEN=$'\e[32m' PLAIN=$'\e[0m'
else
    BOLD='' DIM='' RED='' GREEN='' PLAIN=''
fi

say() { printf '%s\n' "$*"; }
heading() { printf '\n%s== %s%s\n' "$BOLD" "$*" "$PLAIN"; }
note() { printf '%s%s%s\n' "$DIM" "$*" "$PLAIN"; }
die() {
    printf '%s%s: %s%s\n' "$RED" "$(basename "$0")" "$*" "$PLAIN" >&2
    exit 1
}

# The comment at the head of a script, as its --help.
help_text() { awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$1"; }

has() { command -v "$1" >/dev/null 2>&1; }

# "3 min 5 s", of a number of seconds
duration() {
    if (($1 < 60)); then printf '%d s' "$1"; else printf '%d min %d s' $(($1 / 60)) $(($1 % 60)); fi
}

can_install() { has apt-get && { ((EUID == 0)) || has sudo; }; }

as_root() {
    if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

# Installs Debian packages. A list that cannot be fetched is no reason to stop: the package may still be there.
install_packages() {
    note "apt-get install $*"
    local log
    log=$(mktemp)
    {
        as_root apt-get "${APT_OPTIONS[@]}" update </dev/null || true
        as_root env DEBIAN_FRONTEND=noninteractive apt-get "${APT_OPTIONS[@]}" \
            install -y --no-install-recommends "$@" </dev/null || true
    } >"$log" 2>&1
    # What counts is whether the program is there afterwards: a service that cannot be started on a machine
    # without an init fails the installation and is not needed here.
    if $PROOF; then rm -f "$log"; else tail -n 20 "$log" >&2 && rm -f "$log" && return 1; fi
}

need_rust() {
    # rustup's folder, where the shell's profile was not read
    [[ ! -d $HOME/.cargo/bin ]] || PATH=$PATH:$HOME/.cargo/bin
    has cargo || die "no Rust toolchain was found; install one: https://rustup.rs"
    can_build && return
    can_install || die "no C compiler or no make was found, which the build needs; install gcc (or clang), libc's headers and make"
    PROOF=can_build install_packages gcc libc6-dev make || die "no C compiler and make could be installed; see above"
}

can_build() { has cc && has make && echo '#include <stdlib.h>' | cc -E - >/dev/null 2>&1; }

# The folder of RabbitMQ's own scripts: those in /usr/sbin insist on the user rabbitmq. The tests look in the
# same places.
rabbitmq_sbin() {
    local folder
    for folder in "${RABBITMQ_SBIN:-}" /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin /opt/rabbitmq/sbin \
        /opt/homebrew/sbin /usr/local/sbin; do
        if [[ -n $folder && -f $folder/rabbitmq-server ]]; then
            printf '%s' "$folder"
            return
        fi
    done
    return 1
}

has_rabbitmq() { rabbitmq_sbin >/dev/null && has epmd; }

# Fails, where RabbitMQ is neither there nor can be installed.
get_rabbitmq() {
    has_rabbitmq && return
    can_install && PROOF=has_rabbitmq install_packages rabbitmq-server
}

# use_rabbitmq 3.10|4.0|4.3: the tests find it in RABBITMQ_SBIN; 3.10 is what the machine has. Fails where another cannot
# be made.
use_rabbitmq() {
    case $1 in
    3.10) ;;
    4.0 | 4.3) RABBITMQ_SBIN=$("$ROOT/deploy/rabbitmq-root" "$1") && export RABBITMQ_SBIN ;;
    *) die "--rabbitmq is 3.10, 4.0 or 4.3, not $1" ;;
    esac
}
