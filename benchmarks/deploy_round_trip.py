"""Every file of thirty deployments, read back by `lint` in full: memory and findings of each command in it.

    python benchmarks/deploy_round_trip.py [CASE…]

Prints one line a file that differs from the estimate of its plan, and a sum. Takes about a minute.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from deployments import CASES, made

from vllm_opt.optimizer.contract.request import EstimateRequest
from vllm_opt.optimizer.deployment.deployment import Deployment, Host
from vllm_opt.optimizer.deployment.files import EMITS, files_of
from vllm_opt.optimizer.estimation.estimate import estimate
from vllm_opt.optimizer.linter.lint import lint
from vllm_opt.optimizer.linter.subject.request import LintRequest
from vllm_opt.profiles.errors import InvalidRequest

WITHOUT_SERVERS = ("router", "optional/", "shared-gpus", "kustomize/")


def main(names: list[str]) -> int:
    """Read everything back."""
    files = commands = differing = 0
    for name in names or sorted(CASES):
        deployment = made(name)
        with tempfile.TemporaryDirectory() as folder:
            for path, text in files_of(deployment, tuple(EMITS)).items():
                if not path.endswith((".sh", ".yaml")) or any(part in path for part in WITHOUT_SERVERS):
                    continue
                target = Path(folder, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
                found, wrong = read_back(deployment, path, target)
                files, commands, differing = files + 1, commands + found, differing + len(wrong)
                print("".join(f"{name} {path}: {words}\n" for words in wrong), end="")
    print(f"{files} files, {commands} commands, {differing} differ")
    return 1 if differing else 0


def read_back(deployment: Deployment, path: str, target: Path) -> tuple[int, list[str]]:
    """The number of commands in a file, and what is wrong with any of them."""
    host = host_of(deployment, path)
    plain = path.startswith("scripts/")
    asked = LintRequest(
        file=str(target), optimum=False, gpu=host.gpu.id if path.startswith(("scripts", "compose", "helm")) else None,
        vllm_version=deployment.services[0].kind.vllm_version if plain else None,
    )  # fmt: skip
    try:
        report = lint(asked)
    except InvalidRequest as fault:
        worker = all(not each.argv for each in host.processes)
        return 0, [] if worker else [str(fault)]
    wrong = []
    blocks = estimate(EstimateRequest(**deployment.request)).memory.num_gpu_blocks if deployment.request else None
    for command in report.commands:
        errors = [finding.message for finding in command.findings if finding.level == "error"]
        if command.starts is None and len({service.kind.gpu.id for service in deployment.services}) > 1:
            continue  # the file holds servers for cards of two vendors, and one GPU is named
        if errors or not command.starts:
            wrong.append(
                f"{command.place or 'line'} {command.line}: starts {command.starts}; {'; '.join(errors)[:200]}"
            )
        elif blocks is not None and (command.memory is None or command.memory.num_gpu_blocks != blocks):
            wrong.append(f"{command.place}: {command.memory and command.memory.num_gpu_blocks} blocks, not {blocks}")
    return len(report.commands), wrong


def host_of(deployment: Deployment, path: str) -> Host:
    """The host of a file of one host; of a service's file the host of its first server."""
    label = path.rpartition("/")[2].rpartition(".")[0].removeprefix("llm-d-")
    named = [host for host in deployment.hosts if host.name == label]
    served = [host for host in deployment.hosts if any(each.service == label for each in host.processes)]
    return (named or served or list(deployment.hosts))[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
