"""What the API answers: one row per verb, with its request, its answer and the formats it can be had in."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from vllm_opt.profiles.errors import InvalidRequest


@dataclass(frozen=True)
class Verb:
    """One kind of question. Types and functions are named by address, and imported where they are used."""

    name: str
    request: str
    answer: str
    function: str
    formats: tuple[str, ...]
    summary: str
    deployable: bool = False
    """Its answer can be had as a folder of files that start it."""

    @property
    def request_type(self) -> Any:
        """The pydantic type of a request."""
        return addressed(self.request)

    @property
    def answer_type(self) -> Any:
        """The pydantic type of an answer."""
        return addressed(self.answer)


def addressed(address: str) -> Any:
    """The object at `module:name` below the optimizer."""
    module, name = address.split(":")
    return getattr(import_module(f"vllm_opt.optimizer.{module}"), name)


_PLAN = ("json", "yaml", "command", "env", "compose", "kubernetes", "html", "table")
_EVERY = (
    Verb("solve", "contract.request:SolveRequest", "contract.answer:Answer", "web.answering:solved", (*_PLAN, "zip"),
         "The best deployment for a model and a load, with proof.", deployable=True),
    Verb("explain", "contract.request:SolveRequest", "contract.answer:Answer", "web.answering:explained", _PLAN,
         "Why nothing fits and what would, or what binds the plan."),
    Verb("estimate", "contract.request:EstimateRequest", "contract.answer:Estimate", "web.answering:estimated", _PLAN,
         "What one given vLLM configuration would do."),
    Verb("curves", "web.curves:CurvesRequest", "web.curves:Curves", "web.curves:curves", ("json",),
         "One configuration at other loads and other contexts, for charts."),
    Verb("lint", "linter.subject.request:LintRequest", "linter.subject.report:LintReport", "web.answering:linted",
         ("json", "sarif", "github", "fixed", "table"), "Check a vllm serve command or a shell script."),
    Verb("procure", "procurement.request:FleetRequest", "procurement.answer:FleetAnswer", "web.answering:procured",
         ("json", "yaml", "csv", "servers", "workloads", "xlsx", "html", "table", "zip"),
         "Which GPUs to buy or rent for all that is served.",
         deployable=True),
    Verb("place", "placement.request:PlaceRequest", "placement.answer:PlacementAnswer", "web.answering:placed",
         ("json", "yaml", "html", "table", "zip"), "Which model runs on which GPUs of the nodes that are owned.",
         deployable=True),
)  # fmt: skip


def verbs() -> tuple[Verb, ...]:
    """Every verb."""
    return _EVERY


def verb_named(name: str) -> Verb:
    """One verb.

    Raises:
        InvalidRequest: there is none of that name.
    """
    for verb in verbs():
        if verb.name == name:
            return verb
    raise InvalidRequest(f"no verb '{name[:40]}'; there are {', '.join(verb.name for verb in verbs())}")
