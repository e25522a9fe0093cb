"""The linear regions of a network on a line and in a plane, exactly: by following where its units switch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np

Array = np.ndarray
#: points in the line or plane (points, dimensions) and a place -> (points, units, functions), see `switches.Switches`
Values = Callable[[Array, int], Array]

ROUNDING = 1e-9  #: of a unit's largest function, below which differences between functions count as none
APART = 1e-12  #: of a line's length, below which two of its points are one
CHUNK = 2**22  #: numbers that the functions' values may take at a time


def on_line(values: Values, places: int) -> Array:
    """Where on the line between 0 and 1 any unit switches, in order, with 0 and 1 themselves, (regions + 1,).

    Between two neighbours among the points found so far, what the next place's units choose from is affine, so that
    their switches are found by a division.
    """
    points = np.array([0.0, 1.0])
    for place in range(places):
        v = values(points[:, None], place)
        tolerance = rounding(v)
        top = v >= v.max(2, keepdims=True) - tolerance
        pieces, units = np.nonzero(~(top[:-1] & top[1:]).any(2))  # no function is the largest at both ends
        new = [points]
        a, b, slack = v[pieces, units], v[pieces + 1, units], tolerance[0, units, 0]
        for p, q in combinations(range(v.shape[2]), 2):
            before, after = a[:, p] - a[:, q], b[:, p] - b[:, q]
            cross = before * after < 0
            share = np.divide(before, before - after, where=cross, out=np.zeros_like(before))
            there = a + share[:, None] * (b - a)
            largest = cross & (there[:, p] >= there.max(1) - slack)
            left, right = points[pieces], points[pieces + 1]
            new.append((left + share * (right - left))[largest])
        points = np.sort(np.concatenate(new))
        points = points[np.concatenate([[True], np.diff(points) > APART])]
        points[-1] = 1.0
    return points


def in_plane(values: Values, places: int, window: Array, most: int) -> list[Array] | None:
    """The regions in a convex polygon of the plane, each a convex polygon (corners, 2); None where they are too many.

    window: (corners, 2), one after the other around it. most: regions up to which they are followed.
    """
    polygons = [window]
    for place in range(places):
        cut: list[Array] = []
        for some, v in _evaluated(polygons, values, place):
            tolerance, first = rounding(v)[0, :, 0], 0
            for polygon in some:
                last = first + len(polygon)
                cut += _cells(polygon, v[first:last], tolerance)
                first = last
            if len(cut) > most:
                return None
        polygons = cut
    return polygons


def _evaluated(polygons: list[Array], values: Values, place: int) -> Iterator[tuple[list[Array], Array]]:
    """Some polygons at a time, with the values at all their corners."""
    size = values(polygons[0][:1], place).size
    most = max(1, CHUNK // max(size, 1))
    some: list[Array] = []
    corners = 0
    for polygon in polygons:
        if some and corners + len(polygon) > most:
            yield some, values(np.concatenate(some), place)
            some, corners = [], 0
        some.append(polygon)
        corners += len(polygon)
    yield some, values(np.concatenate(some), place)


def rounding(values: Array) -> Array:
    """The differences between a unit's functions that are rounding errors, (1, units, 1)."""
    scale = np.abs(values).max((0, 2), keepdims=True)
    tolerance: Array = ROUNDING * scale + 1e-3 * ROUNDING * scale.max(initial=0)
    return tolerance


def _cells(polygon: Array, values: Array, tolerance: Array) -> list[Array]:
    """The parts of a polygon (corners, 2) in each of which every unit has one function that is the largest.

    values: (corners, units, functions). tolerance: (units,).
    """
    cells, parts = [], [(polygon, values, tolerance)]
    while parts:
        polygon, values, tolerance = parts.pop()
        top = values >= values.max(2, keepdims=True) - tolerance[:, None]
        units = np.flatnonzero(~top.all(0).any(1))
        if len(units):
            cut = _by_largest(polygon, values[:, units], tolerance[units[0]])
            parts += [(*part, tolerance[units]) for part in cut]
        else:
            cells.append(polygon)
    return cells


def _by_largest(polygon: Array, values: Array, tolerance: float) -> Iterator[tuple[Array, Array]]:
    """The parts in which each of the first unit's functions is the largest, the first of those that are the same."""
    for p in range(values.shape[2]):
        part: tuple[Array, Array] | None = (polygon, values)
        for q in range(values.shape[2]):
            if p != q and part is not None:
                difference = part[1][:, 0, p] - part[1][:, 0, q]
                difference[np.abs(difference) <= tolerance] = 0
                same = not difference.any()
                part = (part if p < q else None) if same else _clipped(*part, difference)
        if part is not None:
            yield part


def _clipped(polygon: Array, values: Array, side: Array) -> tuple[Array, Array] | None:
    """The part of a convex polygon where an affine function, `side` at its corners, is above 0; None: it has none."""
    if side.min() >= 0:
        return polygon, values
    if side.max() <= 0:
        return None
    corners, at = [], []
    for i in range(len(side)):
        j = (i + 1) % len(side)
        if side[i] >= 0:
            corners.append(polygon[i])
            at.append(values[i])
        if side[i] * side[j] < 0:
            share = side[i] / (side[i] - side[j])
            corners.append(polygon[i] + share * (polygon[j] - polygon[i]))
            at.append(values[i] + share * (values[j] - values[i]))
    return np.array(corners), np.array(at)
