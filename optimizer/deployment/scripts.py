"""One start script a host: every process with its devices, port and words, and a unit for systemd beside it."""

import shlex

from vllm_opt.optimizer.deployment.deployment import Deployment, Host, Process
from vllm_opt.optimizer.deployment.launch import address_variable, joins_by_ray
from vllm_opt.optimizer.deployment.router import nginx_text
from vllm_opt.optimizer.deployment.start_budget import start_seconds
from vllm_opt.optimizer.deployment.yaml_text import GENERATED, comment_lines

ADDRESS_FLAGS = ("--master-addr", "--data-parallel-address")
_HEAD = """set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# addresses.env, if you write it, says where the hosts are: NODE_1_ADDRESS=10.0.0.1
# shellcheck source=/dev/null
if [ -f "$here/addresses.env" ]; then . "$here/addresses.env"; fi
"""
_RUN = """logs="${LOG_DIR:-$here/logs}"
mkdir -p "$logs"
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true' INT TERM
"""
_READY = """
# Servers that share a GPU start one after another: each measures the memory that is free.
ready() { # PORT SECONDS
    local end=$((SECONDS + $2))
    until curl -fsS "http://127.0.0.1:$1/health" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$end" ] || ! kill -0 "${pids[-1]}" 2>/dev/null; then
            echo "the server on port $1 did not start; see $logs" >&2
            kill "${pids[@]}" 2>/dev/null || true
            exit 1
        fi
        sleep 2
    done
}
"""
_ASLEEP = """
# Puts a server to sleep: its weights go to host memory, and the next one finds its GPU memory free.
asleep() { # PORT
    curl -fsS -X POST "http://127.0.0.1:$1/sleep?level=1" >/dev/null
}
"""
_WAIT = """
status=0
for pid in "${pids[@]}"; do wait "$pid" || status=$?; done
exit "$status"
"""


def script_files(deployment: Deployment) -> dict[str, str]:
    """A script and a unit for each host, and the router's configuration where there is one."""
    files: dict[str, str] = {}
    for host in deployment.hosts:
        if host.processes:
            files[f"scripts/{host.name}.sh"] = start_script(deployment, host)
            files[f"scripts/{host.name}.service"] = unit(deployment, host)
    if deployment.routers:
        files["scripts/router.conf"] = nginx_text(deployment, plain=True)
    return files


def start_script(deployment: Deployment, host: Host) -> str:
    """Everything that one host runs; it ends when its servers have ended."""
    kinds = {each.service: deployment.service(each.service).kind for each in host.processes}
    told = dict.fromkeys(
        line for kind in kinds.values() for line in (*kind.comments, *((kind.summary,) if kind.summary else ()))
    )
    head = [f"{host.name}: {host.gpus} x {host.gpu.id}", *told, GENERATED]
    parts = ["#!/usr/bin/env bash\n", comment_lines(head), _HEAD]
    parts += [
        f'{address_variable(name)}="${{{address_variable(name)}:-{deployment.address_of(name)}}}"\n'
        for name in _masters(host)
    ]
    parts.append(_RUN)
    if any(each.gpu_part < 1 for each in host.processes):
        parts.append(_READY)
    if any(each.sleeps for each in host.processes):
        parts.append(_ASLEEP)
    for position, process in enumerate(host.processes):
        parts.append("\n" + _started(deployment, process))
        if process.port is not None and (process.sleeps or _shares_with_later(host, position)):
            seconds = start_seconds(deployment.service(process.service))
            parts.append(f"ready {process.port} {seconds}\n")
        if process.port is not None and process.sleeps:
            parts.append(f"asleep {process.port}\n")
    return "".join([*parts, _WAIT])


def _masters(host: Host) -> list[str]:
    """Hosts whose address the script uses."""
    return sorted({each.master for each in host.processes if each.master is not None})


def _shares_with_later(host: Host, position: int) -> bool:
    devices = set(host.processes[position].devices)
    return any(devices & set(later.devices) for later in host.processes[position + 1 :])


def _started(deployment: Deployment, process: Process) -> str:
    service = deployment.service(process.service)
    name = process_name(process)
    title = f"# {service.name}, replica {process.replica}"
    if process.nodes > 1:
        title += f", host {process.node_rank + 1} of {process.nodes} ({process.role})"
    title += f": GPU {', '.join(map(str, process.devices))}"
    if process.gpu_part < 1:
        title += f" (1/{round(1 / process.gpu_part)} of it)"
    assignments = " ".join(f"{key}={shlex.quote(value)}" for key, value in process.env.items())
    lines = [title]
    if joins_by_ray(service.kind, process.nodes):
        lines += _ray_lines(process, assignments)
    if process.argv:
        words = shell_words(process.argv, process.master)
        lines += [f"{assignments} \\", f"    {words} \\", f'    >"$logs/{name}.log" 2>&1 &', "pids+=($!)"]
    return "\n".join([*lines, ""])


def _ray_lines(process: Process, assignments: str) -> list[str]:
    port = process.ray_port
    if process.role == "worker":
        address = address_variable(process.master or "")
        log = f'>"$logs/{process_name(process)}.log" 2>&1 &'
        return [f'{assignments} ray start --address="${{{address}}}:{port}" --block {log}', "pids+=($!)"]
    joined = (
        f'import ray; ray.init(address="127.0.0.1:{port}", logging_level="ERROR"); '
        f'raise SystemExit(sum(node["Alive"] for node in ray.nodes()) < {process.nodes})'
    )
    return [
        f"{assignments} ray start --head --port={port}",
        f"until python3 -c {shlex.quote(joined)}; do sleep 5; done",
        f"export RAY_ADDRESS=127.0.0.1:{port}",
    ]


def process_name(process: Process) -> str:
    """A name that is unique in the deployment: service, replica, and rank where there are several."""
    rank = f"-rank-{process.node_rank}" if process.nodes > 1 else ""
    return f"{process.service}-{process.replica}{rank}"


def shell_words(argv: tuple[str, ...], master: str | None) -> str:
    """Quoted words, the address of the head as its variable; flags on lines of their own."""
    found: list[str] = []
    for position, word in enumerate(argv):
        address = master is not None and position > 0 and argv[position - 1] in ADDRESS_FLAGS
        quoted = f'"${{{address_variable(master or "")}}}"' if address else shlex.quote(word)
        follows = position in (1, 2) or (position > 0 and argv[position - 1].startswith("--")
                                         and not word.startswith("--"))  # fmt: skip
        if found and follows:
            found[-1] += " " + quoted
        else:
            found.append(quoted)
    return " \\\n    ".join(found)


def unit(deployment: Deployment, host: Host) -> str:
    """A unit that runs the script; the folder is expected in /opt."""
    folder = f"/opt/{deployment.name}"
    seconds = sum(start_seconds(deployment.service(each.service)) for each in host.processes)
    return (
        f"# {GENERATED}\n"
        f"[Unit]\nDescription=vLLM servers of {host.name}\nWants=network-online.target\nAfter=network-online.target\n\n"
        f"[Service]\nExecStart=/usr/bin/env bash {folder}/scripts/{host.name}.sh\nEnvironment=LOG_DIR=/var/log/"
        f"{deployment.name}\nLogsDirectory={deployment.name}\nRestart=on-failure\nRestartSec=30\n"
        f"TimeoutStartSec={seconds}\nTimeoutStopSec=120\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
