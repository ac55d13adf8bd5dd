#!/bin/sh
# The guard of one run of one server: one shell per running server, and the only parent its JVM ever has.
#
# usage: guard.sh STATE_DIR RUN_DIR STOP_SECONDS TERM_SECONDS COMMAND…      (working directory and environment are the JVM's)
#   STATE_DIR/lock   the kernel lock that allows one copy per host: taken here, inherited by the JVM, so it outlives the guard
#   STATE_DIR/lease  "boot_id from until" in seconds of /proc/uptime, replaced atomically; no such file = not leased
#   RUN_DIR/stdin    console FIFO, held open read-write here, so that the JVM sees no end of file when the agent dies
#   RUN_DIR/console.log, RUN_DIR/pid ("pid start_ticks boot_id guard_pid guard_start_ticks"), RUN_DIR/lease-expired, RUN_DIR/exit
# ends with 73 when another copy holds the lock, 74 when the run's files can't be made, 75 when this run was begun before,
# 76 when the server is leased and the lease is over
#
# Descriptors 9 (lock) and 3 (FIFO) must not leak into helpers that outlive their command. It is all one function, so
# that the shell has read the whole file before it begins: an upgrade may replace the file under a running guard.

# Sets `ticks` to the kernel's start time of process $1, which tells a reused pid apart.
start_ticks() {
  ticks=0
  read -r stat <"/proc/$1/stat" || return 1
  set -- ${stat##*) }
  ticks=${20}
}

# True once the JVM has ended, whether or not the shell has reaped it.
jvm_ended() {
  read -r stat <"/proc/$jvm/stat" || return 0
  stat=${stat##*) }
  [ "${stat%% *}" = Z ]
} 2>/dev/null

# True when a lease exists and does not cover this moment. An unreadable or foreign lease counts as expired.
lease_expired() {
  [ -f "$state/lease" ] || return 1
  boot='' from='' till=''
  read -r boot from till <"$state/lease" || [ -f "$state/lease" ] || return 1
  [ "$boot" = "$this_boot" ] && [ "$now" -ge "$from" ] && [ "$now" -lt "$till" ] && return 1
  return 0
} 2>/dev/null

# Whole seconds of CLOCK_BOOTTIME, the one clock that neither steps nor sleeps with the host.
tell_time() {
  read -r now _ </proc/uptime
  now=${now%.*}
}

guard() {
  state=$1 run=$2 stop_seconds=$3 term_seconds=$4
  shift 4
  exec 9>>"$state/lock" || exit 74
  flock -w 2 9 || exit 73
  [ ! -e "$run/pid" ] || exit 75
  [ -p "$run/stdin" ] || mkfifo -m 600 "$run/stdin" || exit 74
  exec 3<>"$run/stdin" || exit 74
  # Whoever started us may have been stopped for any time since it looked at the lease.
  read -r this_boot </proc/sys/kernel/random/boot_id
  tell_time
  ! lease_expired || exit 76

  # A trapped signal cuts `wait` short. CHLD: so that the end of the JVM is seen at once. The others: the host's shutdown
  # signals everyone, and a guard that obeyed would take the JVM with it before the world is saved. Not ignored (''),
  # since that would be inherited.
  trap : CHLD TERM INT HUP

  setsid setpriv --pdeathsig KILL "$@" <&3 3<&- >>"$run/console.log" 2>&1 &
  jvm=$!
  start_ticks "$$" && guard_ticks=$ticks && start_ticks "$jvm"
  echo "$jvm $ticks $this_boot $$ $guard_ticks" >"$run/pid.tmp" && mv "$run/pid.tmp" "$run/pid"

  stage=playing
  while :; do
    sleep 1 3>&- 9>&- &
    # Asked before and after: a JVM that ends while the shell is not in `wait` wakes nobody.
    jvm_ended || wait $!
    jvm_ended && break
    tell_time
    [ $stage != playing ] || lease_expired || continue
    case $stage in
    playing)
      # In the background and with a timeout: a deaf JVM's full FIFO would block the guard itself.
      : >"$run/lease-expired"
      timeout 2 sh -c 'printf "stop\n" >&3' 9>&- &
      stage=asked deadline=$((now + stop_seconds))
      ;;
    asked)
      [ "$now" -lt "$deadline" ] || { kill -TERM "$jvm"; stage=terminated deadline=$((now + term_seconds)); }
      ;;
    terminated)
      [ "$now" -lt "$deadline" ] || kill -KILL "-$jvm"
      ;;
    esac
  done
  wait "$jvm"
  code=$?
  # Whatever the JVM had started: it would keep the lock.
  kill -KILL "-$jvm" 2>/dev/null
  echo "$code" >"$run/exit.tmp" && mv "$run/exit.tmp" "$run/exit"
  exit 0
}

guard "$@"
