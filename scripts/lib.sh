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
    use_from_pypi TRIREME_MOTO moto moto_server 'moto[server]==5.2.5' "an S3 server"
    use_from_pypi TRIREME_API_CLIENT api-client python 'prometheus-api-client==0.7.2' "a client of the query API"
    use_from_pypi TRIREME_OTEL_SDK otel-sdk python 'opentelemetry-exporter-otlp-proto-http==1.45.2' "OpenTelemetry's SDK"
}

# install_from_pypi NAME PACKAGE==VERSION WHAT: into a virtual environment of its own under $peers.
install_from_pypi() {
    command -v python3 >/dev/null || return 0
    say "installing $3 for tests ($2) into $peers/$1"
    mkdir -p "$peers"
    { python3 -m venv "$peers/$1" && "$peers/$1/bin/pip" install --quiet --disable-pip-version-check "$2"; } ||
        { rm -rf "${peers:?}/$1"; say "$2 could not be installed"; }
}

# use_from_pypi VARIABLE NAME PROGRAM PACKAGE==VERSION WHAT: has VARIABLE name the program, which is installed unless it is
# there.
use_from_pypi() {
    export "$1=${!1:-$peers/$2/bin/$3}"
    [ -x "${!1}" ] || install_from_pypi "$2" "$4" "$5"
}

# Fails in CI if a test was left out, and says which anywhere.
report_left_out() {
    if [ -s "$TRIREME_LEFT_OUT" ]; then
        say "left out on this machine"
        sort -u "$TRIREME_LEFT_OUT"
        [ "${CI:-}" != true ] || { echo "in CI no test may be left out"; return 1; }
    fi
}
