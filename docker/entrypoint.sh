#!/bin/sh
# The image's command: what to run, then its own arguments.
set -eu
name=${1:-}
flags=--enable-source-maps
case $name in
  api | worker | migrate | seed) file=processes/$name.js ;;
  register-agent) file=processes/registerAgent.js ;;
  # An agent lives beside what it serves: a smaller young generation saves a quarter of its memory.
  agent) file=agent/main.js flags="--max-semi-space-size=4 $flags" ;;
  *)
    echo 'usage: aymc api | worker | agent | migrate | seed | register-agent' >&2
    exit 64
    ;;
esac
shift
# shellcheck disable=SC2086 -- several flags
exec node $flags "/app/dist/$file" "$@"
