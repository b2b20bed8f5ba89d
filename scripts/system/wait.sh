# shellcheck shell=sh
# For the checks to source.
#
#   wait_for SECONDS COMMAND…    until the command succeeds, asked ten times a second; fails when it never does

wait_for() {
    wait_tries=$(($1 * 10))
    shift
    until "$@" >/dev/null 2>&1; do
        wait_tries=$((wait_tries - 1))
        [ $wait_tries -gt 0 ] || return 1
        sleep 0.1
    done
}
