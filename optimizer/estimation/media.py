"""Images, videos and audio of a request: which tower is built, what is encoded while profiling, the prompt's tokens."""

import math
from dataclasses import replace

from vllm_opt.constraints.decisions.configuration import MediaItems
from vllm_opt.constraints.memory.encoder_peak import longest_video, media_items
from vllm_opt.constraints.speed.speech import encoder_flop
from vllm_opt.constraints.speed.step_time import LatencyCoefficients
from vllm_opt.optimizer.contract.features import Features, json_value
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile

USUAL_PIXELS = 1024 * 1024
ENCODER_COMPUTE_SHARE = 0.4
"""Assumed share of the 16-bit peak that a vision tower reaches on a whole image."""
UNCOUNTED_PEAK = (
    "the encoder's memory peak while profiling is not counted: how many tokens its largest image takes is not known "
    "for this class; leave room or give --language-model-only"
)


UNCOUNTED_AUDIO = "audio counts by its prompt tokens; the memory and time of its encoder are not known"


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
    seen = request.images_per_request or request.videos_per_request
    if seen and (model.vision is None or off):
        why = "images are switched off" if model.vision is not None else f"{model.id} reads no images"
        raise InvalidRequest(f"images_per_request: {why}; leave it out")
    return model.model_copy(update={"vision": None}) if off and model.vision is not None else model


def profiled_media(model: ModelProfile, request: Features, max_model_len: int) -> MediaItems | None:
    """Return the items that the profile run encodes; none with --skip-mm-profiling."""
    return None if request.skip_mm_profiling else media_items(model.vision, max_model_len, item_limits(request))


def media_notes(model: ModelProfile, request: Features) -> tuple[str, ...]:
    """What the answer leaves out of the encoder's memory."""
    if request.audios_per_request and model.runner != "transcription":
        return (UNCOUNTED_AUDIO, *_tower_notes(model, request))
    return _tower_notes(model, request)


def _tower_notes(model: ModelProfile, request: Features) -> tuple[str, ...]:
    if model.vision is None:
        return ()
    if request.skip_mm_profiling:
        return ("--skip-mm-profiling: nothing of the encoder is measured, so leave room for it by hand",)
    return (UNCOUNTED_PEAK,) if model.vision.max_encoder_tokens is None else ()


def seen_tokens(model: ModelProfile, request: Features) -> float:
    """Return the tokens of the images and videos of one request: what the tower encodes, and what the prompt holds.

    Raises:
        InvalidRequest: images or videos are sent, and how many tokens one takes is neither given nor known.
    """
    total = 0.0
    for number, each, name, missing in (
        (request.images_per_request, _image_tokens(model, request), "images_per_request: an image", "image_tokens"),
        (request.videos_per_request, _video_tokens(model, request), "videos_per_request: a video", "video_tokens"),
    ):
        if number and each is None:
            field, _, item = name.partition(": ")
            raise InvalidRequest(f"{field}: how many tokens {item} takes is not known for {model.id}; give {missing}")
        total += number * (each or 0)
    return total


def _image_tokens(model: ModelProfile, request: Features) -> int | None:
    """Tokens of one image: as given, else by its area where the tower's tokens grow with it."""
    tower = model.vision
    if request.image_tokens or tower is None or tower.usual_image_tokens is None:
        return request.image_tokens
    usual, most = tower.usual_image_tokens, tower.max_encoder_tokens
    if request.image_size is None or most is None or most <= usual:
        return usual
    width, height = request.image_size
    return max(1, min(most, math.ceil(usual * width * height / USUAL_PIXELS)))


def _video_tokens(model: ModelProfile, request: Features) -> int | None:
    tower = model.vision
    longest = None if tower is None else longest_video(tower, model.max_model_len) or None
    return request.video_tokens or longest


def media_prompt_tokens(model: ModelProfile, request: Features) -> int:
    """Return the prompt tokens that images, videos and audio clips of one request take, rounded up.

    Raises:
        InvalidRequest: something is sent whose tokens are neither given nor known.
    """
    if request.audios_per_request and request.audio_tokens is None:
        raise InvalidRequest("audios_per_request: how many tokens a clip takes is not known; give audio_tokens")
    heard = request.audios_per_request * (request.audio_tokens or 0)
    return math.ceil(seen_tokens(model, request) + heard)


def encoder_seconds(model: ModelProfile, request: Features, gpu: GpuProfile, tensor_parallel_size: int) -> float:
    """Return what encoding the images of one request, or its clip of speech, adds to its time to first token.

        2 * parameters * patches / (peak * share) / TP

    The share of the 16-bit peak is assumed; a prompt's images are encoded one after the other.
    """
    if model.runner == "transcription":
        return encoder_flop(model) / (gpu.half_flops_per_s * ENCODER_COMPUTE_SHARE) / tensor_parallel_size
    tower = model.vision
    if tower is None:
        return 0.0
    ranks = tensor_parallel_size if tower.sharded_by_tensor_parallel else 1
    work = 2.0 * tower.parameters * seen_tokens(model, request) * tower.patches_per_token
    return work / (gpu.half_flops_per_s * ENCODER_COMPUTE_SHARE) / ranks


def with_encoder(
    coefficients: LatencyCoefficients,
    model: ModelProfile,
    request: Features,
    gpu: GpuProfile,
    tensor_parallel_size: int,
) -> LatencyCoefficients:
    """Return the speed of an engine that also encodes what its requests bring: limits and objectives see it."""
    seconds = encoder_seconds(model, request, gpu, tensor_parallel_size)
    return replace(coefficients, encoder_s=seconds) if seconds > 0 else coefficients


def media_key(request: Features) -> tuple[object, ...]:
    """What `encoder_seconds` reads of a request."""
    return (
        request.images_per_request, request.image_tokens, request.image_size, request.videos_per_request,
        request.video_tokens,
    )  # fmt: skip


def lengths_with_images(
    lengths: tuple[int, int], model: ModelProfile, request: Features, input_tokens: int | None
) -> tuple[int, int]:
    """Return the typical request with its images' tokens: beside a stated prompt, inside a default one."""
    images = media_prompt_tokens(model, request)
    if not images:
        return lengths
    return (lengths[0] + images if input_tokens is not None else max(lengths[0], images)), lengths[1]
