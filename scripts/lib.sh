# Shared by the scripts beside it; sourced, not run.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
root=$PWD
target=${CARGO_TARGET_DIR:-$root/target}
peers=$target/peers

say() { printf '\n== %s\n' "$*"; }

# Debian's packages with the programs that the cluster tests start or are put under, as program=package.
debian_peers="prometheus=prometheus promtool=prometheus prometheus-node-exporter=prometheus-node-exporter vmagent=victoria-metrics vmalert=victoria-metrics ip=iproute2 tc=iproute2 mkfs.ext4=e2fsprogs"

missing_packages() {
    local pair
    for pair in $debian_peers; do
        command -v "${pair%%=*}" >/dev/null || echo "${pair##*=}"
    done | sort -u
}

# Installs what the cluster tests need where this user may; what is missing afterwards is said by the tests themselves.
install_peers() {
    local missing
    missing=$(missing_packages | xargs)
    if [ -n "$missing" ]; then
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            say "installing Debian packages: $missing"
            # Only the programs are wanted: no service may start and take a port.
            local policy=/usr/sbin/policy-rc.d made=
            [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && made=1; }
            apt-get update -qq || true
            # shellcheck disable=SC2086
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing || true
            [ -z "$made" ] || rm -f "$policy"
        else
            say "not installed, and this user may not install Debian packages: $missing"
        fi
    fi
    install_s3_server
    install_api_client
}

# moto, an S3 server from PyPI, in a virtual environment of its own.
install_s3_server() {
    if [ -z "${TRIREME_MOTO:-}" ]; then
        TRIREME_MOTO=$peers/moto/bin/moto_server
        export TRIREME_MOTO
    fi
    [ -x "$TRIREME_MOTO" ] && return
    command -v python3 >/dev/null || return 0
    say "installing an S3 server for tests (moto) into $peers/moto"
    mkdir -p "$peers"
    { python3 -m venv "$peers/moto" && "$peers/moto/bin/pip" install --quiet --disable-pip-version-check 'moto[server]==5.2.5'; } ||
        { rm -rf "$peers/moto"; say "the S3 server could not be installed"; }
}

# prometheus-api-client, a client of the query API from PyPI, likewise.
install_api_client() {
    if [ -z "${TRIREME_API_CLIENT:-}" ]; then
        TRIREME_API_CLIENT=$peers/api-client/bin/python
        export TRIREME_API_CLIENT
    fi
    [ -x "$TRIREME_API_CLIENT" ] && return
    command -v python3 >/dev/null || return 0
    say "installing a client of the query API for tests (prometheus-api-client) into $peers/api-client"
    mkdir -p "$peers"
    { python3 -m venv "$peers/api-client" && "$peers/api-client/bin/pip" install --quiet --disable-pip-version-check 'prometheus-api-client==0.7.2'; } ||
        { rm -rf "$peers/api-client"; say "prometheus-api-client could not be installed"; }
}

# Fails in CI if a test was left out, and says which anywhere.
report_left_out() {
    if [ -s "$TRIREME_LEFT_OUT" ]; then
        say "left out on this machine"
        sort -u "$TRIREME_LEFT_OUT"
        [ "${CI:-}" != true ] || { echo "in CI no test may be left out"; return 1; }
    fi
}
