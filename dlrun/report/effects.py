"""Which axis of a sweep matters: main effects and pairwise interactions, by functional ANOVA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import nan, prod
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dlrun.plots.comparison import is_cut, is_logarithmic
from dlrun.plots.page import in_order
from dlrun.report.findings import Findings
from dlrun.report.grid import short
from dlrun.report.statistics import FINISHED
from dlrun.report.tables import SPLIT, lacking, typed
from dlrun.terminal.console import counted

Array = NDArray[np.float64]
RESAMPLES = 1000
MOST_NUMBERS = 2 * 10**7  #: in all resamples, of which there are fewer on a large grid
TREES = 64
LEAST = 8  #: settings; of fewer a forest says nothing
FEW = 20  #: settings, below which a forest's shares rest on few
POOR = 0.5  #: of the variance that a forest does not explain of settings it has not seen, where its shares are doubtful
PAIRED = 10  #: axes whose pairs a forest takes apart, those that matter most alone
BINS = 64  #: of the values of an axis, in their order, more than which a forest does not tell apart
LARGEST = 10**6  #: cells of a grid


@dataclass(frozen=True)
class Effect:
    """An axis, or two axes together beyond what each does alone."""

    axes: tuple[str, ...]
    name: str
    share: float  #: of the variance of settings' means
    low: float  #: of its 95 % interval; nan where there is none
    high: float


@dataclass(frozen=True)
class Effects:
    """What of the differences between settings which axis makes."""

    effects: list[Effect]  #: the greatest first
    means: dict[str, list[tuple[str, float]]]  #: of each axis its values and the mean with each, over all of the others
    metric: str  #: of which the variance is
    numeric: set[str]  #: the axes whose values are numbers
    exact: bool  #: of a complete grid; else by a forest
    settings: int
    runs: int
    rest: float  #: the share of three and more axes together, and of what is not among the effects
    noise: float  #: of what settings seem to differ by, the part that the seeds' noise makes; nan where it is not known
    explained: float  #: R² of a forest on settings that its trees have not seen; nan of a grid
    said: list[str] = field(default_factory=list)  #: what it does not rest on, and on how little it does


def effects(found: Findings) -> Effects | None:
    r"""How much of the variance of settings' means each axis makes, and each pair of axes beyond that.

    With $f(a)$ the mean of the setting a over its runs, and all values of an axis of the same weight,
    $$f_\emptyset = E f, \quad f_i(a_i) = E[f \mid a_i] - f_\emptyset, \quad
    f_{ij}(a_i, a_j) = E[f \mid a_i, a_j] - f_i(a_i) - f_j(a_j) - f_\emptyset,$$
    and the shares are $E f_i^2 / V$ and $E f_{ij}^2 / V$ with V the variance of f. Of a complete grid this is exact,
    and the part that the noise of so many seeds makes of a share is taken off; of samples and incomplete grids f is a
    random forest, whose trees are boxes over which the expectations are exact.

    None where fewer than two axes differ among the settings that finished, or their means do not.

    Reference: Hooker 2007, doi:10.1198/106186007X237892 (functional ANOVA); Hutter, Hoos & Leyton-Brown 2014, ICML,
    PMLR 32(1):754-762 (of a forest).
    """
    values = found.table[found.quoted].to_numpy(float)
    good = found.table["status"].isin(FINISHED).to_numpy() & np.isfinite(values)
    table, y, metric = found.table[good], *_scaled(found, values[good])
    said = list(_lost(found, good))
    joined = _together(table, found.axes)
    axes = {name: keys for name, keys in joined.items() if len(_levels(table, keys)[1]) > 1}
    if len(axes) < 2 or np.ptp(y) == 0:
        return None
    if cut := [name for name in joined if name not in axes]:
        said.append(f"one value of {', '.join(cut)} is left.")
    coded = {name: _levels(table, keys) for name, keys in axes.items()}
    codes = np.stack([code for code, _ in coded.values()], axis=1)
    sizes = [len(levels) for _, levels in coded.values()]
    cells, cell = np.unique(codes, axis=0, return_inverse=True)
    cell, counts = cell.ravel(), np.bincount(cell.ravel())
    means = np.bincount(cell, y) / counts
    if np.ptp(means) == 0:
        return None
    names, levels = list(axes), [each for _, each in coded.values()]
    complete = len(cells) == prod(sizes) and len(cells) <= LARGEST
    if complete:
        shares, rest, noise = _of_grid(means.reshape(sizes), cell, y, _blocks(table))
        marginal = [means.reshape(sizes).mean(tuple(k for k in range(len(sizes)) if k != i)) for i in range(len(sizes))]
        explained = nan
        if counts.max() == 1:
            said.append("There is one run of each setting: what other seeds would change is in the shares.")
        elif noise >= 1:
            said.append("Settings differ by no more than the noise of their repetitions: nothing can be told of axes.")
    else:
        if len(cells) < LEAST:
            return None
        shares, rest, marginal, explained = _of_forest(cells, sizes, means)
        levels = [[own[places[len(places) // 2]] for places in _binned(len(own))] for own in levels]
        noise = nan
        if len(cells) < FEW:
            said.append(f"It rests on {counted(len(cells), 'setting')}, which are few.")
        if not explained > POOR:
            said.append("That is little: do not rely on these shares.")
    return Effects(
        effects=[Effect(own := tuple(names[i] for i in at), " × ".join(own), *each) for at, each in _in_order(shares)],
        means={
            name: list(zip(own, each.tolist(), strict=True))
            for name, own, each in zip(names, levels, marginal, strict=True)
        },
        metric=metric,
        numeric={name for name, keys in axes.items() if all(pd.api.types.is_numeric_dtype(table[key]) for key in keys)},
        exact=complete,
        settings=len(cells),
        runs=len(table),
        rest=rest,
        noise=noise,
        explained=explained,
        said=said,
    )


def which_matter(found: Findings) -> dict[str, Effects]:
    """The effects on each dataset, by its name, where there is something to tell."""
    each = {name: effects(own) for name, own in (found.strata or {"": found}).items()}
    return {name: own for name, own in each.items() if own}


Share = tuple[float, float, float]
Subset = tuple[int, ...]


def _in_order(shares: dict[Subset, Share]) -> list[tuple[Subset, Share]]:
    return sorted(shares.items(), key=lambda each: -each[1][0])


def _scaled(found: Findings, values: Array) -> tuple[Array, str]:
    """The values as their variance is to be taken, and the name of that: a loss over decades by its logarithm."""
    if is_logarithmic(found.quoted, values):
        return np.log10(values), f"log10 {found.quoted}"
    if len(values) and is_cut(found.quoted, values):
        return np.maximum(values, -1), f"{found.quoted}, cut at -1"
    return values, found.quoted


def _lost(found: Findings, good: NDArray[np.bool_]) -> list[str]:
    """What became of runs that have no value, and which values of axes all of them had."""
    lost = found.table[~good]
    if not len(lost):
        return []
    told = ", ".join(f"{n} {str(status).replace('_', ' ')}" for status, n in lost["status"].value_counts().items())
    gone = []
    for axis, key in zip(found.axes, short(found.axes), strict=True):
        if found.table[axis].nunique(dropna=False) == len(found.settings):  # as of samples, where each has its own
            continue
        kept = {*map(typed, found.table.loc[good, axis])}
        never = {typed(value): _told(value) for value in lost[axis] if typed(value) not in kept}
        gone += [f"{key}={value}" for value in never.values()]
    also = f", among them all with {', '.join(gone[:5])}{' and others' if len(gone) > 5 else ''}" if gone else ""
    return [f"Not in the effects: {counted(len(lost), 'run')} without a value ({told}){also}."]


def _together(table: pd.DataFrame, axes: Sequence[str]) -> dict[str, list[str]]:
    """The axes by name; those that always change together, as with zip=[lr,batch_size], are one."""
    names = dict(zip(axes, short(axes), strict=True))
    settings = table[list(axes)].astype(str).drop_duplicates()
    groups: list[list[str]] = []
    for axis in axes:
        n = settings[axis].nunique()
        for group in groups:
            both = settings[[axis, group[0]]].drop_duplicates()
            if len(both) == n == settings[group[0]].nunique() and 1 < n < len(settings):
                group.append(axis)
                break
        else:
            groups.append([axis])
    return {", ".join(names[key] for key in group): group for group in groups}


def _levels(table: pd.DataFrame, keys: Sequence[str]) -> tuple[NDArray[np.intp], list[str]]:
    """The number of each run's value, numbers in their order, and the values' names."""
    columns = [table[key].tolist() for key in keys]
    rows = list(zip(*columns, strict=True))
    told = {tuple(map(typed, row)): row for row in rows}
    ranks = [{text: at for at, text in enumerate(in_order(sorted(set(column))))} for column in zip(*told, strict=True)]
    order = sorted(told, key=lambda texts: [rank[text] for rank, text in zip(ranks, texts, strict=True)])
    number = {texts: at for at, texts in enumerate(order)}
    names = [", ".join(map(_told, told[texts])) for texts in order]
    return np.array([number[tuple(map(typed, row))] for row in rows], np.intp), names


def _told(value: Any) -> str:
    return "none" if lacking(value) else f"{value:.4g}" if isinstance(value, float) else typed(value)


def _blocks(table: pd.DataFrame) -> NDArray[np.intp]:
    """The number of each run's seed, and of its split of the data where there are several."""
    return np.asarray(table.groupby([SPLIT, "seed"] if SPLIT in table else ["seed"]).ngroup(), np.intp)


def decomposed(cells: Array) -> dict[Subset, Array]:
    """E f_i² of each axis, and E f_ij² of each pair, of the means of a complete grid, (..., values, values, ...).

    cells: the first axis counts grids, of which each has its own.
    """
    axes = range(cells.ndim - 1)
    centred = cells - cells.mean(tuple(at + 1 for at in axes), keepdims=True)

    def given(kept: Subset) -> Array:
        return np.asarray(centred.mean(tuple(at + 1 for at in axes if at not in kept), keepdims=True))

    alone = [given((at,)) for at in axes]
    found: dict[Subset, Array] = {(at,): _mean_square(each) for at, each in enumerate(alone)}
    for i, j in combinations(axes, 2):
        found[i, j] = _mean_square(given((i, j)) - alone[i] - alone[j])
    return found


def _mean_square(values: Array) -> Array:
    return np.asarray((values**2).reshape(len(values), -1).mean(1))


def _of_grid(
    cells: Array, cell: NDArray[np.intp], y: Array, blocks: NDArray[np.intp]
) -> tuple[dict[Subset, Share], float, float]:
    r"""The shares of a complete grid, that of more than two axes together, and that of the seeds' noise.

    An effect of the means of K settings, with $(k_i - 1)$ or $(k_i - 1)(k_j - 1)$ degrees of freedom d, holds the part
    $d \sigma^2 / (K n)$ that n seeds of variance $\sigma^2$ make by themselves; it is taken off, and shares are of what
    is left of the whole. The interval is as far on either side as 95 % of simulated shares lie from the share of
    means to which noise of this size is added.

    cells: the settings' means. cell: the number of each run's. blocks: that of its seed; what a seed changes in all
    settings alike is no noise of their differences.
    """
    size = cells.size
    subsets, plain = _components(cells[None])
    degrees = np.array([prod(cells.shape[i] - 1 for i in at) for at in subsets], float)
    degrees = np.append(degrees, size - 1 - degrees.sum())  # more than two axes
    variance, counts, freedom = _noise(size, cell, y, blocks)
    of_one = float((variance / counts).mean()) / size if freedom else 0.0  # what one degree of freedom makes
    noise = min(1.0, (size - 1) * of_one / float(plain.sum())) if freedom else nan
    shares = _shares(plain - degrees * of_one)[0]
    if not freedom:
        half = np.full(len(shares), nan)
    else:
        times = max(100, min(RESAMPLES, MOST_NUMBERS // size))
        random = np.random.default_rng(0)
        unknown = freedom / random.chisquare(freedom, times)  # how far off the variance may be, as in Student's t
        factors = np.sqrt(unknown).reshape(times, *[1] * cells.ndim)
        deviations = np.sqrt(variance / counts).reshape(cells.shape)
        _, drawn = _components(cells + factors * deviations * random.normal(size=(times, *cells.shape)))
        each_noise = of_one * unknown * random.chisquare(freedom, times) / freedom
        half = np.quantile(abs(_shares(drawn - degrees * each_noise[:, None]) - _shares(plain)), 0.95, axis=0)
    low, high = np.maximum(shares - half, 0), np.minimum(shares + half, 1)
    found = {at: (float(shares[i]), float(low[i]), float(high[i])) for i, at in enumerate(subsets)}
    return found, float(shares[-1]), noise


def _components(cells: Array) -> tuple[list[Subset], Array]:
    """The axes and pairs, and the part of the variance that each makes, and last what is left, (grids, parts)."""
    found = decomposed(cells)
    parts = np.stack(list(found.values()), axis=1)
    total = cells.reshape(len(cells), -1).var(1)
    return list(found), np.column_stack([parts, np.maximum(total - parts.sum(1), 0)])


def _shares(parts: Array) -> Array:
    """Parts as shares of their sum; one that is less than nothing, because noise was taken off, is 0."""
    able = np.maximum(parts, 0)
    total = able.sum(1, keepdims=True)
    return np.asarray(able / np.where(total > 0, total, 1))


def _noise(
    cells: int, cell: NDArray[np.intp], y: Array, blocks: NDArray[np.intp]
) -> tuple[Array, NDArray[np.intp], int]:
    """The variance of runs in each cell but for what their seed changes everywhere, their number, and the degrees of
    freedom of the variance's mean; 0 where single runs do not tell."""
    counts = np.bincount(cell, minlength=cells)
    rest = y - (np.bincount(cell, y) / counts)[cell]
    n = int(counts[0])
    paired = n > 1 and (counts == n).all() and len(np.unique(blocks)) == n
    if paired:
        _, block = np.unique(blocks, return_inverse=True)
        rest = rest - (np.bincount(block, rest) / np.bincount(block))[block]
        freedom = (cells - 1) * (n - 1)
        return np.bincount(cell, rest**2, cells) * cells / freedom, counts, freedom
    freedom = len(y) - cells
    if not freedom:
        return np.full(cells, nan), counts, 0
    own = np.bincount(cell, rest**2, cells) / np.maximum(counts - 1, 1)
    pooled = float((rest**2).sum()) / freedom
    return np.where(counts > 1, own, pooled), counts, freedom


def _of_forest(
    cells: NDArray[np.intp], sizes: Sequence[int], means: Array
) -> tuple[dict[Subset, Share], float, list[Array], float]:
    """The shares by a random forest over the settings: means over its trees, with the middle 95 % of these; the share
    of more than two axes; the means at each axis' values; R² of settings that a tree has not seen.

    cells: each setting's number of a value of each axis. sizes: how many values these have.
    """
    import warnings

    from sklearn.ensemble import RandomForestRegressor

    bins = [_binned(size) for size in sizes]
    number = [np.repeat(np.arange(len(each)), [len(places) for places in each]) for each in bins]
    cells = np.stack([own[cells[:, i]] for i, own in enumerate(number)], axis=1)
    sizes = [len(each) for each in bins]
    forest = RandomForestRegressor(TREES, oob_score=True, random_state=0, n_jobs=1)
    with warnings.catch_warnings():  # a setting that all trees have seen
        warnings.simplefilter("ignore")
        forest.fit(cells, means)
    trees = [_leaves(each.tree_, sizes) for each in forest.estimators_]
    found = [of_leaves(*leaves, []) for leaves in trees]
    alone = np.mean(
        [[each.squares[i,] / each.total if each.total else 0 for i in range(len(sizes))] for each in found], 0
    )
    first = sorted(np.argsort(-alone)[:PAIRED].tolist())
    pairs = list(combinations(first, 2))
    varying = [each for each in (of_leaves(*leaves, pairs) for leaves in trees) if each.total]
    keys = varying[0].squares if varying else {}
    shares = {at: np.array([each.squares[at] / each.total for each in varying]) for at in keys}
    ends = {at: np.quantile(each, [0.025, 0.975]) for at, each in shares.items()}
    told = {at: (float(each.mean()), float(ends[at][0]), float(ends[at][1])) for at, each in shares.items()}
    marginal = [np.mean([each.means[i] for each in found], axis=0) for i in range(len(sizes))]
    return told, max(0.0, 1 - sum(share for share, *_ in told.values())), marginal, float(forest.oob_score_)


@dataclass(frozen=True)
class Parts:
    """A tree taken apart."""

    squares: dict[Subset, float]  #: E f_i², E f_ij²
    means: list[Array]  #: E[f | a_i] at each value of each axis
    total: float  #: the variance of f


def _binned(size: int) -> list[NDArray[np.intp]]:
    """The places of so many values in their order, in bins of which each has about as many."""
    return list(np.array_split(np.arange(size), min(size, BINS)))


def of_leaves(values: Array, inside: Sequence[NDArray[np.bool_]], pairs: Sequence[Subset]) -> Parts:
    r"""The effects of a tree over the product of its axes' values, all of the same weight, from its leaves alone.

    A leaf l is a box, with the share $w_{li}$ of the values of axis i inside: $E[f \mid a_i] =
    \sum_{l \ni a_i} c_l \prod_{j \ne i} w_{lj}$, and so on.

    values: $c_l$. inside: of each axis, which of its values lie in which leaf, (leaves, values). pairs: the axes whose
    interactions are asked for.

    Reference: Hutter, Hoos & Leyton-Brown 2014, ICML (algorithm 1).
    """
    weights = np.stack([mask.mean(1) for mask in inside], axis=1)  # (leaves, axes)
    whole = weights.prod(1)
    mean = float(values @ whole)
    total = float(values**2 @ whole) - mean**2
    means = [mask.T.astype(float) @ (values * whole / weights[:, i]) for i, mask in enumerate(inside)]
    squares: dict[Subset, float] = {(i,): float(((each - mean) ** 2).mean()) for i, each in enumerate(means)}
    for i, j in pairs:
        left = inside[i] * (values * whole / weights[:, i] / weights[:, j])[:, None]
        both = left.T @ inside[j].astype(float)
        squares[i, j] = float(((both - means[i][:, None] - means[j] + mean) ** 2).mean())
    return Parts(squares, means, total if total > 1e-12 * float(values**2 @ whole) else 0.0)


def _leaves(tree: Any, sizes: Sequence[int]) -> tuple[Array, list[NDArray[np.bool_]]]:
    """The values of the leaves of scikit-learn's tree, and for each axis which of its values lie in which leaf."""
    leaves: list[int] = []
    boxes: list[list[NDArray[np.bool_]]] = []
    open_nodes = [(0, [np.ones(size, bool) for size in sizes])]
    while open_nodes:
        node, box = open_nodes.pop()
        left, right = tree.children_left[node], tree.children_right[node]
        if left == right:
            leaves.append(node)
            boxes.append(box)
            continue
        axis = tree.feature[node]
        below = np.arange(sizes[axis]) <= tree.threshold[node]
        open_nodes.append((left, [*box[:axis], box[axis] & below, *box[axis + 1 :]]))
        open_nodes.append((right, [*box[:axis], box[axis] & ~below, *box[axis + 1 :]]))
    return tree.value[leaves, 0, 0], [np.stack([box[i] for box in boxes]) for i in range(len(sizes))]
