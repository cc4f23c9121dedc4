# What every script here begins with: where peers live, how to speak, how to give up.
# Sourced, not run: `. "$(dirname "$0")/prelude.sh"`.

set -eu

peer=$(basename "$0")
root=$(cd "$(dirname "$0")/../.." && pwd)
bin=$root/target/peers/bin
build=$root/target/peers/build/$peer
mkdir -p "$bin"

say() { printf '%s: %s\n' "$peer" "$*"; }

fail() {
    printf '%s: FAILED: %s\n' "$peer" "$*" >&2
    exit 1
}

# skip_if_present PROGRAM WANTED COMMAND…: leaves the script when $bin/PROGRAM is there and COMMAND prints WANTED.
skip_if_present() {
    program=$bin/$1 wanted=$2
    shift 2
    [ -x "$program" ] || return 0
    if "$@" 2>&1 | grep -qF -- "$wanted"; then
        say "$program is there"
        exit 0
    fi
    say "$program is there, but is not $wanted: making it anew"
}

need_go() {
    command -v go >/dev/null 2>&1 ||
        fail "it is built from source with Go, and there is no \`go\` on this machine (https://go.dev/doc/install)"
    say "building with $(go version | cut -d' ' -f3); the first time takes minutes"
}

# Builds are polite: a test or a measurement may be running beside them.
heavy() { nice -n 10 "$@"; }
