"""The options that several commands share, and how what was typed becomes the fields of a request.

Values stay text here: the request types in `request.py` read and check them, so that the command line, a request file
and Python all accept the same things and complain in the same words.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from vllm_opt.optimizer.cli import completion
from vllm_opt.optimizer.cli.completion import Completer
from vllm_opt.optimizer.cli.grouped_help import Decorator
from vllm_opt.optimizer.cli.settings import place_of_setting, settings_note
from vllm_opt.profiles.errors import InvalidRequest

Function = TypeVar("Function", bound=Callable[..., Any])
GIVEN = (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)
"""Where a value counts as given: the command line, or the environment and the settings files."""
FORMATS = ("table", "json", "yaml", "command", "env", "compose", "kubernetes", "html")
SETTINGS = {
    "help_option_names": ["-h", "--help"],
    "token_normalize_func": lambda token: token.replace("_", "-"),
    "max_content_width": 110,
}
"""vLLM itself takes `--max_model_len` for `--max-model-len`; so do we."""


def text(
    *names: str, help: str, metavar: str = "TEXT", many: bool = False, complete: Completer | None = None
) -> Decorator:
    """An option whose value the request reads; `complete` offers names to the shell."""
    return click.option(*names, type=str, multiple=many, metavar=metavar, help=help, shell_complete=complete)


def count(*names: str, help: str) -> Decorator:
    """An option that takes a whole number, also as 8k (8000) or 8K (8192)."""
    return text(*names, help=help, metavar="N")


def number(*names: str, help: str) -> Decorator:
    """An option that takes a number."""
    return text(*names, help=help, metavar="F")


def switch(*names: str, help: str) -> Decorator:
    """An option that is there or not."""
    return click.option(*names, is_flag=True, default=None, help=help)


def with_options(options: Iterable[Decorator]) -> Callable[[Function], Function]:
    """Apply options so that `--help` lists them in the order given."""

    def decorate(function: Function) -> Function:
        for option in reversed(tuple(options)):
            function = option(function)
        return function

    return decorate


MODEL_ARGUMENT = click.argument("model_argument", required=False, metavar="[MODEL]", shell_complete=completion.models)
MODEL = text(
    "--model", help="The same as MODEL: catalogue name, Hugging Face id, or path of a config.json or model folder.",
    complete=completion.models,
)  # fmt: skip
WORKLOAD = text(
    "--workload", metavar="NAME", complete=completion.workloads,
    help="Preset that fills in what is not stated: chat, rag, code, long-context, offline-batch or agentic.",
)  # fmt: skip
VLLM_VERSION = text(
    "--vllm-version", metavar="V", help="Flags, defaults and memory rules of this release. Default: the newest.",
    complete=completion.engines,
)  # fmt: skip
ENGINE = text("--engine", metavar="v0|v1", help="For releases that had both engines.")
TYPICAL_REQUEST = (
    count("--input-tokens", help="Prompt tokens of the typical request. Default: what --output-tokens leaves."),
    count("--output-tokens", help="Generated tokens of the typical request. Default: an eighth of the context."),
    number("--prefix-hit-share", help="Share of prompt tokens found in the prefix cache, 0 to 1. Default 0."),
)
OFFLOAD_TIER = (
    number("--kv-offloading-size", help="GiB of host memory in which every engine keeps finished prompts' KV blocks."),
    number("--offload-hit-share", help="Share of prompt tokens loaded from there, 0 to 1. Default 0."),
)
TRAFFIC = (
    text(
        "--arrivals",
        metavar="closed|poisson|burst|offline",
        help="How requests come: users who each wait for the answer (default), at random, all at once, or as a batch.",
    ),
    number("--requests-per-s", help="Rate of random arrivals, all replicas together. Implies --arrivals poisson."),
    number("--burstiness", help="Shape of the gamma law between arrivals, as in vllm bench serve. Default 1: Poisson."),
    number("--think-time-s", help="Seconds that a user of a closed loop pauses between two requests. Default 0."),
    text("--lengths", metavar="FILE", help="CSV or JSONL: a trace of lengths and times, or a histogram of lengths."),
    number("--ttft-percentile", help="Share of the requests within --max-ttft-ms, 50 to 99. Default: their mean is."),
    number("--tpot-percentile", help="Share of the requests within --max-tpot-ms, 50 to 99. Default: their mean is."),
)
LATENCY_LIMITS = (
    number("--max-ttft-ms", help="Limit on the time to first token: 2000, 2s or 500ms."),
    number("--max-tpot-ms", help="Limit on the time per output token after the first: 50 or 50ms."),
    number("--min-output-tokens-per-s", help="Least output tokens per second, all replicas together."),
)
PRICES = (
    text("--provider", many=True, help="Rent from this provider only. Repeatable."),
    text(
        "--billing",
        many=True,
        metavar="KIND",
        help="on-demand (default), reserved-1y, reserved-3y, spot or marketplace. Repeatable.",
    ),
    text("--region", many=True, help="Rent in this region only, as 'us' or 'us-east-1'. Repeatable."),
    text("--owned", many=True, metavar="SKU=N", help="N GPUs of a SKU are owned and cost nothing. Repeatable."),
    text(
        "--price", many=True, metavar="SKU=USD", help="A SKU's price per GPU-hour, GPUs rented one by one. Repeatable."
    ),
    text("--prices", metavar="FILE", help="Use another price list."),
)
GPU_FILE = text("--gpu-file", metavar="FILE", help="A file that adds or overrides GPUs.")
INTERNODE = number("--internode-gbps", help="Network between nodes, Gbit/s. Unset: no plan spans nodes.")
CERTAINTY = (
    number("--confidence", help="How sure the predictions must be, 0.5 to 0.99. Default 0.9."),
    click.option(
        "--calibration/--no-calibration",
        default=None,
        help="Use factors learned per model family, SKU and precision. Default: use.",
    ),
)
CALIBRATION_FILE = text(
    "--calibration-file", metavar="FILE", help="What `vllm-opt calibrate` wrote. Default: in your data folder, if any."
)
FEATURES = (
    text("--speculative-config", metavar="JSON", help="Speculative decoding, as vLLM takes it."),
    number("--acceptance", help="Share of drafted tokens that are accepted, 0 to 1. Default: by method, published."),
    switch("--enable-lora", help="Serve LoRA adapters."),
    count("--max-loras", help="Adapters in one batch. Default 1."),
    count("--max-lora-rank", help="Largest rank of an adapter. Default 16."),
    count("--max-cpu-loras", help="Adapters kept in host memory. Default: --max-loras."),
    switch("--fully-sharded-loras", help="Divide adapters fully by tensor parallelism."),
    text("--lora-dtype", metavar="auto|float16|bfloat16", help="Dtype of adapters. Default: auto, the model's."),
    text(
        "--lora-target-modules",
        metavar="MODULE",
        many=True,
        help="A module that takes adapters, such as q_proj. Repeatable. Default: every one that can.",
    ),
    switch("--enable-moe-shared-loras", help="Experts' adapters share their outer matrices, stored once a layer."),
    switch("--enable-mixed-moe-lora-format", help="Serve experts' adapters in 2-D and 3-D layout side by side."),
    text("--limit-mm-per-prompt", metavar="JSON", help="Images, videos, audio clips per prompt; 0 switches one off."),
    number("--images-per-request", help="Images in the typical request, on average."),
    count("--image-tokens", help="Tokens of one image. Default: of --image-size."),
    text("--image-size", metavar="WxH", help="Pixels of one image. Default 1024x1024."),
    number("--videos-per-request", help="Videos in the typical request, on average."),
    count("--video-tokens", help="Tokens of one video. Default: of the longest that the server profiles."),
    number("--audios-per-request", help="Audio clips in the typical request, on average."),
    count("--audio-tokens", help="Tokens of one audio clip."),
    switch("--language-model-only", help="Leave the encoders of a multimodal model out."),
    switch("--skip-mm-profiling", help="Leave the encoders out of the profile run."),
    text("--hf-overrides", metavar="JSON", help="Overrides of the model's config.json, such as a longer context."),
    switch("--enable-sleep-mode", help="Let the server give its GPU memory back on request."),
    text("--all2all-backend", metavar="NAME", help="How experts on other ranks are reached, as vLLM takes it."),
    switch("--enable-eplb", help="Balance experts over ranks."),
    text("--eplb-config", metavar="JSON", help="Redundant experts and the like, as vLLM takes it."),
    text("--kv-transfer-config", metavar="JSON", help="A KV connector, as vLLM takes it."),
    text("--kv-events-config", metavar="JSON", help="KV cache events, as vLLM takes it."),
    text("--compilation-config", metavar="JSON", help="Compilation and CUDA graphs, as vLLM takes it."),
    text(
        "--kv-cache-dtype-skip-layers",
        metavar="LAYER",
        many=True,
        help="A layer whose KV cache stays 16-bit, by number, or 'sliding_window' for all of those. Repeatable.",
    ),
    text(
        "--indexer-kv-dtype",
        metavar="auto|fp8|mxfp4",
        help="How a sparse indexer's keys are cached (attention_config.indexer_kv_dtype). Default: auto.",
    ),
    text(
        "--mamba-ssm-cache-dtype",
        metavar="auto|float32|bfloat16|float16",
        help="How recurrent matrices are cached. Default: as the config says.",
    ),
    text("--attention-backend", metavar="NAME", help="An attention backend by vLLM's name. Default: vLLM's choice."),
    text("--runner", metavar="generate|pooling", help="What the model does. Default: as its class says."),
    text("--pooler-config", metavar="JSON", help="How a pooling server pools, as vLLM takes it."),
    text("--convert", metavar="none|embed|classify", help="What a decoder is made to give instead of text."),
)
EQUATIONS = switch("--equations", help="Show each formula with its numbers in.")
PRESENTATION = (
    click.option("--format", "format_name", type=click.Choice(FORMATS), default="table", help="Default: table."),
    text("--output", "-o", metavar="FILE", help="Write the answer to this file, whole or not at all."),
)
LENGTH_OF_TABLE = (
    switch("--full", help="Every number: flags, speed, memory, other SKUs, notes."),
    switch("--why", help="The rules, and which of them bind."),
)
REQUESTS = text(
    "--requests", metavar="FILE", help="Answer one JSON request per line with one JSON line; '-' reads standard input."
)


def typed(context: click.Context, fields: Iterable[str]) -> dict[str, Any]:
    """Return the request fields that were given: typed on this command line, else taken from the settings.

    Raises:
        InvalidRequest: the model is named twice.
    """
    known = set(fields)
    found = {
        name: value
        for name, value in context.params.items()
        if name in known and context.get_parameter_source(name) in GIVEN
    }
    positional = context.params.get("model_argument")
    if positional is not None and "model" in known:
        named = found.get("model") if context.get_parameter_source("model") is ParameterSource.COMMANDLINE else None
        if named not in (None, positional):
            raise InvalidRequest(f"the model is named twice: '{positional[:80]}' and --model '{named[:80]}'")
        found["model"] = positional
    return found


def with_settings(context: click.Context, answer: Any) -> Any:
    """The answer with a note that names every settings file and variable it rests on."""
    note = settings_note(context)
    return answer.model_copy(update={"notes": (*answer.notes, note)}) if note else answer


def in_words_of_the_command_line(sentence: str, fields: Iterable[str]) -> str:
    """Spell request fields as options: 'target_context: must …' becomes '--target-context: must …'."""
    sentence = sentence.removeprefix("request: ")
    for field in sorted(fields, key=len, reverse=True):
        option = "--" + field.replace("_", "-")
        pattern = rf"(?<![\w'-]){field}(?![\w'-])" if "_" in field else rf"^{field}(?=:)"
        sentence = re.sub(pattern, option, sentence)
    return sentence


def request_from(context: click.Context, request_type: Any, also: dict[str, Any] | None = None) -> Any:
    """Build the request from what was typed, and from `also`; its errors speak of options.

    Raises:
        InvalidRequest: a value cannot be understood or two of them contradict each other.
    """
    fields = tuple(request_type.model_fields)
    given = typed(context, fields)
    try:
        return request_type(**{**given, **(also or {})})
    except InvalidRequest as error:
        sentence = in_words_of_the_command_line(str(error), fields)
        raise InvalidRequest(sentence + place_of_setting(context, sentence)) from None


def read_pasted_command(context: click.Context) -> tuple[str, ...]:
    """Put the flags of a pasted command where typed options stand, and return what to note about it.

    Options that are typed beside the command win.

    Raises:
        InvalidRequest: the text starts no server, or starts several.
    """
    text = context.params.get("model_argument")
    if text is None or not any(character.isspace() for character in text.strip()):
        return ()
    from vllm_opt.optimizer.estimation.pasted_line import fields_of_line

    fields, notes = fields_of_line(text, context.params.get("vllm_version"), context.params.get("engine"))
    context.params["model_argument"] = None
    for name, value in fields.items():
        if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            context.params[name] = value
            context.set_parameter_source(name, ParameterSource.COMMANDLINE)
    if context.params.get("model") is None:
        raise InvalidRequest("the command names no model; add --model MODEL")
    return notes
