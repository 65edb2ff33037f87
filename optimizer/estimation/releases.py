"""Which release and which of its engines serve a model, and what is said of a build between two releases."""

from collections.abc import Callable

from vllm_opt.optimizer.contract.answer import Estimate
from vllm_opt.optimizer.contract.request import EstimateRequest
from vllm_opt.optimizer.serve_lines.command_line import not_above
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.catalogues.engines import Engine
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile, StateSpace


def release_of(
    model: ModelProfile, catalog: Catalog, version: str | None, engine: Engine | None, gpu: GpuProfile | None = None
) -> tuple[EngineProfile, str | None, bool]:
    """The release that is asked for, a sentence about it, and whether it is older because newer ones dropped the model.

    Where none is asked for it is the newest, or the last that loads the model. Without a word on the engine it is the
    one that the release gives this model, on this GPU.

    Raises:
        InvalidRequest: the version cannot be read, or the release lacks the engine asked for.
        UnknownProfile: the release is older than every profile.
    """
    found, note = catalog.engine(version, engine)
    reason = None if engine else v0_reason(model, found, gpu)
    if reason is not None:
        older, older_note = catalog.engine(version or found.version, "v0")
        said = f"vLLM {version or found.version} runs {reason} on its V0 engine"
        return older, f"{said}; {older_note}" if older_note else said, False
    if version is not None or model.vllm_until is None or not_above(found.version, model.vllm_until):
        return found, note, False
    older, older_note = catalog.engine(model.vllm_until, engine)
    said = (
        f"vLLM {older.version} is taken, the newest release that loads {model.architecture}: vLLM {found.version} "
        "does not"
    )
    return older, f"{said}; {older_note}" if older_note else said, True


def v0_reason(model: ModelProfile, engine: EngineProfile, gpu: GpuProfile | None) -> str | None:
    """What a V1 release leaves to V0 by default; None where it runs the model itself."""
    if "states" in engine.falls_back_to_v0 and any(isinstance(kind.mixer, StateSpace) for kind in model.layer_kinds):
        return "models with recurrent states"
    capability = None if gpu is None else gpu.compute_capability
    if "capability_below_8" in engine.falls_back_to_v0 and capability is not None and capability < (8, 0):
        return "GPUs below compute capability 8.0"
    return None


def next_with_a_check(version: str | None, engine: EngineProfile, catalog: Catalog) -> str | None:
    """The next release, where `version` has two numbers and builds of main between both refuse what `engine` does not.

    Such a build prints the older number. `max_num_seqs` above the blocks of a model with states is refused on main
    since 2026-03-30 (vLLM pull 38270), which the wheels of 0.19.0 and 0.19.1 do not have and 0.20.0 has; a report that
    says 0.19 may be of either. Versions of three numbers are releases.
    """
    following = catalog.release_after_series(version, engine)
    if following is None or engine.state_blocks_cover_sequences:
        return None
    return following if catalog.engine(following, engine.engine)[0].state_blocks_cover_sequences else None


def next_release(version: str | None, engine: EngineProfile, catalog: Catalog) -> str | None:
    """The release whose rules `version` may have already."""
    return catalog.release_after(version, engine) or next_with_a_check(version, engine, catalog)


def between_releases(
    found: Estimate, request: EstimateRequest, following: str | None, again: Callable[[EstimateRequest], Estimate]
) -> Estimate:
    """Judge what may be a development build: it has the rules of the release before it, or those of the `following`.

    The chance to start is the mean of both; it starts for sure where both do. Memory and speed stay those of the
    release before. Without a following release `found` stays as it is. A version of two numbers is most often the
    release itself, so there only the check that came between counts.
    """
    if following is None or found.starts is None:
        return found
    later = again(request.model_copy(update={"vllm_version": following}))
    if later.starts is None or later.starts.probability == found.starts.probability:
        return found
    note = f"a development build may have the rules of vLLM {following} already, or not yet"
    if ".dev" not in str(request.vllm_version):
        if not any(violation.rule == "state_blocks" for violation in later.violations):
            return found
        note = (
            f"builds of main that print {request.vllm_version}.x may refuse this as vLLM {following} does; write "
            f"{request.vllm_version}.0 for the release"
        )
    mean = (found.starts.probability + later.starts.probability) / 2
    starts = found.starts.model_copy(update={"probability": mean})
    found = found.model_copy(update={"starts": starts, "notes": (*found.notes, note)})
    if mean >= request.confidence or not found.fits:
        return found
    known = {violation.rule for violation in found.violations}
    added = (
        violation.model_copy(update={"message": f"in vLLM {following}, which this build leads to: {violation.message}"})
        for violation in later.violations
        if violation.rule not in known
    )
    return found.model_copy(update={"fits": False, "violations": (*found.violations, *added)})
