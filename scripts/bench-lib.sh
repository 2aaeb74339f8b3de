# Starts and stops the receivers that the bench scripts compare; sourced, not run.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

urls=() pids=() dirs=() base_urls=()

# The binary to measure: TRIREME_BIN, or a release build.
build_release() {
    trireme=${TRIREME_BIN:-}
    [ -z "$trireme" ] || return 0
    say "building"
    cargo build --locked --release --package trireme
    trireme=$target/release/trireme
}

installed() {
    case $1 in
    prometheus | victoria-metrics) command -v "$1" >/dev/null ;;
    node | group) true ;;
    *) echo "no receiver is called $1" >&2 && exit 2 ;;
    esac
}

next_port=${TRIREME_BENCH_PORT:-23100}

# Puts the next port nobody listens on into `port`.
free_port() {
    while (exec 3<>"/dev/tcp/127.0.0.1/$next_port") 2>/dev/null; do next_port=$((next_port + 1)); done
    port=$next_port
    next_port=$((next_port + 1))
}

# True if 127.0.0.1:$1 answers GET $2 with 200.
answers() {
    local line=
    {
        exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$2" >&3 &&
            read -r -t 5 line <&3
        exec 3>&-
    } 2>/dev/null
    [[ $line == *" 200 "* ]]
}

wait_ready() {
    local _
    for _ in $(seq 300); do
        answers "$1" "$2" 2>/dev/null && return
        sleep 0.2
    done
    echo "nothing is ready on port $1" >&2
    return 1
}

# start_receiver NAME DIR [SETTING...]: starts it and fills `urls` (remote write), `base_urls`, `pids` and `dirs`.
# SETTINGs go to every node of ours as --set.
start_receiver() {
    local name=$1 data=$2
    shift 2
    urls=() pids=() dirs=() base_urls=()
    case $name in
    node) start_nodes "$data" 1 "$@" ;;
    group) start_nodes "$data" 3 "$@" ;;
    prometheus)
        free_port
        echo 'global: {scrape_interval: 1h}' >"$data/prometheus.yml"
        prometheus --config.file="$data/prometheus.yml" --storage.tsdb.path="$data/tsdb" --web.enable-remote-write-receiver \
            --storage.tsdb.retention.time=10y --web.listen-address="127.0.0.1:$port" --log.level=warn >"$data/prometheus.log" 2>&1 &
        started "$!" "$port" "$data/tsdb" /-/ready
        ;;
    victoria-metrics)
        free_port
        victoria-metrics -storageDataPath="$data/vm" -httpListenAddr="127.0.0.1:$port" -retentionPeriod=100y \
            -loggerLevel=WARN -search.disableCache >"$data/victoria-metrics.log" 2>&1 &
        started "$!" "$port" "$data/vm" /health
        ;;
    esac
}

# started PID PORT DIR READY_PATH
started() {
    pids+=("$1")
    dirs+=("$3")
    base_urls+=("http://127.0.0.1:$2")
    urls+=("http://127.0.0.1:$2/api/v1/write")
    wait_ready "$2" "$4"
}

# start_nodes DIR COUNT [SETTING...]
start_nodes() {
    local data=$1 count=$2 i peers='' http=() mesh=() options=() setting
    shift 2
    for setting in "$@"; do options+=(--set "$setting"); done
    for i in $(seq 0 $((count - 1))); do
        free_port && http+=("$port")
        free_port && mesh+=("$port")
        peers=$peers${peers:+,}n$i=127.0.0.1:$port
    done
    # A group of one needs no peers.
    [ "$count" = 1 ] || options+=(--set "cluster.peers=$peers" --set "cluster.replication_factor=$count")
    for i in $(seq 0 $((count - 1))); do
        "$trireme" run --set "node.name=n$i" --set "node.data_dir=$data/n$i" --set "http.listen=127.0.0.1:${http[$i]}" \
            --set "cluster.listen=127.0.0.1:${mesh[$i]}" --set telemetry.log_level=warn "${options[@]}" \
            >"$data/n$i.log" 2>&1 &
        pids+=("$!")
        dirs+=("$data/n$i")
        base_urls+=("http://127.0.0.1:${http[$i]}")
        urls+=("http://127.0.0.1:${http[$i]}/api/v1/write")
    done
    for port in "${http[@]}"; do wait_ready "$port" /-/ready || { tail -n 20 "$data"/*.log >&2 && return 1; }; done
}

# Stops what start_receiver started, in order, and waits for it.
stop_receiver() {
    local pid
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    pids=()
}

trap stop_receiver EXIT
