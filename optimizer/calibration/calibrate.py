"""`calibrate`: read logs and results, compare them with the predictions, learn, and keep what was learned."""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from vllm_opt.optimizer.calibration.learn import learned_speed
from vllm_opt.optimizer.calibration.learn_memory import learned_memory, trusted
from vllm_opt.optimizer.calibration.observe import NotComparable, observation_of
from vllm_opt.optimizer.calibration.reading import Readings, read_all
from vllm_opt.optimizer.calibration.report import CalibrationReport, Comparison, Gain
from vllm_opt.optimizer.calibration.request import CalibrateRequest
from vllm_opt.optimizer.calibration.sources import files_of
from vllm_opt.optimizer.calibration.startup_again import predicted_with
from vllm_opt.optimizer.calibration.startup_compare import ComparedStart, compared_start
from vllm_opt.optimizer.contract.request import EstimateRequest
from vllm_opt.optimizer.estimation.estimate import estimate
from vllm_opt.optimizer.fitting.latency.observation import Observation
from vllm_opt.optimizer.fitting.latency.replay import METRICS, Nouns, Replay, usable
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.catalogues.own_calibration import (
    calibration_lock,
    load_own_calibration,
    own_calibration_path,
    write_own_calibration,
)
from vllm_opt.profiles.errors import VllmOptError
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.latency_constants import default_latency_constants
from vllm_opt.profiles.nouns.own_calibration import GpuCalibration, OwnCalibration
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.user_files import with_home

MOST_KEPT = 20_000
OnShare = Callable[[float], None]
PREDICTING = 0.7
"""About that part of the work is to predict each point once; the rest is to learn from all of them."""
OTHER_WEIGHTS = "the weights printed are not those of this model, format and size; give --model, --quantization or -tp"
ABOUT = "what vllm-opt calibrate learned; `measured` holds the points behind it"
TERMS = {"ttft": ("ttft_ms", "ms"), "tpot": ("tpot_ms", "ms"), "e2e": ("e2e_ms", "ms"),
         "throughput": ("output_tokens_per_s", "tokens/s")}  # fmt: skip


def calibrate(
    request: CalibrateRequest, catalog: Catalog | None = None, *, on_share: OnShare | None = None
) -> CalibrationReport:
    """Learn from start-up logs and benchmark results, and keep it for later answers.

    What the calibration file held stays and is learned from together with what is new; the same point is kept once.
    `on_share` is told how much of the work is done, from 0 to 1.

    Raises:
        InvalidRequest: a path is missing, or the calibration file cannot be read or written.
    """
    catalog = catalog or Catalog(gpu_file=request.gpu_file)
    readings = read_all(files_of(request.files))
    place = with_home(request.calibration_file) if request.calibration_file else own_calibration_path()
    own = Path(request.calibration_file) if request.calibration_file else None
    with nullcontext() if request.dry_run else calibration_lock(own):
        before = _before(request, place)
        new = _measured(readings, _stated(request, readings), catalog, on_share or (lambda _: None))
        kept = _joined(before.measured, new)
        calibration, compared = _learned(kept, catalog)
        anything = bool(new) and bool(calibration.gpus)
        if anything and not request.dry_run:
            write_own_calibration(calibration, own)
    fresh = {_key(one) for one in new}
    return CalibrationReport(
        calibration_file=printable(str(place)[-300:]),
        written=anything and not request.dry_run,
        points_before=len(before.measured),
        points=len(kept),
        sources=readings.sources(),
        comparisons=tuple(one for key, ones in compared for one in ones if key in fresh),
        gains=_gains([one for _, ones in compared for one in ones]),
        learned=calibration.gpus,
        notes=_notes(request, before, kept, new),
    )


def _before(request: CalibrateRequest, place: Path) -> OwnCalibration:
    """What the file held; a named file that does not exist yet is made."""
    if request.replace or not place.exists():
        return OwnCalibration()
    return load_own_calibration(place) or OwnCalibration()


def _stated(request: CalibrateRequest, readings: Readings) -> dict[str, Any]:
    """What the caller states, over what a single server's log says of itself: results beside it are of that server."""
    configurations = [start.configuration for _, start in readings.starts]
    alike = {json.dumps(one, sort_keys=True, default=str) for one in configurations}
    told = dict(configurations[0]) if len(alike) == 1 else {}
    return {**told, **request.stated}


def _measured(readings: Readings, stated: dict[str, Any], catalog: Catalog, on_share: OnShare) -> list[dict[str, Any]]:
    """Every usable point and start as plain JSON, each under what it is."""
    found: list[dict[str, Any]] = []
    points = readings.points(stated)
    for done, (name, point) in enumerate(points):
        on_share(PREDICTING * done / (len(points) + len(readings.starts)))
        try:
            seen = observation_of(point, name, catalog)
        except NotComparable as why:
            readings.leave_out(name, str(why))
            continue
        if not seen.measured:
            readings.leave_out(name, "nothing that the model predicts of this kind of load")
        elif usable([seen], Nouns(catalog))[0].observations:
            readings.used[name] += 1
            found.append({"benchmark": _plain(seen)})
        else:
            readings.leave_out(name, "the weights and one sequence do not fit the stated GPUs")
    for done, (name, start) in enumerate(readings.starts, len(points)):
        on_share(PREDICTING * done / (len(points) + len(readings.starts)))
        compared = compared_start(start, name, stated, catalog)
        if isinstance(compared, str):
            readings.leave_out(name, compared)
            continue
        if not trusted(compared):
            readings.leave_out(name, OTHER_WEIGHTS)
            continue
        readings.used[name] += 1
        asked = compared.request.model_dump(mode="json", exclude_unset=True)
        found.append({"startup": {"source": name, "request": asked, "measured": compared.measured}})
    return found


def _plain(seen: Observation) -> dict[str, Any]:
    """An observation as JSON can hold it; what is infinite is the default and comes back by itself."""
    return {
        name: value
        for name, value in asdict(seen).items()
        if not isinstance(value, float) or math.isfinite(value)
    }  # fmt: skip


def _key(one: dict[str, Any]) -> str:
    """Two points are the same when everything but the file's name is."""
    ((kind, content),) = one.items()
    return json.dumps([kind, {name: value for name, value in content.items() if name != "source"}], sort_keys=True)


def _joined(old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Old and new points, each once, the newest of at most `MOST_KEPT`."""
    together = {_key(one): one for one in (*old, *new) if len(one) == 1}
    return list(together.values())[-MOST_KEPT:]


def _learned(
    kept: Sequence[dict[str, Any]], catalog: Catalog
) -> tuple[OwnCalibration, list[tuple[str, list[Comparison]]]]:
    """The calibration that these points give, and each point beside its predictions."""
    seen, starts = [], []
    for one in kept:
        try:
            if "benchmark" in one:
                seen.append((_key(one), Observation(**one["benchmark"])))
            else:
                starts.append((_key(one), _start_again(one["startup"], catalog)))
        except (TypeError, KeyError, ValueError, AttributeError, VllmOptError):
            continue  # of an older catalogue, or edited by hand: it teaches nothing any more
    replay, _ = usable([one for _, one in seen], Nouns(catalog))
    held = set(map(id, replay.observations))
    keys = [key for key, one in seen if id(one) in held]
    speed = learned_speed(replay, default_latency_constants()) if replay.observations else {}
    memory = learned_memory(start for _, start in starts)
    gpus = tuple(
        GpuCalibration(
            gpu=gpu, speed=speed.get(gpu, ()), memory=memory.get(gpu, ()),
            points=sum(one.gpu == gpu for one in replay.observations),
            logs=sum(start.key[0] == gpu for _, start in starts),
        )
        for gpu in sorted({*speed, *memory})
    )  # fmt: skip
    calibration = OwnCalibration(about=ABOUT, gpus=gpus, measured=tuple(kept))
    compared = [*_compared_points(replay, keys, calibration, catalog), *_compared_starts(starts, calibration, catalog)]
    return calibration, compared


def _start_again(content: dict[str, Any], catalog: Catalog) -> ComparedStart:
    """A kept start with today's prediction."""
    request = EstimateRequest(**{**content["request"], "calibration": False})
    figures = {str(name): float(value) for name, value in content["measured"].items()}
    return ComparedStart(str(content["source"]), request, estimate(request, catalog), figures)


class CalibratedNouns(Nouns):
    """The catalogue's nouns, GPUs with what was learned of them."""

    def __init__(self, catalog: Catalog, calibration: OwnCalibration) -> None:
        super().__init__(catalog)
        plain = self.gpu
        self.gpu = lambda name: _with(plain(name), calibration)  # type: ignore[assignment]


def _with(gpu: GpuProfile, calibration: OwnCalibration) -> GpuProfile:
    return gpu.model_copy(update={"own": calibration.of(gpu.id)})


def _compared_points(
    replay: Replay, keys: Sequence[str], calibration: OwnCalibration, catalog: Catalog
) -> list[tuple[str, list[Comparison]]]:
    if not replay.observations:
        return []
    constants = default_latency_constants()
    plain = replay.predict(constants, calibrated=True)
    after = Replay(replay.observations, CalibratedNouns(catalog, calibration)).predict(constants, calibrated=True)
    measured = {metric: replay.measured(metric) for metric in METRICS}
    found = []
    for at, (key, one) in enumerate(zip(keys, replay.observations, strict=True)):
        what = f"{one.quantization}, TP {one.tensor_parallel_size}, {one.kind} {one.load:g}, " + (
            f"{one.input_tokens:.0f} in, {one.output_tokens:.0f} out"
        )
        rows = [
            Comparison(
                file=one.source, model=one.model, gpu=one.gpu, what=what, term=TERMS[metric][0], unit=TERMS[metric][1],
                measured=float(measured[metric][at]), predicted=float(plain[metric][at]),
                calibrated=float(after[metric][at]),
            )
            for metric in METRICS
            if np.isfinite(measured[metric][at])
        ]  # fmt: skip
        found.append((key, rows))
    return found


def _compared_starts(
    starts: Sequence[tuple[str, ComparedStart]], calibration: OwnCalibration, catalog: Catalog
) -> list[tuple[str, list[Comparison]]]:
    found = []
    for key, start in starts:
        after = {term: value for term, _, value, _ in predicted_with(start, calibration, catalog).pairs()}
        gpu, engine, model, ranks = start.key
        what = f"vLLM {start.predicted.request['vllm_version']} {engine}, TP {ranks}"
        found.append(
            (key, [Comparison(file=start.source, model=model, gpu=gpu, what=what, term=term, unit=unit,
                              measured=measured, predicted=predicted, calibrated=after.get(term))
                   for term, measured, predicted, unit in start.pairs()])
        )  # fmt: skip
    return found


def _gains(compared: Sequence[Comparison]) -> tuple[Gain, ...]:
    """How far off each term is, before and after."""
    errors: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for one in compared:
        if one.calibrated and one.measured > 0 and one.predicted > 0:
            errors[one.term].append(
                (abs(math.log(one.measured / one.predicted)), abs(math.log(one.measured / one.calibrated)))
            )
    return tuple(
        Gain(term=term, points=len(pairs), before=round(median(one for one, _ in pairs), 4),
             after=round(median(other for _, other in pairs), 4))
        for term, pairs in errors.items()
    )  # fmt: skip


def _notes(
    request: CalibrateRequest, before: OwnCalibration, kept: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]
) -> tuple[str, ...]:
    notes = []
    if not new:
        notes.append(
            "nothing was learned: no file holds a start or a result that can be compared; the reasons are listed"
        )
    if before.measured:
        repeated = len(before.measured) + len(new) - len(kept)
        said = f"; {repeated} of the new ones were there already" if repeated > 0 else ""
        notes.append(f"the calibration held {len(before.measured)} points, which stay{said}")
    if request.replace:
        notes.append("what was learned before is replaced, as asked")
    return tuple(notes)
