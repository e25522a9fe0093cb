"""Training steps, timed: dlrun's, and those of loops by hand with the same network, on whatever device."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn


def configs_of(words: str, runs: int, device: str) -> list[dict[str, Any]]:
    """The configs of so many runs that differ by seed, as a sweep's worker gets them."""
    from omegaconf import OmegaConf

    from dlrun.config.composed import composed

    whole = composed(["compile=false", *words.split(), f"device={device}", "train_metrics=measured"])
    own: Any = OmegaConf.to_container(OmegaConf.masked_copy(whole, [str(key) for key in whole if key != "hydra"]))
    return [{**own, "name": "gpu", "seed": seed} for seed in range(runs)]


def stack_of(words: str, runs: int, device: str) -> Any:
    """These runs as a stack."""
    from dlrun.training.build import build

    return build(configs_of(words, runs, device))


def steps_per_second(stack: Any, steps: int, device: str) -> float:
    """Of a stack's recorded training step, evaluations and compiling left out; so many steps, or some for 2 s."""
    from dlrun.training.batches import plan
    from dlrun.training.state import State
    from dlrun.training.step import prepare
    from dlrun.training.train import flushed_subnormals

    with torch.no_grad(), flushed_subnormals():
        state, begun, done = State(stack), 0.0, 0
        made: dict[torch.Size, Any] = {}
        for batch, *moving in plan(stack, state.schedule, 0, stack.steps_per_epoch):
            if batch.shape not in made:  # as `fit` does it, the last and smaller one uncompiled
                made[batch.shape], _, _ = prepare(stack, state, batch, moving, stack.compile and not made)
        warm = max(3, steps // 10)
        for batch, *moving in plan(stack, state.schedule, 0, steps + warm):
            if done >= warm and (done - warm) % 10 == 0:
                synchronize(device)
                begun = begun or time.perf_counter()
                if time.perf_counter() - begun > 2:
                    break
            made[batch.shape](batch, *moving)
            done += 1
        synchronize(device)
        return (done - warm) / (time.perf_counter() - begun)


def synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


@torch.enable_grad()
def by_hand(
    stack: Any, steps: int, device: str, graph: bool = False, kind: str = "float32", network: nn.Module | None = None
) -> float:
    """Steps per second of the stack's network in a plain loop over indexed tensors with torch's fused Adam.

    graph: captured once as a CUDA graph, and replayed. kind: float32, tf32, or bfloat16 with channels last.
    network: in place of the stack's own, one for the same job.
    """
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = True, False  # as tuned loops have it
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
    network = (copy.deepcopy(stack.model) if network is None else network).to(device).train().requires_grad_()
    x, y = stack.dataset.inputs.to(device), stack.dataset.targets.to(device)
    if "channels_last" in kind:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        x = x.to(memory_format=torch.channels_last)
    size = min(stack.batch_size, len(x))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True, capturable=graph)
    at = torch.randint(len(x), (size,), device=device)
    many = y.dtype == torch.int64
    losses: dict[str, Any] = {
        "multiclass": nn.functional.cross_entropy,
        "binary": nn.functional.binary_cross_entropy_with_logits,
        "regression": nn.functional.mse_loss,
    }
    loss_of = losses[stack.dataset.task]

    def step() -> None:
        optimizer.zero_grad(set_to_none=False)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled="bfloat16" in kind):
            outputs = network(x[at])
            loss = loss_of(outputs, y[at] if many else y[at].float().reshape(outputs.shape))
        loss.backward()
        optimizer.step()

    call: Callable[[], None] = step
    if graph:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            step()
        call = captured.replay
    for _ in range(3):
        call()
    synchronize(device)
    begun = time.perf_counter()
    for _ in range(steps):
        call()
    synchronize(device)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return steps / (time.perf_counter() - begun)


@torch.enable_grad()
def by_vmap(stack: Any, steps: int, device: str) -> float:
    """Steps per second of the stack's networks under torch.func's vmap, with torch's fused Adam on all their rows."""
    from torch.func import functional_call, grad, vmap

    model = copy.deepcopy(stack.model).to(device).train()
    x, y = stack.dataset.inputs.to(device), stack.dataset.targets.to(device)
    parameters = {
        name: p.detach().expand(stack.runs, *p.shape).clone().requires_grad_() for name, p in model.named_parameters()
    }
    optimizer = torch.optim.Adam(parameters.values(), lr=1e-3, fused=True)
    at = torch.randint(len(x), (stack.runs, stack.batch_size), device=device)

    def loss_of(own: Any, x: Any, y: Any) -> Any:
        return torch.nn.functional.cross_entropy(functional_call(model, own, (x,)), y)

    gradient = vmap(grad(loss_of))
    begun = 0.0
    for step in range(steps + 3):
        if step == 3:
            synchronize(device)
            begun = time.perf_counter()
        found = gradient({name: p.detach() for name, p in parameters.items()}, x[at], y[at])
        for name, p in parameters.items():
            p.grad = found[name]
        optimizer.step()
    synchronize(device)
    return steps / (time.perf_counter() - begun)


def write_cifar(folder: Path, images: int = 1024) -> None:
    """Random pixels and classes as CIFAR-10's binary files."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        records = random.integers(0, 256, (images, 3073), dtype=np.uint8)
        records[:, 0] %= 10
        (folder / name).write_bytes(records.tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(f"class_{i}" for i in range(10)))
