"""What became of a flag that a release does not know: removed, not there yet, or never a flag."""

from functools import cache

from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import did_you_mean
from vllm_opt.profiles.nouns.engine import EngineProfile

RENAMED = {
    "gpu-memory-utilisation": "gpu-memory-utilization",
    "max-context-len": "max-model-len",
    "max-seq-len": "max-model-len",
    "context-length": "max-model-len",
    "max-batch-size": "max-num-seqs",
    "max-batched-tokens": "max-num-batched-tokens",
    "tp": "tensor-parallel-size",
    "pp": "pipeline-parallel-size",
    "dp": "data-parallel-size",
    "kv-cache-type": "kv-cache-dtype",
    "mem-fraction-static": "gpu-memory-utilization",
}
"""Names that people write, some from other engines, and vLLM's own."""


def version_parts(version: str) -> tuple[int, ...]:
    """A release as numbers, for comparing."""
    return tuple(int(part) for part in version.partition("-")[0].split(".") if part.isdecimal())


@cache
def _flags_by_release() -> tuple[tuple[str, frozenset[str]], ...]:
    """Oldest first; the profiles are data files that do not change while the program runs."""
    return tuple((engine.version, frozenset(flag.name for flag in engine.flags)) for engine in Catalog().engines)


def uncertain_release(name: str, engine: EngineProfile, release: str | None) -> str | None:
    """Return a sentence when a release without a profile of its own may have a flag that its stand-in lacks.

    A release between two profiles has the flags of the older one, perhaps those of the newer one, and perhaps lost
    some in between.
    """
    if release is None or version_parts(release)[:2] == version_parts(engine.version)[:2]:
        return None
    asked = version_parts(release)
    newer = next((flags for version, flags in _flags_by_release() if version_parts(version) > asked), None)
    if newer is not None and name in newer:
        return (
            f"vLLM {release} has no profile here: {engine.version} lacks --{name} and the next release that is known "
            "has it, so it is not judged"
        )
    if newer is None and name not in engine.removed_flags and not _ever(name):
        return f"vLLM {release} is newer than every profile here, so --{name} is not judged"
    return None


def dropped_since(name: str, engine: EngineProfile, release: str | None) -> str | None:
    """Return a sentence when the next known release lacks a flag that the stand-in of an unknown release has."""
    if release is None or version_parts(release)[:2] == version_parts(engine.version)[:2]:
        return None
    asked = version_parts(release)
    newer = next(((version, flags) for version, flags in _flags_by_release() if version_parts(version) > asked), None)
    if newer is None or name in newer[1]:
        return None
    return (
        f"vLLM {release} has no profile here: {engine.version} has --{name} and {newer[0]} lacks it, so it may be gone"
    )


def _ever(name: str) -> bool:
    return any(name in flags for _, flags in _flags_by_release())


def explain_unknown(name: str, engine: EngineProfile) -> tuple[str, str, str | None]:
    """Return the rule, a sentence, and the flag to write instead where one takes the same value.

    `name` is without dashes.
    """
    if name in engine.removed_flags:
        advice = engine.removed_flags[name]
        return "removed_flag", f"vLLM {engine.version} no longer has --{name}: {lowered(advice)}", None
    known = {flag.name for flag in engine.flags}
    renamed = RENAMED.get(name)
    if renamed in known:
        return "unknown_flag", f"vLLM has no flag --{name}; write --{renamed}", renamed
    releases = [version for version, flags in _flags_by_release() if name in flags]
    current = version_parts(engine.version)
    later = [version for version in releases if version_parts(version) > current]
    if later and not any(version_parts(version) < current for version in releases):
        message = f"vLLM {engine.version} does not have --{name} yet; the first release known to have it is {later[0]}"
        return "flag_not_yet_existing", f"{message}: drop it or upgrade", None
    if releases:
        message = f"vLLM {engine.version} no longer has --{name}; the last release known to have it is {releases[-1]}"
        return "removed_flag", f"{message}: drop it", None
    hint = did_you_mean(f"--{name}", (f"--{flag}" for flag in known))
    return "unknown_flag", f"vLLM {engine.version} has no flag --{name}{hint or '; drop it'}", None


def lowered(sentence: str) -> str:
    """A sentence as the second half of another one."""
    return sentence[:1].lower() + sentence[1:].rstrip(".")


@cache
def every_flag() -> frozenset[str]:
    """The flags of all releases in the catalogue, without dashes."""
    return frozenset(name for _, names in _flags_by_release() for name in names)


@cache
def json_flags() -> frozenset[str]:
    """The flags that take a mapping in some release, without dashes."""
    return frozenset(flag.name for engine in Catalog().engines for flag in engine.flags if flag.kind == "json")
