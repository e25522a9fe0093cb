"""A recording replays exactly what the function computes."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dlrun.matrix.noise import Noise
from dlrun.matrix.trace import Recording
from dlrun.training.machine import not_compiled


def affine(memory: Tensor) -> object:
    """A function that reads memory, through a view, and writes it."""

    def fn(x: Tensor) -> tuple[Tensor, ...]:
        weight = memory[0, :6].view(2, 3)
        y = torch.relu(x @ weight.t().t().t())
        loss = y.square().sum()
        memory.mul_(0.5).add_(loss)
        return loss, y

    return fn


@pytest.fixture(params=["program", "compiled"])
def replay(request: pytest.FixtureRequest) -> str:
    if request.param != "program" and not (shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("no C++ compiler on this machine")
    return request.param


@pytest.mark.parametrize("replay", ["program", "compiled", pytest.param("as_library", marks=pytest.mark.slow)])
def test_replay_reads_new_inputs_and_the_memory_as_it_is_now(replay: str) -> None:
    if replay != "program" and not (shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("no C++ compiler on this machine")
    assert not_compiled(torch.device("cpu")) is None  # which has chosen the compiler's cache
    memory = torch.randn(1, 8, dtype=torch.float64)
    twin = memory.clone()
    example = torch.randn(4, 3, dtype=torch.float64)
    recording = Recording(affine(memory), [example])
    expected = affine(twin)(example)
    assert all(map(torch.equal, recording.outputs, expected)) and torch.equal(memory, twin)
    program = getattr(recording, replay)()
    for _ in range(3):
        x = torch.randn(4, 3, dtype=torch.float64)
        for got, wanted in zip(program(x), affine(twin)(x), strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-12, atol=0)
        torch.testing.assert_close(memory, twin, rtol=1e-12, atol=0)


def test_gradients_are_recorded_below_autograd(replay: str) -> None:
    memory = torch.randn(5, 3)

    def fn(x: Tensor) -> tuple[Tensor, ...]:
        leaf = memory.detach().requires_grad_()
        loss = torch.nn.functional.softplus(x @ leaf.t()).prod(1).sum()
        return torch.autograd.grad(loss, [leaf])

    program = getattr(Recording(fn, [torch.randn(2, 3)]), replay)()
    x = torch.randn(2, 3)
    with torch.no_grad():
        replayed = program(x)[0]
    torch.testing.assert_close(replayed, fn(x)[0])


def test_noise_is_that_of_the_replays_step(replay: str) -> None:
    noise, step = Noise([0], (), 1, every=True, step=0), [0]
    recording = Recording(lambda x: (torch.rand_like(x) * x,), [torch.ones(1, 1000)], noise=noise)
    program = noise.before(getattr(recording, replay)(), lambda: step[0])
    drawn = []
    for step[0] in (0, 1, 20, 1):
        drawn.append(program(torch.full((1, 1000), 2.0))[0].clone())
    assert torch.equal(drawn[0], 2 * recording.outputs[0]) and torch.equal(drawn[1], drawn[3])
    assert len({tuple(each[0].tolist()) for each in drawn}) == 3
    assert abs(torch.stack(drawn).mean() - 1) < 0.05


def test_what_is_no_step_draws_nothing() -> None:
    with pytest.raises(AssertionError, match="rand_like"):
        Recording(lambda x: (torch.rand_like(x),), [torch.ones(3)])


def test_views_of_memory_alone_are_taken_once() -> None:
    memory = torch.randn(1, 6)
    recording = Recording(lambda x: (x @ memory[:, :4].view(2, 2).t(),), [torch.randn(3, 2)])
    graph, inputs = recording._graph(hoist=True)
    assert [node.op for node in graph.nodes].count("call_function") == 1  # the product
    assert inputs[0].data_ptr() == memory.data_ptr()


def test_the_same_is_computed_once_and_noise_and_what_changes_twice() -> None:
    memory = torch.randn(3)

    def fn(x: Tensor) -> tuple[Tensor, ...]:
        once = x.exp() + x.exp() + x.sum(0, True) + x.sum(0, False)
        noise = torch.rand_like(x[None]) - torch.rand_like(x[None])
        before = torch.cat([memory * 2, memory])
        memory.add_(1)
        return once, noise, torch.cat([memory * 2, memory]) - before

    recording = Recording(fn, [torch.randn(3)], noise=Noise([0], (), 1, every=False, step=0))
    graph, _ = recording._graph(hoist=True)
    targets = [str(node.target) for node in graph.nodes]
    counts = [sum(name in each for each in targets) for name in ("exp", "sum", "mul", "cat")]
    assert counts == [1, 2, 2, 2]
    x = torch.randn(3)
    once, noise, change = recording.program()(x)
    torch.testing.assert_close(once, 2 * x.exp() + 2 * x.sum())
    assert noise.abs().min() > 0
    torch.testing.assert_close(change, torch.tensor([2.0, 2.0, 2.0, 1.0, 1.0, 1.0]))


def test_a_product_with_one_is_left_out_unless_something_changes() -> None:
    memory, x = torch.randn(3), torch.randn(3)
    twin = memory.clone()

    def function(memory: Tensor) -> Callable[[Tensor], tuple[Tensor, ...]]:
        def fn(x: Tensor) -> tuple[Tensor, ...]:
            early, late, own = memory * 1, memory * 1, x * 1  # late is read when memory has changed
            total = early.view(1, 3) + (x.exp() * 1).view(1, 3)
            memory.add_(1)
            own.add_(5)
            return total, late + own, memory.view(1, 3) * 1

        return fn

    recording = Recording(function(memory), [x])
    function(twin)(x)
    graph, _ = recording._graph(hoist=True)
    assert sum("mul" in str(node.target) for node in graph.nodes) == 3  # late, own and what is returned
    program = recording.program()
    for _ in range(2):
        returned, expected = program(x), function(twin)(x)
        torch.testing.assert_close(returned, expected)


def test_halves_do_once_what_does_not_move_and_give_the_same() -> None:
    memory = torch.randn(4, 3, dtype=torch.float64)

    def fn(x: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        leaf = memory.detach().requires_grad_()
        (g,) = torch.autograd.grad(torch.tanh(x @ leaf).square().sum(), leaf, create_graph=True)
        (product,) = torch.autograd.grad((g * v).sum(), leaf)
        still = torch.exp(x)
        mixed = still.new_zeros(3, 4)  # made without v, and written to with it
        mixed.add_(still[:, :4]).mul_(v.sum())
        changed = torch.cos(x)
        seen = changed * v.sum()
        changed.add_(1)  # without v, after it was read with it
        return product, still.sum(), mixed, seen, changed, memory, v

    x, v = torch.randn(3, 4, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    first, second = Recording(fn, [x, v]).halves(1)
    for _ in range(2):
        x, kept = torch.randn_like(x), None
        with torch.no_grad():
            kept = first(x)
        for _ in range(3):
            v = torch.randn_like(v)
            with torch.no_grad():
                found = second(x, *kept, v)
            for got, wanted in zip(found, fn(x, v), strict=True):
                torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-14)
        memory.mul_(1.5)


def test_the_second_half_does_only_what_moves() -> None:
    memory = torch.randn(50, 50)

    def fn(x: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        return (torch.exp(x + memory) @ v,)

    first, second = Recording(fn, [torch.eye(50), torch.zeros(50)]).halves(1)
    assert ["torch.exp(" in half.func.__self__.code for half in (first, second)] == [True, False]  # type: ignore[attr-defined]
