"""What is asked of one engine: how requests arrive, and how their lengths spread."""

from dataclasses import dataclass

import numpy as np

from vllm_opt.constraints.speed.step_time import Numbers

EQUAL = np.ones((1, 1))


@dataclass(frozen=True)
class Lengths:
    """Lengths relative to the typical request, as equally likely pairs; both have mean 1.

    Rows hold pairs of ever longer answers; within a row prompts grow. One pair: all requests are alike.
    """

    inputs: Numbers
    outputs: Numbers

    @classmethod
    def of_pairs(cls, inputs: Numbers, outputs: Numbers) -> "Lengths":
        """Arrange pairs in a square of rows; what does not fill the square is left out evenly.

        Raises:
            ValueError: no pair, or different numbers of inputs and outputs.
        """
        if len(inputs) != len(outputs) or not len(inputs):
            raise ValueError("lengths need as many inputs as outputs, and at least one")
        side = int(np.sqrt(len(inputs)))
        kept = np.round(np.linspace(0, len(inputs) - 1, side * side)).astype(np.intp)
        by_answer = np.lexsort((inputs, outputs))[kept].reshape(side, side)
        within = np.argsort(inputs[by_answer], axis=1, kind="stable")
        order = np.take_along_axis(by_answer, within, axis=1)
        prompts, answers = inputs[order].astype(np.float64), outputs[order].astype(np.float64)
        return cls(prompts / prompts.mean(), answers / answers.mean())

    @property
    def input_square(self) -> float:
        """E[I^2] / E[I]^2."""
        return float(np.mean(self.inputs**2))

    @property
    def input_cube(self) -> float:
        """E[I^3] / E[I]^3."""
        return float(np.mean(self.inputs**3))

    def residual(self, uniform: Numbers) -> Numbers:
        """What is left of the prompt that a stranger finds: its law has the density P(I > x) / E[I]."""
        ordered = np.sort(self.inputs, axis=None)
        filled = np.cumsum(np.diff(ordered, prepend=0.0) * (1.0 - np.arange(ordered.size) / ordered.size))
        return np.asarray(np.interp(uniform, np.concatenate([[0.0], filled]), np.concatenate([[0.0], ordered])))

    @property
    def output_square(self) -> float:
        """E[O^2] / E[O]^2."""
        return float(np.mean(self.outputs**2))

    @property
    def held_input(self) -> float:
        """E[I O] / (E[I] E[O]): prompts of the sequences that decode, relative to the mean prompt."""
        return float(np.mean(self.inputs * self.outputs))

    @property
    def spread(self) -> bool:
        """Whether lengths differ at all."""
        return self.inputs.size > 1

    @property
    def median_input(self) -> float:
        """The median prompt relative to the mean one, at most 1."""
        return float(min(1.0, np.median(self.inputs)))

    def at(self, answer: Numbers, prompt: Numbers) -> tuple[Numbers, Numbers]:
        """The pair of each two uniform numbers."""
        rows, columns = self.inputs.shape
        row = np.minimum((answer * rows).astype(np.intp), rows - 1)
        column = np.minimum((prompt * columns).astype(np.intp), columns - 1)
        return self.inputs[row, column], self.outputs[row, column]


ALIKE = Lengths(EQUAL, EQUAL)


@dataclass(frozen=True)
class Stream:
    """Requests that arrive one after the other at random.

    `burstiness` is the shape of the gamma law between arrivals, as `vllm bench serve` defines it: 1 is Poisson, below
    it requests come in clumps, above it they come evenly. The squared coefficient of variation is 1 / burstiness.
    """

    burstiness: float = 1.0
    lengths: Lengths = ALIKE

    @property
    def arrival_variation(self) -> float:
        """Squared coefficient of variation of the time between arrivals."""
        return 1.0 / self.burstiness
