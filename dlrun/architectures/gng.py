"""Growing neural gas (Fritzke 1994): a graph of units that grows into the data and learns its topology."""

from __future__ import annotations

import numpy as np
from torch import Generator, Tensor, randint, randperm

EPS_WINNER, EPS_NEIGHBOUR = 0.2, 0.006  # the paper's, section 3
MAX_AGE = 50
GROWTH_INTERVAL = 100  # signals between insertions
SPLIT, DECAY = 0.5, 0.995


class GrowingNeuralGas:
    """Units, edges with ages between them, and each unit's accumulated error.

    Args:
        first, second: where the two units stand that it starts with, (features,).
    """

    def __init__(self, first: np.ndarray, second: np.ndarray) -> None:
        self.units = np.stack([first, second]).astype(float)
        self.ages = np.array([[-1, 0], [0, -1]])  #: -1 where there is no edge
        self.errors = np.zeros(2)

    def adapt(self, x: np.ndarray) -> None:
        """Move the nearest unit and its neighbours towards the signal x, (features,); drop what has aged out."""
        distances = ((self.units - x) ** 2).sum(1)
        winner, second = np.argpartition(distances, 1)[:2]
        neighbours = np.flatnonzero(self.ages[winner] >= 0)
        self.ages[winner, neighbours] += 1
        self.ages[neighbours, winner] += 1
        self.errors[winner] += distances[winner]
        self.units[winner] += EPS_WINNER * (x - self.units[winner])
        self.units[neighbours] += EPS_NEIGHBOUR * (x - self.units[neighbours])
        self.ages[winner, second] = self.ages[second, winner] = 0
        old = np.flatnonzero(self.ages[winner] > MAX_AGE)
        if len(old):
            self.ages[winner, old] = self.ages[old, winner] = -1
            linked = (self.ages >= 0).any(1)
            self.units, self.errors, self.ages = self.units[linked], self.errors[linked], self.ages[linked][:, linked]

    def grow(self) -> None:
        """Put a unit halfway between that of the largest error and its worst neighbour."""
        worst = int(self.errors.argmax())
        neighbours = np.flatnonzero(self.ages[worst] >= 0)
        other = int(neighbours[self.errors[neighbours].argmax()])
        new = len(self.units)
        self.units = np.vstack([self.units, (self.units[worst] + self.units[other]) / 2])
        self.ages = np.pad(self.ages, (0, 1), constant_values=-1)
        self.ages[worst, other] = self.ages[other, worst] = -1
        self.ages[new, [worst, other]] = self.ages[[worst, other], new] = 0
        self.errors[[worst, other]] *= SPLIT
        self.errors = np.append(self.errors, self.errors[worst])


def growing_neural_gas(inputs: Tensor, units: int, random: Generator) -> np.ndarray:
    """(units, features): the units of a growing neural gas, from signals drawn among inputs (samples, features).

    It grows by one unit every 100 signals with the paper's parameters, then settles for as many signals again. Fewer
    units come back only where the data have so few different samples that units keep losing their edges.

    Reference: Fritzke 1994, "A growing neural gas network learns topologies"; lecture 002.
    """
    samples = inputs.double().numpy()
    first, second = randperm(len(samples), generator=random)[:2].tolist()
    gas = GrowingNeuralGas(samples[first], samples[second])
    settled = 2 * GROWTH_INTERVAL * units
    signals = randint(len(samples), (2 * settled,), generator=random).tolist()
    for step, signal in enumerate(signals, 1):
        gas.adapt(samples[signal])
        if step % GROWTH_INTERVAL == 0 and len(gas.units) < units:
            gas.grow()
        gas.errors *= DECAY
        if step >= settled and len(gas.units) == units:
            break
    return gas.units
