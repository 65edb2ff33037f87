"""What the second opinion says: `SecondOpinion`, a part of every answer that was asked for it."""

from pydantic import Field

from vllm_opt.profiles.noun import Noun


class Check(Noun):
    """One figure or limit of a plan, counted again."""

    name: str
    shown: float | int | None = Field(description="what the plan says, or what a limit leaves")
    recomputed: float | int | None
    agrees: bool
    detail: str = ""


class PlanOpinion(Noun):
    """One plan, counted again."""

    plan: str = Field(description="which plan of the answer: 'plan', or the name of its workload or service")
    agrees: bool
    checks: tuple[Check, ...]
    not_judged: tuple[str, ...] = Field((), description="parts that are not counted again, and why")

    @property
    def disagreements(self) -> tuple[str, ...]:
        """One sentence per check that does not agree."""
        return tuple(
            f"{self.plan}: {check.name} is {check.shown} in the answer and {check.recomputed} counted again"
            + (f" ({check.detail})" if check.detail else "")
            for check in self.checks
            if not check.agrees
        )


class SecondOpinion(Noun):
    """Every plan of an answer, counted again by code that shares nothing with the search."""

    agrees: bool
    plans: tuple[PlanOpinion, ...] = ()

    @property
    def disagreements(self) -> tuple[str, ...]:
        """One sentence per check that does not agree."""
        return tuple(text for plan in self.plans for text in plan.disagreements)


def second_opinion_of(plans: tuple[PlanOpinion, ...]) -> SecondOpinion:
    """Put the opinions of several plans together."""
    return SecondOpinion(agrees=all(plan.agrees for plan in plans), plans=plans)
