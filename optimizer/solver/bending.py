"""Which settings a request is tried with, one default after another giving way (`space/default_limits.py`)."""

from collections.abc import Iterator
from dataclasses import replace

from vllm_opt.optimizer.space.default_limits import Bends, is_stated, limits_may_bend
from vllm_opt.optimizer.space.setting import SolveSetting, resolve_solve
from vllm_opt.optimizer.space.several_nodes import over_nodes
from vllm_opt.profiles.catalogues.catalog import Catalog


def bent_settings(setting: SolveSetting, catalog: Catalog, deadline: float) -> Iterator[SolveSetting]:
    """The setting itself, over several nodes where no node holds the weights; then one default after another gives way.

    Without the reserve; with fewer users, where nobody said how many; without default limits.

    The caller stops at the first with a plan; each is made only when it is reached.

    Raises:
        TimeIsUp: the deadline came before the most users that fit were known.
    """
    setting = over_nodes(setting, catalog)
    yield setting
    if setting.targets.admission_reserve:
        yield _bent(setting, catalog, reserve=True)
    fewer = _with_fewer_users(setting, catalog, Bends(reserve=True), deadline)
    if fewer is not None:
        yield fewer
    if limits_may_bend(setting.request):
        yield _bent(setting, catalog, reserve=True, limits=True)
        fewer = _with_fewer_users(setting, catalog, Bends(reserve=True, limits=True), deadline)
        if fewer is not None:
            yield fewer


def _bent(setting: SolveSetting, catalog: Catalog, *, reserve: bool, limits: bool = False) -> SolveSetting:
    return resolve_solve(setting.request, catalog, Bends(reserve=reserve, limits=limits))


def _with_fewer_users(setting: SolveSetting, catalog: Catalog, bends: Bends, deadline: float) -> SolveSetting | None:
    """The most users that fit, when the number asked is a default and one user fits at all."""
    if is_stated(setting.request, "concurrency") or setting.request.pattern == "poisson":
        return None
    from vllm_opt.optimizer.questions.questions import Atlas, Question
    from vllm_opt.optimizer.questions.thresholds import largest_concurrency

    bent = resolve_solve(setting.request, catalog, bends)
    most = largest_concurrency(Atlas(bent, deadline=deadline), Question(bent))
    return None if most is None else resolve_solve(setting.request, catalog, replace(bends, concurrency=most))
