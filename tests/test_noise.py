"""The noise of training steps: each run's own, whatever runs train beside it."""

from __future__ import annotations

import itertools

import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import vmap

from dlrun.errors import ConfigError
from dlrun.matrix.noise import AHEAD, STEPS, Noise
from dlrun.matrix.trace import Recording

DRAWS = {
    "rand": lambda x: torch.rand(len(x), 3, dtype=x.dtype),
    "rand_like": torch.rand_like,
    "randn": lambda x: torch.randn(len(x), 5),
    "randn_like": torch.randn_like,
    "dropout": vmap(lambda x: F.dropout(x + 1, 0.3, True), randomness="different"),
    "crossed": lambda x: torch.rand_like(x.transpose(0, 1).contiguous().transpose(0, 1)),  # runs not first in memory
}


def drawn(
    name: str, seeds: list[int], steps: list[int], size: int = 4, every: bool = True, process: tuple[int, ...] = ()
) -> list[Tensor]:
    """(runs, ...) of an operation at each of the steps; it is recorded at the first of them."""
    x, at = torch.zeros(len(seeds), 2, size), [steps[0]]
    noise = Noise(seeds, process, 16, every, steps[0])
    recording = Recording(lambda x: (DRAWS[name](x), torch.rand_like(x)), [x], noise=noise)
    program = noise.before(recording.program(), lambda: at[0])
    results = []
    for at[0] in steps:
        results.append(program(x)[0].clone())
    return results


@pytest.mark.parametrize("size", [1, 4, AHEAD // 4, 2 * AHEAD])
@pytest.mark.parametrize("name", DRAWS)
def test_a_run_draws_the_same_whatever_runs_and_steps_are_beside_it(name: str, size: int) -> None:
    """Steps are asked for in order, from the middle, as a resumed training does, and back and forth."""
    order = [0, 1, 2, 3, STEPS - 1, STEPS, STEPS + 1]
    together = dict(zip(order, drawn(name, [5, 2, 9], order, size), strict=True))
    for seeds, steps in (([2], order), ([2], [3, STEPS]), ([2], [STEPS, 1, 0]), ([2, 9], [2, 3])):
        for step, alone in zip(steps, drawn(name, seeds, steps, size), strict=True):
            assert torch.equal(alone[0], together[step][1])
    different = [*together.values(), *drawn(name, [5, 2, 9], [0], size, process=(1,))]
    rows = {tuple(row.flatten().tolist()) for each in different for row in each}
    # a mask of few units may come twice
    assert len(rows) == 3 * len(different) or (name == "dropout" and size <= 4)


@pytest.mark.parametrize("every", [True, False])
def test_noise_is_uniform_and_independent_of_neighbours_in_every_direction(every: bool) -> None:
    """Along a run's own numbers, from seed to seed, from step to step, and from draw to draw of a step."""
    seeds, steps, size = list(range(24)), list(range(40)), 20
    blocks = torch.stack(drawn("rand_like", seeds, steps, size, every)).flatten(2)  # (steps, runs, 2 * size)
    assert scipy.stats.kstest(blocks.flatten(), "uniform").pvalue > 0.001
    assert scipy.stats.kstest(blocks.mean((0, 2)) * 12**0.5 * blocks[:, 0].numel() ** 0.5, "norm",
                              args=(0.5 * 12**0.5 * blocks[:, 0].numel() ** 0.5, 1)).pvalue > 0.001  # fmt: skip
    for axis in range(3):
        pair = (blocks.narrow(axis, i, blocks.shape[axis] - 1).flatten() for i in (0, 1))
        assert scipy.stats.pearsonr(*pair).pvalue > 0.001
    for first, second in itertools.pairwise(blocks[:2, 0]):
        assert scipy.stats.pearsonr(first, second).pvalue > 0.001


@pytest.mark.parametrize(
    "draw", [lambda x: torch.rand(4, len(x)), torch.bernoulli, lambda x: torch.randperm(3), lambda x: x.uniform_()]
)
def test_numbers_that_belong_to_no_run_are_refused(draw: object) -> None:
    with pytest.raises(ConfigError, match=r"cannot be told apart by run.*rand_like"):
        Recording(lambda x: (draw(x),), [torch.zeros(3, 2)], noise=Noise(range(3), (), 1, True, 0))  # type: ignore[operator]
