#!/bin/sh
# The image's command: what to run, then its own arguments.
set -eu
name=${1:-}
case $name in
  api | worker | migrate | seed) file=processes/$name.js ;;
  register-agent) file=processes/registerAgent.js ;;
  agent) file=agent/main.js ;;
  *)
    echo 'usage: aymc api | worker | agent | migrate | seed | register-agent' >&2
    exit 64
    ;;
esac
shift
exec node --enable-source-maps "/app/dist/$file" "$@"
