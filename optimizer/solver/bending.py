"""Which settings a request is tried with, one default after another giving way (`space/default_limits.py`)."""

from collections.abc import Iterator
from dataclasses import replace

from vllm_opt.optimizer.questions.questions import Atlas, Question
from vllm_opt.optimizer.space.default_limits import Bends, is_stated, limits_may_bend
from vllm_opt.optimizer.space.physics import LayoutPhysics
from vllm_opt.optimizer.space.setting import SolveSetting, resolve_solve
from vllm_opt.optimizer.space.several_nodes import over_nodes
from vllm_opt.optimizer.space.shared import SharedLayouts
from vllm_opt.profiles.catalogues.catalog import Catalog


def bent_settings(setting: SolveSetting, catalog: Catalog, users: "Users") -> Iterator[SolveSetting]:
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
    fewer = users.fewer(setting, Bends(reserve=True))
    if fewer is not None:
        yield fewer
    if limits_may_bend(setting.request):
        yield _bent(setting, catalog, reserve=True, limits=True)
        fewer = users.fewer(setting, Bends(reserve=True, limits=True))
        if fewer is not None:
            yield fewer


def _bent(setting: SolveSetting, catalog: Catalog, *, reserve: bool, limits: bool = False) -> SolveSetting:
    return resolve_solve(setting.request, catalog, Bends(reserve=reserve, limits=limits))


class Users:
    """How many users fit; what is laid out for one question serves the next, the explanation among them."""

    def __init__(self, catalog: Catalog, deadline: float, shared: SharedLayouts) -> None:
        self.catalog, self.deadline, self.shared = catalog, deadline, shared
        self._first: tuple[SolveSetting, Atlas] | None = None

    def fewer(self, setting: SolveSetting, bends: Bends) -> SolveSetting | None:
        """The most users that fit, when the number asked is a default and one user fits at all."""
        if is_stated(setting.request, "concurrency") or setting.request.pattern == "poisson":
            return None
        from vllm_opt.optimizer.questions.thresholds import largest_concurrency

        bent = resolve_solve(setting.request, self.catalog, bends)
        most = largest_concurrency(self.atlas(bent), Question(bent))
        return None if most is None else resolve_solve(setting.request, self.catalog, replace(bends, concurrency=most))

    def atlas(self, setting: SolveSetting) -> Atlas:
        """The atlas of the first setting where this one has the same layouts: bends change limits and users."""
        if self._first is not None and _layouts(self._first[0]) == _layouts(setting):
            return self._first[1]
        physics = LayoutPhysics(setting, self.shared)
        self._first = setting, Atlas(setting, physics, deadline=self.deadline)
        return self._first[1]


def _layouts(setting: SolveSetting) -> tuple[object, ...]:
    """What decides which layouts there are."""
    targets = setting.targets
    return setting.gpus, setting.formats, targets.target_context, targets.max_gpus, targets.gpus, setting.request
