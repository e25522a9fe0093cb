"""How often a report's intervals hold what they should, by simulation, as the tables in docs/statistics.md.

`python scripts/coverage.py` simulates for about ten minutes on one core, and writes them anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import exp, inf
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlrun.report.comparison import simultaneous
from dlrun.report.statistics import UNBOUNDED, Interval, mean_interval

PAGE = Path(__file__).parents[1] / "docs" / "statistics.md"
SEEDS = (3, 5, 10, 20, 30)
FAMILIES = (2, 8, 30)
SAMPLES = 4000  #: the error of a percentage near 95 is then 0.3
FAMILIES_DRAWN = 1000  #: 0.7
POSITIVE, SHARES = (0.0, inf), (0.0, 1.0)
Draw = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float64]]


@dataclass(frozen=True)
class Values:
    """Values of seeds, with the mean that intervals should hold."""

    name: str
    draw: Draw
    mean: float
    bounds: Interval = UNBOUNDED


def accuracies(mean: float, samples: int = 360, spread: float = 10) -> Draw:
    """Accuracies on so many samples with `spread` times the binomial variance over seeds (beta-binomial)."""
    total = (samples - 1) / (spread - 1) - 1  # of the beta distribution's parameters

    def draw(random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
        return random.binomial(samples, random.beta(mean * total, (1 - mean) * total, shape)) / samples

    return draw


#: of what a report has intervals: losses that may be of any sign, losses above 0, and accuracies
VALUES = [
    Values("normal", lambda random, shape: random.normal(2, 3, shape), 2),
    Values("normal, rounded to whole deviations (tied)", lambda random, shape: random.normal(0, 1, shape).round(), 0),
    Values("log-normal, σ = 0.5", lambda random, shape: random.lognormal(0, 0.5, shape), exp(0.125)),
    Values(
        "the same, known to be above 0", lambda random, shape: random.lognormal(0, 0.5, shape), exp(0.125), POSITIVE
    ),
    Values("exponential", lambda random, shape: random.exponential(1, shape), 1),
    Values("the same, known to be above 0", lambda random, shape: random.exponential(1, shape), 1, POSITIVE),
    Values("log-normal, σ = 1", lambda random, shape: random.lognormal(0, 1, shape), exp(0.5)),
    Values("the same, known to be above 0", lambda random, shape: random.lognormal(0, 1, shape), exp(0.5), POSITIVE),
    Values("accuracy, mean .5", accuracies(0.5), 0.5, SHARES),
    Values("accuracy, mean .9", accuracies(0.9), 0.9, SHARES),
    Values("accuracy, mean .98", accuracies(0.98), 0.98, SHARES),
    Values("accuracy on 22 samples (tied)", lambda random, shape: random.binomial(22, 0.9, shape) / 22, 0.9, SHARES),
]
#: of which families of settings are simulated, and how much more the last varies than the first
IN_FAMILIES = [*((VALUES[i], 1.0) for i in (0, 1, 2, 4, 10)), *((VALUES[i], 3.0) for i in (0, 2, 4))]


def coverage(values: Values, n: int, samples: int = SAMPLES) -> float:
    """The share of samples of n values whose 95 % interval holds the mean; those of equal values have none."""
    random = np.random.default_rng([n, samples])
    found = np.array([mean_interval(x, values.bounds) for x in values.draw(random, (samples, n)) if np.ptp(x)])
    return float(np.mean((found[:, 0] <= values.mean) & (values.mean <= found[:, 1])))


def joint_coverage(values: Values, settings: int, n: int, factor: float = 1.0, families: int = FAMILIES_DRAWN) -> float:
    """The share of families of settings in which every interval of a difference with the best holds the true one.

    The best is the one with the least mean of the very values that are compared, which is the worst case: a report
    takes the best by validation. factor: of the last setting's values over the first's; between them it grows evenly.
    """
    random = np.random.default_rng([n, settings])
    low, high = values.bounds
    level, bounds = simultaneous(0.95, settings), (low - high, high - low)
    factors = np.linspace(1, factor, settings)
    held = 0
    for family in values.draw(random, (families, settings, n)) * factors[:, None]:
        best = family.mean(1).argmin()
        true = values.mean * (factors - factors[best])
        intervals = [mean_interval(row - family[best], bounds, level) for row in family]
        held += all(
            not (low > difference or high < difference) for (low, high), difference in zip(intervals, true, strict=True)
        )
    return held / families


def tables() -> dict[str, str]:
    """The tables in Markdown, by their names in the page."""
    alone = [[each.name, *(f"{100 * coverage(each, n):.0f}" for n in SEEDS)] for each in VALUES]
    together = [
        [
            each.name + (f", deviations from 1 to {factor:g}" if factor > 1 else ""),
            str(settings),
            *(f"{100 * joint_coverage(each, settings, n, factor):.0f}" for n in SEEDS),
        ]
        for each, factor in IN_FAMILIES
        for settings in FAMILIES
    ]
    seeds = [f"n = {n}" for n in SEEDS]
    return {
        "alone": _markdown([["values", *seeds], *alone]),
        "together": _markdown([["values", "settings", *seeds], *together]),
    }


def _markdown(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def main() -> None:
    found = tables()
    text = PAGE.read_text(encoding="utf-8")
    for name, table in found.items():
        begin, end = f"<!-- coverage: {name} -->\n", "<!-- end -->"
        text = re.sub(f"{begin}.*?{end}", lambda _, new=f"{begin}{table}\n{end}": new, text, count=1, flags=re.DOTALL)  # type: ignore[misc]
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
