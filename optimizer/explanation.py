"""Why nothing fits, and what would: a minimal conflict of named rules, and the smallest changes that resolve it."""

from vllm_opt.optimizer.answer import Explanation
from vllm_opt.optimizer.conflict import minimal_conflict
from vllm_opt.optimizer.conflict_numbers import measures
from vllm_opt.optimizer.conflict_per_gpu import sentences_per_gpu
from vllm_opt.optimizer.questions import Atlas, Question
from vllm_opt.optimizer.relaxation import relaxations
from vllm_opt.optimizer.solve_setting import SolveSetting
from vllm_opt.profiles.catalog import Catalog


def explain_infeasible(
    setting: SolveSetting, atlas: Atlas | None = None, catalog: Catalog | None = None
) -> Explanation:
    """Explain a request for which no plan exists.

    The conflict is minimal: its rules cannot hold together, and all but any one of them can. Every relaxation has been
    turned into a plan that every rule accepts before it is returned.

    Raises:
        ValueError: a plan exists.
    """
    request = setting.request
    catalog = catalog or Catalog(gpu_file=request.gpu_file, prices_file=request.prices)
    atlas, question = atlas or Atlas(setting), Question(setting)
    rules = minimal_conflict(atlas, question)
    return Explanation(
        conflict=tuple(measure.conflict for measure in measures(atlas, question, rules)),
        relaxations=relaxations(atlas, question, catalog),
        per_gpu=sentences_per_gpu(atlas, question, rules),
    )
