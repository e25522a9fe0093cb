"""Programs whose large results have places of their own compute what the function does, and nothing is overwritten."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from dlrun.matrix.buffers import LARGE, _made
from dlrun.matrix.trace import Recording


@pytest.fixture(autouse=True)
def by_itself() -> Iterator[None]:
    """Programs that other tests left share no buffers here."""
    kept = _made[:]
    _made.clear()
    yield
    _made[:] = [*kept, *_made]


SIDE = 128  # a square of it holds LARGE bytes in single precision
assert SIDE**2 * 4 == LARGE
Function = Callable[[Tensor], tuple[Tensor, ...]]


def layers(memory: Tensor) -> Function:
    """A network's forward and backward pass, with weights and their gradients in one memory."""
    weights, g = memory[: 2 * SIDE].view(2, SIDE, SIDE), memory[2 * SIDE :].view(2, SIDE, SIDE)

    def fn(x: Tensor) -> tuple[Tensor, ...]:
        leaves = [w.detach().requires_grad_() for w in weights]
        hidden = torch.relu(x @ leaves[0].t() + 1)
        outputs = torch.tanh(hidden @ leaves[1].t())
        loss = outputs.square().mean()
        for there, part in zip(g, torch.autograd.grad(loss, leaves), strict=True):
            there.copy_(part)
        weights.sub_(g, alpha=0.5)
        return loss.detach(), outputs.detach()

    return fn


def arithmetic(memory: Tensor) -> Function:
    """Results that end at different times, are views of others, have broken strides or are used twice."""
    a, b = memory.chunk(2)

    def fn(x: Tensor) -> tuple[Tensor, ...]:
        p = a[:SIDE] * x
        q = p.t() + x  # reads p transposed, so it must not be written over p
        r = (p - q).exp().neg()
        s = torch.minimum(r, r.t())
        b[:SIDE].copy_(q * 2)
        t = b[:SIDE] + s
        b[:SIDE].copy_((p + t).t())
        return s.t() * p, t

    return fn


def overlapping(memory: Tensor) -> Function:
    """A result that is copied to where others read before."""

    def fn(x: Tensor) -> tuple[Tensor, ...]:
        p = x * 3
        q = memory[:SIDE] + 1
        memory[:SIDE].copy_(p)
        memory[1 : SIDE + 1].copy_(x @ q)
        return (memory[:SIDE] * q,)

    return fn


@pytest.mark.parametrize("function", [layers, arithmetic, overlapping])
def test_replays_equal_the_function(function: Callable[[Tensor], Function]) -> None:
    memory = torch.randn(4 * SIDE, SIDE)
    twin = memory.clone()
    xs = [torch.randn(SIDE, SIDE) for _ in range(4)]
    with torch.no_grad():
        program = Recording(torch.enable_grad()(function(memory)), [xs[0]]).program()
        torch.enable_grad()(function(twin))(xs[0])
        returned = []
        for x in xs[1:]:
            returned.append((program(x), torch.enable_grad()(function(twin))(x)))
            torch.testing.assert_close(memory, twin, rtol=1e-5, atol=1e-5)
    for got, expected in returned:  # compared at the end, when later calls had their chance to write over them
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_programs_share_their_buffers_and_give_them_back() -> None:
    x = torch.randn(SIDE, SIDE)

    def chain(x: Tensor) -> tuple[Tensor, ...]:
        return ((x @ x + x @ x.t()).sum(),)

    def buffers() -> int:
        return sum(each() is not None for each in _made)

    gc.collect()  # what other tests left
    before = buffers()
    first = Recording(chain, [x]).program()
    one = buffers()
    second = Recording(chain, [x]).program()
    assert one - before == 2  # the sum is written over a product
    assert buffers() == one
    assert torch.equal(first(x)[0], second(x)[0])
    del first, second
    gc.collect()
    assert buffers() == before


def test_no_large_memory_is_asked_for_at_a_replay() -> None:
    x = torch.randn(SIDE, SIDE)
    program = Recording(lambda x: ((x @ x).relu().mul(x).exp().sum(),), [x]).program()
    program(x)
    with torch.profiler.profile(profile_memory=True) as profile:
        program(x)
    assert max(event.cpu_memory_usage for event in profile.events()) < LARGE


def test_scratch_memory_is_written_over_and_spares_a_buffer() -> None:
    memory, twin = (torch.ones(SIDE, SIDE) for _ in range(2))

    def function(memory: Tensor, scratch: Tensor) -> Function:
        def fn(x: Tensor) -> tuple[Tensor, ...]:
            scratch.copy_(x @ x)
            squares = scratch * scratch
            memory.add_(scratch).mul_(squares + 1)
            memory.sub_(memory.sqrt())
            return (squares.sum(1),)

        return fn

    gc.collect()
    before, scratch, x = sum(each() is not None for each in _made), torch.empty(SIDE, SIDE), torch.rand(SIDE, SIDE)
    program = Recording(function(memory, scratch), [x], scratch=[scratch]).program()
    function(twin, torch.empty_like(scratch))(x)
    for i in range(3):
        x = torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(i))
        torch.testing.assert_close(program(x), function(twin, torch.empty_like(scratch))(x))
        torch.testing.assert_close(memory, twin)
    assert sum(each() is not None for each in _made) == before + 1  # for the squares, while scratch is read once more
