"""budget: whole machines x price of one <= max_hourly_cost."""

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.judging.decision_space import DecisionSpace
from vllm_opt.constraints.judging.deployment import Deployment
from vllm_opt.constraints.money.bill import MICRO, microusd


class Budget:
    """The deployment costs no more per hour than allowed."""

    name = "budget"

    def check(self, deployment: Deployment) -> tuple[Violation, ...]:
        """Compare in millionths of a dollar; an unpriced GPU breaks a budget because nothing proves it."""
        limit = deployment.targets.max_hourly_cost
        if limit is None:
            return ()
        if deployment.bill is None:
            return (
                Violation(
                    rule=self.name,
                    message=f"{deployment.gpu.id} has no price, so a budget of {limit:g} USD per hour cannot be "
                    f"checked; give one with --price {deployment.gpu.id}=USD",
                    available=limit,
                    unit="USD/hour",
                ),
            )
        cost = deployment.bill.microusd_per_hour
        if cost <= microusd(limit):
            return ()
        return (
            Violation(
                rule=self.name,
                message=f"the plan costs {cost / MICRO:.2f} USD per hour, above the limit of {limit:g}",
                needed=cost / MICRO,
                available=limit,
                unit="USD/hour",
            ),
        )

    def add(self, space: DecisionSpace) -> None:
        """Bound the cost variable; a mode without a price is ruled out under a budget."""
        limit = space.targets.max_hourly_cost
        if limit is None:
            return
        for mode, chosen in zip(space.modes, space.chosen, strict=True):
            if mode.price_microusd is None or mode.price_microusd > microusd(limit):
                price = "unknown" if mode.price_microusd is None else f"{mode.price_microusd} micro-USD per hour"
                space.model.add(chosen == 0).with_name(f"price {price}, limit {microusd(limit)}")
