r"""One run on several processes, which torchrun starts: each takes its share of every minibatch and evaluation.

The gradient of a minibatch's mean loss is the sum of what the shares' samples contribute,
$$g = \sum_r \frac1n \sum_{i \in \text{share}_r} \nabla \ell_i,$$
so one sum over the processes gives every process the same g, and each makes the same update of its own theta.
Process 0 is the command: it alone checks the config, writes and says anything. The others do as it does.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from dlrun.errors import ConfigError
from dlrun.folder.checkpoint import Checkpoint
from dlrun.processes.synchronized import synchronize
from dlrun.processes.team import Team
from dlrun.regularizers.averaging import SWA
from dlrun.regularizers.regularizer import Regularizer
from dlrun.terminal.console import error
from dlrun.terminal.signals import obeyed
from dlrun.training import torchrun
from dlrun.training.build import build
from dlrun.training.stack import Stack
from dlrun.training.train import fit


class Silent:
    """What the others do where process 0 reports and keeps checkpoints: nothing."""

    at_the_end = False

    def __init__(self, begun: Checkpoint | None) -> None:
        self.begun = begun

    def row(self, *_: Any) -> None:
        pass

    trace = step = keep = row

    def due(self, *_: Any) -> bool:
        return False

    over, keep_apart = due, row


_told_others = False  #: in process 0, what there is to do


def together(command: Callable[[], int]) -> int:
    """The command in one of torchrun's processes: number 0 runs it, the others help; returns the exit code."""
    try:
        return follow() if torchrun.rank() else _as_first(command)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()  # whose threads must end before Python does


def _as_first(command: Callable[[], int]) -> int:
    try:
        return command()
    finally:
        if not _told_others:
            Team().tell(None)


def lead(node: dict[str, Any], stack: Stack, begun: Checkpoint | None) -> None:
    """Have the other processes, if there are any, train this stack together with this one.

    node: the config, resolved. begun: where the training goes on.

    Raises ConfigError for what cannot be shared out, and where another process cannot train it.
    """
    global _told_others
    if torchrun.processes() == 1:
        return
    refuse(stack, torchrun.processes())
    team, _told_others = Team(), True
    team.tell((node, begun))
    ready(team, None, stack)


@obeyed()
def follow() -> int:
    """Train what process 0 says, and leave no trace; returns the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # in a wait for the others, Python would not see it
    team = Team()
    told = team.tell()
    if told is None:
        return 0
    node, begun = told
    problem, stack = None, None
    try:
        torch.set_num_threads(1)
        stack = build([node], initialize=False)
        torch.set_num_threads(stack.threads)
    except Exception as mistake:
        problem = str(mistake) if isinstance(mistake, ConfigError) else repr(mistake)
    if ready(team, problem, stack) and stack:
        silent = Silent(begun)
        try:
            fit(stack, silent, silent)
        except Exception as failure:
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            error(f"process {team.rank}: {' '.join(str(failure).split())}")
            return 1
    return 0


def ready(team: Team, problem: str | None, stack: Stack | None) -> bool:
    """Whether all have built the stack; they then begin with process 0's parameters.

    Raises ConfigError in process 0 if one could not, with its problem.
    """
    problems: list[Any] = [None] * team.size
    dist.all_gather_object(problems, problem)
    for rank, theirs in enumerate(problems):
        if theirs and team.rank == 0:
            raise ConfigError(f"process {rank}: {theirs}")
    if stack is None or any(problems):
        return False
    if stack.theta.is_cuda:
        torch.cuda.set_device(stack.theta.device)
    for tensor in (stack.theta, *stack.buffers.values()):
        dist.broadcast(tensor, 0)
    stack.team = team
    synchronize(stack.model, team)
    return True


def refuse(stack: Stack, processes: int) -> None:
    """ConfigError where a step needs the whole minibatch in one process."""
    last = stack.train_size % stack.batch_size or stack.batch_size
    if last < processes:
        raise ConfigError(
            f"{stack.train_size} training samples in batches of {stack.batch_size} leave a batch of {last}, which "
            f"{processes} processes cannot share: choose another batch_size, or fewer processes"
        )
    if stack.averages and any(isinstance(regularizer, SWA) for regularizer in stack.regularizers):
        raise ConfigError(
            "regularizer=[swa] measures the averages of normalization=batch anew over the training set, which several "
            "processes share: choose regularizer=[ema], normalization=layer or group, or one process"
        )
    if stack.rule.curvature:
        raise ConfigError(
            f"the optimizer {type(stack.rule).__name__} keeps a matrix of curvature, which is not shared among "
            "processes: choose optimizer=lbfgs or conjugate_gradient, or one process"
        )
    if stack.diagnostics:
        raise ConfigError(
            f"diagnostics=[{','.join(stack.diagnostics)}] look at networks in one process: leave them out, or take one "
            "process; `dlrun diagnose FOLDER` looks at a finished network"
        )
    for regularizer in stack.regularizers:
        if regularizer.random and type(regularizer).perturb is not Regularizer.perturb:
            raise ConfigError(
                f"the regularizer {type(regularizer).__name__} draws noise for the gradient, which has to be the same "
                "in all processes: leave it out, or take one process"
            )
