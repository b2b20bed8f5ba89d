# shellcheck shell=sh
# For the checks to source: one edge-service on a port and a state folder of its own, gone when the check ends.
#
#   start_daemon CONFIG [ARGUMENT…]    starts it, waits for /readyz; sets $daemon_url and $daemon_pid
#   stop_daemon                        SIGTERM; fails unless it ends within its time with exit code 0
#   free_port                          a port of 127.0.0.1 on which nobody listens
#   fail TEXT                          says what is wrong, shows the end of the daemon's log, and ends the check

# shellcheck source=scripts/system/wait.sh
. scripts/system/wait.sh

daemon_pid='' helper=''
daemon_folder=$(mktemp -d)
trap 'end_daemon' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
    echo "${0##*/}: $1" >&2
    if [ -s "$daemon_folder/log" ]; then
        echo "the end of the daemon's log:" >&2
        tail -n 20 "$daemon_folder/log" >&2
    fi
    exit 1
}

end_daemon() {
    trap '' INT TERM
    [ -z "$helper" ] || kill "$helper" 2>/dev/null || :
    [ -z "$daemon_pid" ] || kill -KILL "$daemon_pid" 2>/dev/null || :
    rm -rf "$daemon_folder"
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

start_daemon() {
    daemon_port=$(free_port)
    daemon_url=http://127.0.0.1:$daemon_port
    mkdir -p "$daemon_folder/state"
    STATE_DIRECTORY="$daemon_folder/state" target/release/edge-service run --listen "127.0.0.1:$daemon_port" --config "$@" \
        >"$daemon_folder/log" 2>&1 &
    daemon_pid=$!
    tries=0
    until curl --silent --fail --output /dev/null --max-time 2 "$daemon_url/readyz"; do
        kill -0 "$daemon_pid" 2>/dev/null || fail "the daemon ended before it was ready"
        tries=$((tries + 1))
        [ $tries -lt 300 ] || fail "the daemon is not ready after 30 s"
        sleep 0.1
    done
}

stop_daemon() {
    kill -TERM "$daemon_pid" || fail "the daemon is gone"
    # The shell cannot wait with a limit: a helper ends what does not end by itself.
    (for _ in $(seq 400); do sleep 0.1; done && kill -KILL "$daemon_pid") >/dev/null 2>&1 &
    helper=$!
    status=0
    wait "$daemon_pid" || status=$?
    kill "$helper" 2>/dev/null || :
    daemon_pid='' helper=''
    [ $status -eq 0 ] || fail "the daemon ended with exit code $status after SIGTERM, not 0"
}
