#!/usr/bin/env bash
# A Ray cluster of two nodes on this machine, with token authentication, until Ctrl-C.
#
#   cluster/local.sh                      # in one terminal
#   eval "$(cluster/local.sh --env)"      # in another: the address for ray job submit
#
# PORT (6380), DASHBOARD_PORT (8266) and CPUS (a node, 2) may be set. Choose ports outside 10002-19999, where Ray puts
# its workers. The token is ~/.ray/auth_token (or RAY_AUTH_TOKEN_PATH); it is made when there is none.
set -euo pipefail

PORT=${PORT:-6380}
DASHBOARD_PORT=${DASHBOARD_PORT:-8266}
CPUS=${CPUS:-2}
export RAY_AUTH_MODE=token
export RAY_USAGE_STATS_ENABLED=0
# Else each node waits half a minute for work to end.
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0
export RAY_TMPDIR=${RAY_TMPDIR:-/tmp/liftray-$PORT}

if [[ ${1:-} == --env ]]; then
  echo "export RAY_AUTH_MODE=token RAY_ADDRESS=http://127.0.0.1:$DASHBOARD_PORT"
  exit 0
fi

nodes=()
stop() {
  trap - EXIT INT TERM
  # Only what this script started: a node's processes end with their `ray start --block`.
  for pid in "${nodes[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  wait
  echo "cluster stopped"
}
trap stop EXIT
trap 'exit 130' INT TERM

# Ray makes its default file, but not one that RAY_AUTH_TOKEN_PATH names. 64 hexadecimal digits, for this user alone.
if [[ -n ${RAY_AUTH_TOKEN_PATH:-} && ! -s $RAY_AUTH_TOKEN_PATH ]]; then
  (
    umask 077
    mkdir -p "$(dirname "$RAY_AUTH_TOKEN_PATH")"
    od -An -tx1 -N32 /dev/urandom | tr -d ' \n' >"$RAY_AUTH_TOKEN_PATH"
  )
fi
ray get-auth-token --generate >/dev/null
mkdir -p "$RAY_TMPDIR"

ray start --head --block --node-ip-address=127.0.0.1 --port="$PORT" --num-cpus="$CPUS" \
  --dashboard-host=127.0.0.1 --dashboard-port="$DASHBOARD_PORT" --dashboard-agent-listen-port=$((DASHBOARD_PORT + 1)) \
  --ray-client-server-port=$((PORT + 1)) --temp-dir="$RAY_TMPDIR/head" >"$RAY_TMPDIR/head.log" 2>&1 &
nodes+=($!)

ready() { RAY_ADDRESS="http://127.0.0.1:$DASHBOARD_PORT" ray job list >/dev/null 2>&1; }
for _ in $(seq 60); do
  ready && break
  kill -0 "${nodes[0]}" 2>/dev/null || { tail -n 5 "$RAY_TMPDIR/head.log" >&2; exit 1; }
  sleep 1
done
ready || { echo "error: no dashboard on port $DASHBOARD_PORT; see $RAY_TMPDIR/head.log" >&2; exit 1; }

# A folder of its own: two nodes in one folder remove each other's copy of a job's working directory.
ray start --block --address="127.0.0.1:$PORT" --num-cpus="$CPUS" \
  --dashboard-agent-listen-port=$((DASHBOARD_PORT + 2)) --temp-dir="$RAY_TMPDIR/worker" >"$RAY_TMPDIR/worker.log" 2>&1 &
nodes+=($!)

echo "two nodes of $CPUS CPUs; dashboard http://127.0.0.1:$DASHBOARD_PORT; logs in $RAY_TMPDIR; Ctrl-C stops it"
echo "in another terminal:  eval \"\$(cluster/local.sh --env)\""
wait -n
echo "error: a node ended; see $RAY_TMPDIR/*.log" >&2
exit 1
