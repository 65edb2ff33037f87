"""The options that several commands share, and how what was typed becomes the fields of a request.

Values stay text here: the request types in `request.py` read and check them, so that the command line, a request file
and Python all accept the same things and complain in the same words.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from vllm_opt.profiles.errors import InvalidRequest

Function = TypeVar("Function", bound=Callable[..., Any])
Decorator = Callable[[Any], Any]

FORMATS = ("table", "json", "yaml", "command", "env", "compose", "kubernetes", "html")
SETTINGS = {
    "help_option_names": ["-h", "--help"],
    "token_normalize_func": lambda token: token.replace("_", "-"),
    "max_content_width": 110,
}
"""vLLM itself takes `--max_model_len` for `--max-model-len`; so do we."""


def text(*names: str, help: str, metavar: str = "TEXT", many: bool = False) -> Decorator:
    """An option whose value the request reads."""
    return click.option(*names, type=str, multiple=many, metavar=metavar, help=help)


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


MODEL = text("--model", help="Catalogue name, Hugging Face id, or path of a config.json or model folder.")
VLLM_VERSION = text("--vllm-version", metavar="V", help="Flags, defaults and memory rules of this release.")
ENGINE = text("--engine", metavar="v0|v1", help="For releases that had both engines.")
TYPICAL_REQUEST = (
    count("--input-tokens", help="Prompt tokens of the typical request. Default: what --output-tokens leaves."),
    count("--output-tokens", help="Generated tokens of the typical request. Default: an eighth of the context."),
    number("--prefix-hit-share", help="Share of prompt tokens found in the prefix cache, 0 to 1. Default 0."),
)
LATENCY_LIMITS = (
    number("--max-ttft-ms", help="Limit on the time to first token."),
    number("--max-tpot-ms", help="Limit on the time per output token after the first."),
    number("--min-output-tokens-per-s", help="Least output tokens per second, all replicas together."),
)
PRICES = (
    text("--provider", many=True, help="Take prices of this provider only. Repeatable."),
    text("--price", many=True, metavar="SKU=USD", help="Override the price of one GPU-hour. Repeatable."),
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
EQUATIONS = switch("--equations", help="Show each formula with its numbers in.")
PRESENTATION = (
    click.option("--format", "format_name", type=click.Choice(FORMATS), default="table", help="Default: table."),
    text("--output", "-o", metavar="FILE", help="Write the answer to this file, whole or not at all."),
)
REQUESTS = text(
    "--requests", metavar="FILE", help="Answer one JSON request per line with one JSON line; '-' reads standard input."
)


def typed(context: click.Context, fields: Iterable[str]) -> dict[str, Any]:
    """Return the request fields that the user gave on this command line, and only those."""
    known = set(fields)
    return {
        name: value
        for name, value in context.params.items()
        if name in known and context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }


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
    try:
        return request_type(**{**typed(context, fields), **(also or {})})
    except InvalidRequest as error:
        raise InvalidRequest(in_words_of_the_command_line(str(error), fields)) from None
