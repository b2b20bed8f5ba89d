# shellcheck shell=sh
# For the checks to source: Debian made from this machine's own package sources, kept in .cache/ for the next time.
#
#   debian_sources                              the machine's Debian package sources, a line each
#   make_debian TARGET PACKAGES [OPTION…]       TARGET is .cache/NAME or .cache/NAME.tar; nothing to do where it is there
#   long COMMAND…                               a command of which a signal to the check need not see the end
#   end_long                                    for the check's own end: no such command and nothing half made is left

debian_release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)

# A shell looks at signals only between its commands, and while it waits.
long() {
    "$@" &
    long_pid=$!
    long_status=0
    wait "$long_pid" || long_status=$?
    long_pid=
    return $long_status
}
long_pid=

end_long() {
    if [ -n "$long_pid" ]; then
        kill -TERM "$long_pid" 2>/dev/null || :
        wait "$long_pid" 2>/dev/null || :
    fi
    [ -z "$debian_making" ] || rm -rf --one-file-system "$debian_making"
}
debian_making=

debian_sources() {
    # shellcheck disable=SC2016 # apt's own variables
    apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
        grep " $debian_release" | sort -u
}

make_debian() {
    debian_target=$1 debian_packages=$2
    shift 2
    [ ! -e "$debian_target" ] || return 0
    [ "$(id -u)" = 0 ] || fail "only root can make a Debian of its own: call it as root"
    mkdir -p .cache
    rm -rf .cache/making.*
    # The ending says what is made: a folder or an archive.
    debian_making=.cache/making.${debian_target##*/}
    debian_sources >.cache/sources.list
    [ -s .cache/sources.list ] || fail "apt knows no Debian package sources: apt-get update, and call again"
    long timeout 600 mmdebstrap --quiet --variant=minbase ${debian_packages:+"--include=$debian_packages"} \
        --aptopt='APT::Install-Recommends "false"' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-include=/usr/share/doc/*/copyright' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "$@" \
        "$debian_release" "$debian_making" .cache/sources.list >.cache/making.log 2>&1 ||
        fail "mmdebstrap: $(grep '^E:' .cache/making.log | tail -n 1)"
    mv "$debian_making" "$debian_target"
    debian_making=
}
