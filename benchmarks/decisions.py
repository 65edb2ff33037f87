"""What public sources decided, asked of the product: which plan is better, and by what factor.

    python benchmarks/decisions.py [tests/data/public_decisions.json] [--only 16] [--verbose]

A decision holds where every plan that a source found better is predicted better by at least 1 % (less is a tie, and a
tie is no agreement), or where `solve` gives the answer that the source gives. It holds by accident where the figure
that must explain it (`reason`) does not. A stated factor is met within 25 %. All predictions are central
(confidence 0.5). The verdicts also stand in docs/latency-accuracy.md.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vllm_opt.optimizer import EstimateRequest, SolveRequest, estimate, solve
from vllm_opt.profiles.errors import VllmOptError

DATA = Path(__file__).resolve().parent.parent / "tests" / "data" / "public_decisions.json"
TIE = 0.01
SAME = 0.05
"""Where a source measured less than 1 %, what is predicted may differ by this much."""
FACTOR = 0.25
GPUS_PER_NODE = 8
BY_DEFAULT = "tokens"


@dataclass(frozen=True)
class Verdict:
    """Whether a decision holds, and its factors: predicted over stated."""

    number: str
    statement: str
    agrees: bool
    word: str
    ratios: tuple[tuple[str, float, tuple[float, float]], ...] = ()

    @property
    def states_factor(self) -> bool:
        """Whether the source gave a number."""
        return bool(self.ratios)

    @property
    def factor_met(self) -> bool:
        """Every stated factor within 25 %."""
        return self.states_factor and all(
            low * (1 - FACTOR) <= ratio <= high * (1 + FACTOR) for _, ratio, (low, high) in self.ratios
        )


class Question:
    """One decision with its plans, each estimated once."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields
        self.by = fields.get("by", BY_DEFAULT)

    @cached_property
    def figures(self) -> dict[str, dict[str, float]]:
        """Tokens per second of each plan: in all, per GPU, per USD, and while decoding."""
        return {name: self.figures_of(plan) for name, plan in self.fields.get("plans", {}).items()}

    @staticmethod
    def figures_of(plan: dict[str, Any]) -> dict[str, float]:
        """Figures of one plan; zero where it cannot start."""
        fields = {"confidence": 0.5, **plan}
        usd = fields.pop("usd_per_gpu_hour", None)
        fields |= {name: str(DATA.parent / fields[name]) for name in ("lengths", "gpu_file") if name in fields}
        request = EstimateRequest(**fields)
        performance = estimate(request).performance
        if performance is None:
            return dict.fromkeys(("tokens", "tokens per GPU", "tokens per USD", "decode"), 0.0)
        gpus = (
            request.replicas
            * request.tensor_parallel_size
            * request.pipeline_parallel_size
            * request.data_parallel_size
        )
        tokens = performance.output_tokens_per_s
        return {
            "tokens": tokens,
            "tokens per GPU": tokens / gpus,
            "tokens per USD": tokens * 3600 / (gpus * usd) if usd else 0.0,
            "decode": 1000.0 / performance.tpot_ms if performance.tpot_ms else 0.0,
        }

    def ratio(self, first: str, second: str, by: str | None = None) -> float:
        """First plan over second; 0 where the first cannot start, infinite where only the second cannot."""
        by = by or self.by
        over, under = self.figures[first][by], self.figures[second][by]
        if under > 0.0:
            return over / under
        return float("inf") if over > 0.0 else 0.0

    def ordered(self, check: dict[str, Any]) -> str:
        """agree, tie or disagree: each plan of an order against the next."""
        steps = [
            self.ratio(first, second, check.get("by"))
            for first, second in zip(check["order"], check["order"][1:], strict=False)
        ]
        least = min(steps)
        if least >= 1 + TIE or (check.get("ties") and least >= 1 - TIE):
            return "agree"
        return "tie" if least > 1 - TIE else "disagree"

    def words(self) -> Iterable[str]:
        """One word for each thing that must hold."""
        fields = self.fields
        checks = list(fields.get("checks", ()))
        if "order" in fields:
            checks.append({"order": fields["order"]})
        for check in checks:
            yield self.ordered(check)
        for first, second in fields.get("same", ()):
            yield "agree" if abs(self.ratio(first, second) - 1) <= SAME else "disagree"
        solves = list(fields.get("solves", ()))
        if "solve" in fields:
            solves.append(fields)
        for one in solves:
            yield "agree" if answered(one["solve"], one["answer"]) else "disagree"

    def verdict(self) -> Verdict:
        """All checks together."""
        words = set(self.words())
        word = next(word for word in ("disagree", "tie", "agree") if word in words)
        if word == "agree" and "reason" in self.fields and self.ordered(self.fields["reason"]) != "agree":
            word = "accident"
        ratios = tuple(
            (f"{first} / {second}", self.ratio(first, second), bounds(stated))
            for first, second, stated in self.fields.get("factors", ())
        )
        return Verdict(self.fields["number"], self.fields["statement"], word == "agree", word, ratios)


def bounds(stated: float | list[float]) -> tuple[float, float]:
    """A stated factor, or its range."""
    return (stated, stated) if isinstance(stated, int | float) else (stated[0], stated[1])


def answered(fields: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Whether solve's plan is the one that the source has."""
    plan = solve(SolveRequest(**fields)).plan
    if plan is None:
        return False
    size = plan.gpu_count // plan.replicas
    found = {
        "nodes": -(-size // GPUS_PER_NODE),
        "replicas": plan.replicas,
        "tensor_parallel_size": plan.tensor_parallel_size,
        "quantization": plan.quantization,
    }
    return all(found[name] in (wanted if isinstance(wanted, list) else [wanted]) for name, wanted in expected.items())


def decisions(path: Path = DATA) -> list[dict[str, Any]]:
    """The statements of the data file."""
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["decisions"]
    return found


def line_of(verdict: Verdict) -> str:
    """One line of the report."""
    parts = [
        f"{name} {ratio:.2f} ({low:g})" if low == high else f"{name} {ratio:.2f} ({low:g} to {high:g})"
        for name, ratio, (low, high) in verdict.ratios
    ]
    mark = ("  factor met" if verdict.factor_met else "  factor wrong") if verdict.states_factor else ""
    return f"{verdict.number:4} {verdict.word:8} {'; '.join(parts)}{mark}"


def main() -> int:
    """Print one line per decision and the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("decisions", type=Path, nargs="?", default=DATA)
    parser.add_argument("--only", nargs="*", default=(), help="numbers of decisions")
    parser.add_argument("--verbose", action="store_true", help="print the figures of every plan")
    options = parser.parse_args()
    found = []
    for fields in decisions(options.decisions):
        if options.only and fields["number"] not in options.only:
            continue
        question = Question(fields)
        try:
            verdict = question.verdict()
        except VllmOptError as error:
            print(f"{fields['number']:4} not asked: {error}", flush=True)
            continue
        found.append(verdict)
        print(line_of(verdict), flush=True)
        if options.verbose:
            for name, figures in question.figures.items():
                print("      ", name, ", ".join(f"{by} {value:,.1f}" for by, value in figures.items() if value))
    stated = [one for one in found if one.states_factor]
    print(
        f"{sum(one.agrees for one in found)} of {len(found)} decisions agree, "
        f"{sum(one.word == 'accident' for one in found)} by accident; "
        f"{sum(one.factor_met for one in stated)} of {len(stated)} stated factors within 25 %"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
