"""Every file of a deployment, by its path in the folder."""

from collections.abc import Callable, Sequence

from vllm_opt.optimizer.deployment.compose import compose_files
from vllm_opt.optimizer.deployment.deployment import Deployment
from vllm_opt.optimizer.deployment.expected import FILE, expected_text
from vllm_opt.optimizer.deployment.helm import helm_files
from vllm_opt.optimizer.deployment.kserve import kserve_files
from vllm_opt.optimizer.deployment.kubernetes import kubernetes_files
from vllm_opt.optimizer.deployment.kustomize import kustomize_files
from vllm_opt.optimizer.deployment.monitoring import monitoring_files
from vllm_opt.optimizer.deployment.readme import readme
from vllm_opt.optimizer.deployment.scripts import script_files
from vllm_opt.profiles.errors import InvalidRequest, did_you_mean
from vllm_opt.profiles.printable import printable

EMITS: dict[str, Callable[[Deployment], dict[str, str]]] = {
    "scripts": script_files,
    "compose": compose_files,
    "kubernetes": lambda deployment: {**kubernetes_files(deployment), **monitoring_files(deployment)},
    "kserve": kserve_files,
    "helm": helm_files,
    "kustomize": lambda deployment: kustomize_files(kubernetes_files(deployment), deployment.name),
}
DEFAULT_EMIT = ("scripts", "compose", "kubernetes")


def emit_of(text: str | Sequence[str] | None) -> tuple[str, ...]:
    """Read `scripts,compose`; None and nothing mean the default.

    Raises:
        InvalidRequest: a name is unknown.
    """
    given = text.split(",") if isinstance(text, str) else [word for part in text or () for word in part.split(",")]
    names = tuple(dict.fromkeys(name.strip().lower() for name in given if name.strip()))
    for name in names:
        if name not in EMITS and name != "all":
            raise InvalidRequest(
                f"--emit has no {printable(repr(name[:40]))}{did_you_mean(name, EMITS) or ''}; it takes "
                f"{', '.join(EMITS)}"
            )
    return tuple(EMITS) if "all" in names else names or DEFAULT_EMIT


def files_of(deployment: Deployment, emit: Sequence[str] = DEFAULT_EMIT) -> dict[str, str]:
    """Path -> text, README.md and expected.json included; the same deployment gives the same bytes."""
    emit = tuple(name for name in EMITS if name in emit)
    files = {"README.md": readme(deployment, emit), FILE: expected_text(deployment)}
    for name in emit:
        files.update(EMITS[name](deployment))
    return files
