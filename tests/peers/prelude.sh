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

# build_program MODULE VERSION PACKAGE PROGRAM [BUILD ARGUMENT…]: a program of a module whose go.mod has
# `replace` lines, which `go install` refuses. A module of ours takes them over, but for replacements by
# folders, which only its repository has.
build_program() {
    module=$1 module_version=$2 package=$3 program=$4
    shift 4
    mkdir -p "$build"
    cd "$build"
    rm -f go.mod go.sum
    go mod init peer 2>/dev/null
    heavy go mod download -json "$module@v$module_version" >download.json ||
        fail "$module v$module_version cannot be had"
    source=$(sed -n 's/^[[:space:]]*"Dir": "\(.*\)",$/\1/p' download.json)
    sed -e 's|^module .*|module peer|' -e '/=> \.\{1,2\}\//d' "$source/go.mod" >go.mod
    cat "$source/go.sum" >go.sum
    go mod edit -require "$module@v$module_version"
    heavy go build -mod=mod -trimpath -o "$bin/$program" "$@" "$module/$package" ||
        fail "$program does not build in $build"
}
