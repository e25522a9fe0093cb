"""One step of a training: the gradient, and what it changes; recorded once, then replayed."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from dlrun.matrix.noise import Noise
from dlrun.matrix.rows import call
from dlrun.matrix.trace import Program, Recording
from dlrun.training.objective import Step, StepObjective
from dlrun.training.stack import Stack
from dlrun.training.state import State

GROWTH = 2000  #: steps with finite gradients after which losses are scaled by twice as much


def gradient(stack: Stack, state: State, batch: Tensor, *moving: Tensor) -> tuple[Tensor, ...]:
    """Each row's gradient (runs, params) and objective (runs,), then its loss (runs,), its gradient's norm before
    clipping (runs,) and what running training columns are made of."""
    hyper = {**stack.hyper, **dict(zip(stack.moving, moving, strict=True))}
    point, trained = call(stack.rule.point, stack.theta, state.memory, rows=hyper), hyper.get("trained")
    if trained is not None:
        point = torch.where(trained > 0, point, stack.theta)
    objective, g, loss, averages, *measured = stack.gradient(point, batch, state.scaling.get("scale"))
    for name, average in averages.items():
        stack.buffers[name].copy_(average)
    if trained is not None:
        g = g * trained
    norm = torch.linalg.vector_norm(g, dim=1)
    g = stack.clip(g, norm)
    for regularizer, memory, rows in zip(stack.regularizers, state.regularizers, stack.penalties, strict=True):
        g = call(regularizer.perturb, g, memory, rows=rows)
    if trained is not None:  # noise, too, is for the parameters that train
        g = g * trained
    return g, objective, loss, norm, *measured


def update(stack: Stack, state: State, g: Tensor, objective: StepObjective | None, *moving: Tensor) -> None:
    """Change theta and the memories of optimizer and regularizers in place."""
    hyper = {**stack.hyper, **dict(zip(stack.moving, moving, strict=True))}
    before = stack.theta.clone() if "trained" in hyper else stack.theta
    for regularizer, mask, rows in zip(stack.regularizers, stack.masks, stack.penalties, strict=True):
        call(regularizer.decay, stack.theta, mask, hyper["lr"], rows=rows)
    asked = [objective] if stack.rule.curvature or stack.rule.searches else []
    call(stack.rule.update, stack.theta, g, state.memory, *asked, rows=hyper)
    for regularizer, rows in zip(stack.regularizers, stack.penalties, strict=True):
        call(regularizer.project, stack.theta, stack.layout, rows=rows)
    if "trained" in hyper:  # whatever decays, carries on or projects: the rest stays as it is, to the bit
        stack.theta.copy_(torch.where(hyper["trained"] > 0, stack.theta, before))
    for regularizer, memory, rows in zip(stack.regularizers, state.regularizers, stack.penalties, strict=True):
        call(regularizer.follow, memory, stack.network, rows=rows)


def update_scaled(stack: Stack, state: State, g: Tensor, *moving: Tensor) -> Tensor:
    """`update` of the rows whose gradients are finite, (runs,); the others stay as they are, and are tried again with
    half the scale. It doubles after `GROWTH` steps without that.

    Reference: Micikevicius et al. 2018, arXiv:1710.03740, section 3.2; with the numbers of torch.amp.GradScaler.
    """
    finite = g.isfinite().all(1)
    memories = [state.memory, *state.regularizers]
    changed = [stack.theta, *(tensor for memory in memories for tensor in memory.values())]
    before = [tensor.clone() for tensor in changed]
    update(stack, state, torch.where(finite[:, None], g, 0), None, *moving)
    for tensor, old in zip(changed, before, strict=True):
        tensor.copy_(torch.where(finite.view(-1, *[1] * (tensor.ndim - 1)), tensor, old))
    scale, steps = state.scaling["scale"], state.scaling["steps"]
    grown = steps + 1 >= GROWTH
    scale.copy_(torch.where(finite, torch.where(grown, 2 * scale, scale), scale / 2))
    steps.copy_(torch.where(finite & ~grown, steps + 1, 0))
    state.scaling["left_out"].add_(~finite)
    return finite


def prepare(
    stack: Stack, state: State, batch: Tensor, moving: Sequence[Tensor], compiling: bool
) -> tuple[Step, tuple[Tensor, ...], float]:
    """The step for batches of this shape, what it returns for this batch, and the seconds that compiling it took.

    A step takes a batch and the moving numbers, changes theta and the state, and returns the loss, the gradient norm
    and, where the training columns are running means, what they are made of. Recording it runs it; that is undone.
    """

    def first_part(batch: Tensor, *moving: Tensor) -> tuple[Tensor, ...]:
        g, objective, *outputs = gradient(stack, state, batch, *moving)
        if not stack.rule.traceable:
            return g, objective, *outputs
        if stack.scaled:
            loss, norm, *measured = outputs
            finite = update_scaled(stack, state, g, *moving)
            return loss, torch.where(finite, norm, torch.nan), *measured
        update(stack, state, g, None, *moving)
        return tuple(outputs)

    def whole(batch: Tensor, *moving: Tensor) -> tuple[Tensor, ...]:
        g, value, *outputs = program(batch, *moving)
        g = g.clone()  # the objective's own gradients are written over it
        update(stack, state, g, StepObjective(stack, program, batch, moving, value), *moving)
        return tuple(outputs)

    memories = [state.memory, *state.regularizers]
    changed = [stack.theta, *stack.buffers.values(), *(tensor for memory in memories for tensor in memory.values())]
    changed += state.scaling.values()
    saved = [tensor.clone() for tensor in changed]
    samples = batch.shape[1]
    noise = Noise(stack.seeds, stack.team.noise, samples, samples == stack.batch_size, state.step)
    recording = Recording(first_part, [batch, *moving], scratch=[stack.g], noise=noise)
    start = time.perf_counter()
    replay = _compiled(stack, recording) if compiling else recording.program()
    if compiling:
        replay(batch, *moving)  # the first call compiles what is left
    seconds = time.perf_counter() - start if compiling else 0.0
    program = noise.before(stack.captured(replay, [batch, *moving]), lambda: state.step)
    for tensor, value in zip(changed, saved, strict=True):
        tensor.copy_(value)
    if stack.rule.traceable:
        return program, recording.outputs, seconds
    return whole, recording.outputs[2:], seconds


def _compiled(stack: Stack, recording: Recording) -> Program:
    """The step fused: on a CPU as a library that is kept, but for messages between processes, which are no library's,
    and for what cannot be built as one."""
    if stack.theta.device.type == "cpu" and stack.team.size == 1:
        try:
            return recording.as_library()
        except OSError:
            raise
        except Exception as problem:  # the compiler's, of an operation that a library cannot call
            told = (str(problem) or type(problem).__name__).splitlines()[0]
            stack.remarks.append(
                f"its compiled step is not kept for later commands, and is compiled anew by each: {told}"
            )
    return recording.compiled()
