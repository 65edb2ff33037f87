"""Images and videos of a request: what of the tower is built, what the profile run encodes, and the prompt's tokens."""

from vllm_opt.constraints.decisions.configuration import MediaItems
from vllm_opt.constraints.memory.encoder_peak import media_items
from vllm_opt.optimizer.contract.features import Features, json_value
from vllm_opt.optimizer.contract.performance import Performance
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile

ENCODER_COMPUTE_SHARE = 0.4
"""Assumed share of the 16-bit peak that a vision tower reaches on a whole image."""
UNCOUNTED_PEAK = (
    "the encoder's memory peak while profiling is not counted: how many tokens its largest image takes is not known "
    "for this class; leave room or give --language-model-only"
)


def item_limits(request: Features) -> dict[str, int]:
    """Return items per prompt by modality, as --limit-mm-per-prompt gives them: numbers, or objects with a count.

    Raises:
        InvalidRequest: a value that is neither.
    """
    limits = {}
    for name, value in json_value(request.limit_mm_per_prompt).items():
        count = value.get("count", 1) if isinstance(value, dict) else value
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count < 2**31:
            raise InvalidRequest(
                f"limit_mm_per_prompt: '{name[:40]}' must be a whole number of items, or an object with a count"
            )
        limits[name] = count
    return limits


def without_unused_tower(model: ModelProfile, request: Features) -> ModelProfile:
    """Return the model as vLLM builds it: no tower with --language-model-only or where every modality's limit is 0.

    Raises:
        InvalidRequest: images are sent to a model that reads none, or that was told to read none.
    """
    limits = item_limits(request)
    off = request.language_model_only or all(limits.get(name, 1) == 0 for name in ("image", "video"))
    if request.images_per_request and (model.vision is None or off):
        why = "images are switched off" if model.vision is not None else f"{model.id} reads no images"
        raise InvalidRequest(f"images_per_request: {why}; leave it out")
    return model.model_copy(update={"vision": None}) if off and model.vision is not None else model


def profiled_media(model: ModelProfile, request: Features, max_model_len: int) -> MediaItems | None:
    """Return the items that the profile run encodes; none with --skip-mm-profiling."""
    return None if request.skip_mm_profiling else media_items(model.vision, max_model_len, item_limits(request))


def media_notes(model: ModelProfile, request: Features) -> tuple[str, ...]:
    """What the answer leaves out of the encoder's memory."""
    if model.vision is None:
        return ()
    if request.skip_mm_profiling:
        return ("--skip-mm-profiling: nothing of the encoder is measured, so leave room for it by hand",)
    return (UNCOUNTED_PEAK,) if model.vision.max_encoder_tokens is None else ()


def image_prompt_tokens(model: ModelProfile, request: Features) -> int:
    """Return the prompt tokens that the images of one request take, rounded up.

    Raises:
        InvalidRequest: images are sent, and how many tokens one takes is neither given nor known.
    """
    if not request.images_per_request:
        return 0
    each = request.image_tokens or (model.vision.usual_image_tokens if model.vision is not None else None)
    if each is None:
        raise InvalidRequest(
            f"images_per_request: how many tokens an image takes is not known for {model.id}; give image_tokens"
        )
    return -int(-request.images_per_request * each // 1)


def encoder_seconds(model: ModelProfile, request: Features, gpu: GpuProfile, tensor_parallel_size: int) -> float:
    """Return what encoding the images of one request adds to its time to first token.

        2 * parameters * patches / (peak * share) / TP

    The share of the 16-bit peak is assumed; a prompt's images are encoded one after the other.
    """
    tower = model.vision
    if tower is None or not request.images_per_request:
        return 0.0
    each = request.image_tokens or tower.usual_image_tokens or 0
    ranks = tensor_parallel_size if tower.sharded_by_tensor_parallel else 1
    work = 2.0 * tower.parameters * each * tower.patches_per_token * request.images_per_request
    return work / (gpu.half_flops_per_s * ENCODER_COMPUTE_SHARE) / ranks


def with_images(performance: Performance, seconds: float) -> Performance:
    """Return the performance with `seconds` of encoding before each first token."""
    if seconds <= 0:
        return performance
    added = seconds * 1e3
    e2e = performance.e2e_ms + added
    slower = performance.e2e_ms / e2e
    low, high = performance.interval["ttft_ms"]
    rates = performance.interval["output_tokens_per_s"]
    return performance.model_copy(
        update={
            "ttft_ms": performance.ttft_ms + added,
            "e2e_ms": e2e,
            "output_tokens_per_s": performance.output_tokens_per_s * slower,
            "total_tokens_per_s": performance.total_tokens_per_s * slower,
            "requests_per_s": performance.requests_per_s * slower,
            "interval": {
                **performance.interval,
                "ttft_ms": (low + added, high + added),
                "output_tokens_per_s": (rates[0] * slower, rates[1] * slower),
            },
        }
    )


def lengths_with_images(
    lengths: tuple[int, int], model: ModelProfile, request: Features, input_tokens: int | None
) -> tuple[int, int]:
    """Return the typical request with its images' tokens: beside a stated prompt, inside a default one."""
    images = image_prompt_tokens(model, request)
    if not images:
        return lengths
    return (lengths[0] + images if input_tokens is not None else max(lengths[0], images)), lengths[1]
