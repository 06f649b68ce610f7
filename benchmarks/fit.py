"""Fit the cost model to sweeps: `python -m benchmarks.fit SWEEP.jsonl ... --out MODEL.json`.

The constants are those of least relative error among the non-negative ones. A fifth of the workloads is first
held back, and the choice of a model of the others compared with the measured best. The model that is written
has learnt from all of them; on the sweeps named by `--test` it is judged too.

What was written after the machine of the sweeps was gone is carried over: `--elsewhere` names a sweep of
another machine, whose times are multiplied by the median ratio of what both machines have timed of a layer.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import jax
import numpy as np
from scipy.optimize import nnls

from jaxconv.lowerings import REGISTRY, Target, work_in_pieces
from jaxconv.planner import cost, neighbours
from jaxconv.planner.key import Key
from jaxconv.planner.rules import fault
from jaxconv.planner.table import Table, ranking

# Fewer measurements than this fit no constants of their own; a more general kind's are taken.
LEAST = 10
HELD_BACK = 5  # one workload of so many
# A measured gain below this is taken for noise, and XLA keeps its own convolution.
NOISE = 0.95

Row = tuple[Key, dict[str, list[float]]]
Line = tuple[str, Row]


def read(path: Path) -> tuple[dict[str, Any], list[Line]]:
    """The header, and for each line its workload, what was measured, and the seconds of the algorithms."""
    head, *lines = map(json.loads, path.read_text().splitlines())
    return head, [(line["workload"], (Key.parse(line["key"]), line["algorithms"])) for line in lines]


def carried(lines: list[Line], elsewhere: list[Line]) -> list[Line]:
    """The lines with what only another machine has measured, in seconds of this one."""
    there = {(name, key.slot): algorithms for name, (key, algorithms) in elsewhere}
    ratios: dict[str, list[list[float]]] = defaultdict(list)
    for name, (key, algorithms) in lines:
        common = algorithms.keys() & there.get((name, key.slot), {}).keys()
        ratios[name] += [np.divide(algorithms[a], there[name, key.slot][a]).tolist() for a in sorted(common)]
    more: list[Line] = []
    for name, (key, algorithms) in lines:
        others = there.get((name, key.slot), {}) if ratios[name] else {}
        scaled = {a: (np.median(ratios[name], axis=0) * times).tolist() for a, times in others.items()}
        more.append((name, (key, scaled | algorithms)))
    return more


def fit(rows: list[Row]) -> cost.Model:
    """The constants of each kind of program, and seconds of compilation for each operation."""
    samples: dict[str, list[tuple[tuple[float, ...], float]]] = defaultdict(list)
    compiled: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for key, algorithms in rows:
        for name, (seconds, compile_seconds) in algorithms.items():
            work = work_in_pieces(REGISTRY[name], key.slot, key.spec, Target("cpu", key.dtype, None))
            features = cost.features(work, key.slot, key.spec, key.dtype.itemsize)
            for kind in cost.kinds(name, key.slot, key.spec):
                samples[kind].append((features, seconds))
            compiled[name].append((work.steps, compile_seconds))
    run = {kind: _constants(pairs) for kind, pairs in sorted(samples.items()) if len(pairs) >= LEAST}
    base = float(np.median([s for _, s in compiled["direct"]]))
    each = {
        name: float(np.median([max(0.0, s - base) / steps for steps, s in pairs]))
        for name, pairs in sorted(compiled.items())
    }
    return {"run": run, "compile": {name: round(seconds, 6) for name, seconds in each.items()}}


def measured(rows: list[Row], constants: cost.Model) -> dict[str, Any]:
    """For each slot the positions of the convolutions, and what the model misses for each algorithm."""
    found: dict[str, Any] = {}
    for key, algorithms in rows:
        slot = found.setdefault(key.slot, {"positions": [], "residuals": {}})
        target = Target("cpu", key.dtype, key.precision)
        predicted = cost.predict(algorithms, key.slot, key.spec, target, constants)
        for name, seconds in predicted.items():
            residual = round(float(np.log(algorithms[name][0] / seconds)), 3)
            slot["residuals"].setdefault(name, []).append([len(slot["positions"]), residual])
        slot["positions"].append([round(x, 2) for x in neighbours.position(key.spec)])
    return found


def _constants(pairs: list[tuple[tuple[float, ...], float]]) -> list[float]:
    a = np.array([[f / seconds for f in features] for features, seconds in pairs])
    weights = np.ones(len(pairs))
    # Least squares of the relative error, then weighted towards that of the logarithm, which prefers neither
    # too small nor too large predictions.
    x = np.zeros(a.shape[1])
    for _ in range(5):
        x, _ = nnls(a * weights[:, None], weights)
        weights = 1 / np.sqrt(np.clip(a @ x, 0.2, 5))
    return [float(f"{v:.3g}") for v in x]


def judge(rows: list[Row], title: str, model: cost.Model) -> None:
    """How often the model's choice is the measured best, and what it costs where it is not."""
    losses, gains, errors, choices = [], [], [], []
    for key, algorithms in rows:
        target = Target("cpu", key.dtype, key.precision)
        names = [n for n in algorithms if n in cost.CANDIDATES and not fault(n, key.slot, key.spec, "cpu")]
        choice = cost.cheapest(key.slot, key.spec, target, names, model)
        name = choice[0] if choice else "direct"
        seconds = {n: s for n, (s, _) in algorithms.items()}
        choices.append(name)
        losses.append(seconds[name] / min(seconds.values()))
        gains.append(seconds[name] / seconds["direct"])
        predicted = cost.predict(algorithms, key.slot, key.spec, target, model)
        errors += [abs(np.log(s / seconds[n])) for n, s in predicted.items()]
    loss, gain = np.array(losses), np.array(gains)
    result = {
        "slots": len(rows),
        "best": float(np.mean(loss < 1.03)),
        "loss_mean": float(np.exp(np.log(loss).mean())),
        "loss_median": float(np.median(loss)),
        "loss_worst": float(loss.max()),
        "to_direct": float(np.exp(np.log(gain).mean())),
        "to_direct_worst": float(gain.max()),
        "to_direct_above_1.05": float(np.mean(gain > 1.05)),
        "error_median": float(np.exp(np.median(errors))),
    }
    print(f"{title}: " + ", ".join(f"{k} {v:.3g}" for k, v in result.items()))
    for i in np.argsort(-loss)[:8]:
        key, algorithms = rows[i]
        times = ranking({name: seconds for name, (seconds, _) in algorithms.items()})
        print(f"  {loss[i]:.2f} {key}: {choices[i]}; {times}")


def table(paths: list[Path], elsewhere: list[Line]) -> Table:
    """What the sweeps measured, without the algorithms whose compilation a thousand calls don't pay back.

    Where one that was not measured here is faster, the choice is left to the model.
    """
    seconds: dict[str, dict[str, float]] = {}
    head: dict[str, Any] = {}
    for path in paths:
        head, lines = read(path)
        for (_, (key, algorithms)), (_, (_, more)) in zip(lines, carried(lines, elsewhere), strict=True):
            total = {name: run + compiled / cost.CALLS for name, (run, compiled) in more.items()}
            total = {name: total[name] for name in cost.CANDIDATES if name in total}
            best = min(total, key=lambda name: total[name])
            # What is slower than both of these is never chosen.
            kept = {"direct", best if total[best] < NOISE * total["direct"] else "direct"}
            if kept <= algorithms.keys():
                seconds[str(key)] = {name: float(f"{algorithms[name][0]:.4g}") for name in sorted(kept)}
    return Table("cpu", jax.devices("cpu")[0].device_kind, head["versions"]["jaxlib"], seconds)


def learn(rows: list[Row]) -> cost.Model:
    """Constants, and what they miss."""
    constants = fit(rows)
    return {**constants, "measured": measured(rows, constants)}


def main() -> None:
    """Fit, report, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweeps", type=Path, nargs="+")
    parser.add_argument("--test", type=Path, nargs="*", default=[], help="sweeps that are judged only")
    parser.add_argument("--elsewhere", type=Path, help="a sweep of another machine")
    parser.add_argument("--out", type=Path, required=True, help="the model")
    parser.add_argument("--tabulate", type=Path, nargs="*", default=[], help="sweeps for a tuning table")
    parser.add_argument("--table", type=Path, help="the tuning table")
    args = parser.parse_args()
    if bool(args.table) != bool(args.tabulate):
        parser.error("--table and --tabulate go together")
    elsewhere = read(args.elsewhere)[1] if args.elsewhere else []
    found = [read(path) for path in args.sweeps]
    lines = [line for _, rows in found for line in carried(rows, elsewhere)]
    held = {name: zlib.crc32(name.encode()) % HELD_BACK == 0 for name, _ in lines}
    train = [row for name, row in lines if not held[name]]
    model = learn(train)
    judge(train, "fitted", model)
    judge([row for name, row in lines if held[name]], "held back", model)
    model = learn([row for _, row in lines])
    for path in args.test:
        judge([row for _, row in carried(read(path)[1], elsewhere)], path.stem, model)
    device = {k: found[0][0][k] for k in ("processor", "cores", "versions")}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"device": device, **model}) + "\n")
    if args.table:
        table(args.tabulate, elsewhere).save(args.table)


if __name__ == "__main__":
    main()
