"""What `calibrate` answers: what was read, how it compares with the prediction, and what was learned."""

from typing import Literal

from pydantic import Field

from vllm_opt.optimizer.contract.answer import Report
from vllm_opt.profiles.noun import Noun
from vllm_opt.profiles.nouns.own_calibration import GpuCalibration


class SourceReport(Noun):
    """One file."""

    file: str
    kind: Literal["startup log", "benchmark", "unknown"]
    used: int = Field(0, description="starts or benchmark points that were compared")
    unused: dict[str, int] = Field({}, description="why others were not, with their number")
    lines: int | None = Field(None, description="lines of a log")
    lines_understood: int | None = None
    lines_not_understood: int | None = Field(None, description="lines about memory in a wording that is not known")
    examples: tuple[str, ...] = Field((), description="the first few of them")


class Comparison(Noun):
    """One term, measured and predicted."""

    file: str
    model: str
    gpu: str
    what: str = Field(description="what ran, in a few words")
    term: str = Field(description="a key of `memory` or `performance`")
    unit: str
    measured: float
    predicted: float = Field(description="without what was learned of one's own")
    calibrated: float | None = Field(None, description="with it; null where nothing was learned")


class Gain(Noun):
    """Median of |ln(measured / predicted)| over the points of one term."""

    term: str
    points: int
    before: float
    after: float


class CalibrationReport(Report):
    """The answer of `calibrate`."""

    schema_name: str = Field("vllm-opt/calibration-report/1", alias="schema")
    calibration_file: str
    written: bool
    points_before: int = Field(description="points that the calibration held already")
    points: int = Field(description="points that it holds now")
    sources: tuple[SourceReport, ...]
    comparisons: tuple[Comparison, ...]
    gains: tuple[Gain, ...] = ()
    learned: tuple[GpuCalibration, ...] = ()
    notes: tuple[str, ...] = ()
