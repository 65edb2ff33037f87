"""What is published about the quality of a model in a weight format."""

from collections.abc import Sequence
from statistics import mean, median

from vllm_opt.profiles.nouns.model import ModelProfile
from vllm_opt.profiles.nouns.quantization import QualityEvidence, Quantization

_PREFERRED_METRICS = ("OpenLLM v1", "average")


def quality_of(model: ModelProfile, quantization: Quantization) -> tuple[float | None, str]:
    """Return the recovery against 16-bit (score divided by the 16-bit score) and the evidence in one sentence.

    The published average for this model and format comes first, then the format's median over models, then None.
    16-bit weights recover 1 by definition, and so does the format that the model itself is published in.
    """
    if quantization.id == "bf16":
        return 1.0, "16-bit weights are the reference"
    if model.native_quantization is not None and model.native_quantization.quantization == quantization.id:
        return 1.0, "the model is published in this format"
    own = [row for row in quantization.evidence if same_model(row.model, model.id)]
    if own:
        value, metric = published_recovery(own)
        sources = ", ".join(dict.fromkeys(row.source for row in own if metric in (row.metric, "mean")))
        return value, f"{value:.1%} of 16-bit on {own[0].model} ({metric}; {sources})"
    if quantization.quality_median is not None:
        models = len({row.model for row in quantization.evidence})
        return quantization.quality_median, (
            f"{quantization.quality_median:.1%} of 16-bit: median of {models} published "
            f"model{'s' if models != 1 else ''} in {quantization.id}, none of them this one"
        )
    return None, f"no published accuracy of {quantization.id}"


def median_recovery(evidence: Sequence[QualityEvidence]) -> float | None:
    """Return the median over models of each model's published recovery, or None without evidence."""
    models = dict.fromkeys(row.model for row in evidence)
    if not models:
        return None
    return median(published_recovery([row for row in evidence if row.model == model])[0] for model in models)


def published_recovery(evidence: Sequence[QualityEvidence]) -> tuple[float, str]:
    """Return one model's recovery and what it was measured by: OpenLLM v1, else a stated average, else the mean."""
    for wanted in _PREFERRED_METRICS:
        rows = [row for row in evidence if wanted in row.metric]
        if rows:
            return mean(row.recovery for row in rows), rows[0].metric
    if len(evidence) == 1:
        return evidence[0].recovery, evidence[0].metric
    return mean(row.recovery for row in evidence), "mean"


def same_model(published: str, model_id: str) -> bool:
    """Tell whether a published name means this model: organisation, 'Meta-' and letter case do not count."""
    return _bare(published) == _bare(model_id)


def _bare(name: str) -> str:
    return name.rsplit("/", 1)[-1].lower().removeprefix("meta-")
