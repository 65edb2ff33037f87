"""From a plan, or an estimated configuration, to the kind of server that it starts."""

import shlex
from collections.abc import Iterable

from vllm_opt.constraints.decisions.engine_defaults import prefix_caching_default
from vllm_opt.optimizer.contract.answer import Estimate, Plan
from vllm_opt.optimizer.deployment.deployment import ServerKind
from vllm_opt.optimizer.deployment.launch import NODE_FLAGS
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.catalogues.engines import ANOTHER_RELEASE, engine_environment
from vllm_opt.profiles.errors import VllmOptError
from vllm_opt.profiles.nouns.gpu import GpuProfile


def kind_of_plan(plan: Plan, gpu: GpuProfile, catalog: Catalog | None = None, *, gpu_part: float = 1.0) -> ServerKind:
    """The servers of a plan; `gpu_part` below 1 where each has a part of a GPU only."""
    catalog = catalog or Catalog()
    utilization = plan.flags.get("gpu-memory-utilization")
    gpus = plan.gpu_count // plan.replicas
    return ServerKind(
        command=tuple(shlex.split(plan.command)),
        env=plan.env,
        gpu=gpu,
        gpus=gpus,
        gpu_part=gpu_part,
        engines=plan.data_parallel_size,
        vllm_version=plan.vllm_version,
        image_version=image_version(plan.vllm_version),
        flags_known=node_flags(plan.vllm_version, catalog),
        gpu_memory_utilization=float(utilization) if isinstance(utilization, int | float) else None,
        prefix_caching=caches_prefixes(plan.flags.get("enable-prefix-caching"), plan.model, plan.vllm_version, catalog),
        weights_bytes=(plan.memory.weights_bytes + plan.memory.draft_bytes) * gpus,
        summary=f"{plan.model} on {plan.gpu_count} x {plan.gpu}, vLLM {plan.vllm_version}",
        comments=(*release_note(plan.notes), *to_make_first(plan)),
        plan=plan,
    )


def kind_of_estimate(estimate: Estimate, command: str, gpu: GpuProfile, catalog: Catalog | None = None) -> ServerKind:
    """The servers of an estimated configuration, started by `command`."""
    asked, catalog = estimate.request, catalog or Catalog()
    tensor, pipeline, engines, replicas = (
        int(asked.get(f"{name}", 1) or 1)
        for name in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "replicas")
    )
    gpus, version = tensor * pipeline * engines, str(asked["vllm_version"])
    utilization = asked.get("gpu_memory_utilization")
    return ServerKind(
        command=tuple(shlex.split(command)),
        env=engine_environment(catalog.engine(version, asked.get("engine"))[0]),
        gpu=gpu,
        gpus=gpus,
        engines=engines,
        vllm_version=version,
        image_version=image_version(version),
        flags_known=node_flags(version, catalog),
        gpu_memory_utilization=float(utilization) if isinstance(utilization, int | float) else None,
        prefix_caching=caches_prefixes(asked.get("enable_prefix_caching"), str(asked["model"]), version, catalog),
        weights_bytes=(estimate.memory.weights_bytes + estimate.memory.draft_bytes) * gpus,
        summary=f"{asked['model']} on {gpus * replicas} x {gpu.id}, vLLM {version}",
        comments=release_note(estimate.notes),
    )


def release_note(notes: Iterable[str]) -> tuple[str, ...]:
    """The note that says which release's rules stand for one without a profile, if there is one."""
    return tuple(note for note in notes if note.startswith("vLLM ") and note.endswith(ANOTHER_RELEASE))[:1]


def to_make_first(plan: Plan) -> tuple[str, ...]:
    """What to do before a plan whose weights nobody has published: it starts nothing before they are made."""
    if plan.checkpoint_publisher != "hypothetical":
        return ()
    return tuple(note for note in plan.notes if note.startswith("make it first")) or ("make it first",)


def image_version(version: str) -> str:
    """The release as image tags spell it: '0.33' is 0.33.0."""
    parts = version.split(".")
    return ".".join([*parts, *(["0"] * (3 - len(parts)))])


def caches_prefixes(stated: object, model: str, version: str, catalog: Catalog) -> bool:
    """Whether prefixes are cached: as stated, else the release's default; on, where the model is no longer found."""
    if isinstance(stated, bool):
        return stated
    try:
        return prefix_caching_default(catalog.engine(version)[0], catalog.model(model))
    except VllmOptError:
        return True


def node_flags(version: str, catalog: Catalog) -> frozenset[str]:
    """Which of the flags that join hosts this release has; none for a release that nothing is known of."""
    try:
        engine, _ = catalog.engine(version)
    except VllmOptError:
        return frozenset()
    return frozenset(flag.name for flag in engine.flags) & NODE_FLAGS
