r"""One run on several processes, which torchrun starts: each takes its share of every minibatch and evaluation.

The gradient of a minibatch's mean loss is the sum of what the shares' samples contribute,
$$g = \sum_r \frac1n \sum_{i \in \text{share}_r} \nabla \ell_i,$$
so one sum over the processes gives every process the same g, and each makes the same update of its own theta.
Process 0 is the command: it alone checks the config, writes and says anything. The others do as it does.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from dlrun.errors import ConfigError
from dlrun.folder.checkpoint import Checkpoint, Record
from dlrun.processes.synchronized import synchronize
from dlrun.regularizers.averaging import SWA
from dlrun.regularizers.regularizer import Regularizer
from dlrun.terminal.console import error
from dlrun.terminal.signals import Deferred, obeyed
from dlrun.training import torchrun

if TYPE_CHECKING:
    from dlrun.training.stack import Stack

Tensors = dict[str, Tensor]

LOOK = 1.0  #: seconds, roughly, after which the processes ask each other whether a signal came or a checkpoint is due
OTHERS = "process."  #: how the names of a checkpoint's tensors begin that are another process's than number 0's
PATIENCE = timedelta(days=1)  #: for downloads and long initializers; torchrun ends the others when one process dies


class Alone:
    """A training in one process: all samples are its own, and nobody else has to be asked."""

    rank, size = 0, 1

    @property
    def noise(self) -> tuple[int, ...]:
        """What makes this process's stream of noise its own."""
        return (self.rank,) if self.rank else ()

    def share(self, samples: int) -> slice:
        """Which of so many samples this process takes; shares differ by one sample at most."""
        each, more = divmod(samples, self.size)
        begin = self.rank * each + min(self.rank, more)
        return slice(begin, begin + each + (self.rank < more))

    def of_batch(self, batch: Tensor) -> Tensor:
        """This process's share of a minibatch's row numbers, (runs, batch)."""
        return batch if self.size == 1 else batch[:, self.share(batch.shape[1])]

    def total(self, g: Tensor, *losses: Tensor) -> tuple[Tensor, ...]:
        """Gradient (runs, params) and losses (runs,) of all processes' shares."""
        return g, *losses

    def mean(self, sums: Tensor, samples: int) -> Tensor:
        """The mean over all processes' samples, from this one's number of samples and sums over them, on the CPU."""
        return sums / samples

    def due(self, step: int, due: Callable[[int], bool], signals: Deferred) -> bool:
        """Whether all processes keep a checkpoint after this step, because one is due or a signal came."""
        return due(step) or self.came(signals)

    def came(self, signals: Deferred) -> bool:
        """Whether a signal came to any process; it then came to all."""
        return signals.came != 0

    def gathered(self, tensors: Tensors, record: Record) -> tuple[Tensors, Record]:
        """What process 0 keeps: its own state, and what of the others' differs from it."""
        return tensors, record

    def own(self, begun: Checkpoint) -> tuple[Tensors, Record]:
        """The state that this process goes on with, of a checkpoint by as many processes or by others.

        If there were others, process 0 takes all that they measured.
        """
        sizes: list[list[int]] = begun.record.get("shares", [begun.record["taken"]])
        common = {name: tensor for name, tensor in begun.tensors.items() if not name.startswith(OTHERS)}
        parts = [{name: tensor for name, tensor in common.items() if _is_private(name)}]
        for rank in range(1, len(sizes)):
            start = f"{OTHERS}{rank}/"
            parts.append({k.removeprefix(start): t for k, t in begun.tensors.items() if k.startswith(start)})
        if self.rank < len(parts):
            own, taken = dict(parts[self.rank]), sizes[self.rank]
        else:
            own, taken = {name: t for name, t in parts[0].items() if name.startswith("taken/")}, sizes[0]
        if len(parts) != self.size:
            for name in [name for name in own if name.startswith("taken/")]:
                all_of_them = torch.cat([part[name] for part in parts], 1)
                own[name] = all_of_them if self.rank == 0 else all_of_them[:, :0]
            taken = [sum(each) if self.rank == 0 else 0 for each in zip(*sizes, strict=True)]
        shared = {name: tensor for name, tensor in common.items() if not _is_private(name)}
        return {**shared, **own}, {**begun.record, "taken": taken}


class Team(Alone):
    """The processes that torchrun started; what needs all of them waits until all have come to it."""

    def __init__(self) -> None:
        # Inductor asks this module what the collectives' results look like.
        import torch.distributed._functional_collectives

        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        store, rank, size = next(dist.rendezvous("env://", timeout=PATIENCE))
        # After a restart, torchrun's store still holds the addresses of the processes that are gone.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = dist.PrefixStore(f"dlrun.{attempt}", store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.group: str = dist.group.WORLD.group_name  # type: ignore[union-attr]
        self.wanted = False  #: a checkpoint, since they last asked each other
        self.last: tuple[int, float] | None = None  #: when that was: the step, and the time
        self.next = 0  #: the step after which they ask again

    def total(self, g: Tensor, *losses: Tensor) -> tuple[Tensor, ...]:
        """See `Alone`."""
        params = g.shape[1]
        sums = self.sum(torch.cat([g, *(loss[:, None] for loss in losses)], 1))
        # cloned, to be kept until the next evaluation without the gradient
        return sums[:, :params], *(loss.clone() for loss in sums[:, params:].unbind(1))

    def sum(self, own: Tensor) -> Tensor:
        """The sum over all processes, by operations that can be recorded, replayed and compiled."""
        sums = torch.ops._c10d_functional.all_reduce(own, "sum", self.group)
        return torch.ops._c10d_functional.wait_tensor(sums)

    def mean(self, sums: Tensor, samples: int) -> Tensor:
        """See `Alone`."""
        own = torch.cat([sums, torch.full_like(sums[:, :1], samples)], 1)
        dist.all_reduce(own)
        return own[:, :-1] / own[:, -1:]

    def due(self, step: int, due: Callable[[int], bool], signals: Deferred) -> bool:
        """See `Alone`; they ask each other about every second, since asking takes as long as a small network's step."""
        self.wanted = due(step) or self.wanted
        if step < self.next:
            return False
        now = time.monotonic()
        done, seconds = (step - self.last[0], now - self.last[1]) if self.last else (1, LOOK)
        came, wanted, seconds = self._greatest(signals.came, self.wanted, seconds)
        self.wanted, self.last, self.next = False, (step, now), step + max(1, int(done * LOOK / seconds))
        self._told(signals, int(came))
        return bool(wanted or came)

    def came(self, signals: Deferred) -> bool:
        """See `Alone`."""
        [came] = self._greatest(signals.came)
        self._told(signals, int(came))
        return came != 0

    def _greatest(self, *numbers: float) -> list[float]:
        numbers_here = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(numbers_here, dist.ReduceOp.MAX)
        return numbers_here.tolist()

    def _told(self, signals: Deferred, came: int) -> None:
        if came:
            signals.came = came
            signals.interrupted = signals.interrupted or came == signal.SIGINT

    def gathered(self, tensors: Tensors, record: Record) -> tuple[Tensors, Record]:
        """See `Alone`."""
        private = {name: tensor.cpu() for name, tensor in tensors.items() if _is_private(name)}
        all_of_them: list[Any] | None = [None] * self.size if self.rank == 0 else None
        dist.gather_object((private, record["taken"]), all_of_them)
        for rank, (theirs, _) in enumerate(all_of_them or []):
            if rank:
                tensors = {**tensors, **{f"{OTHERS}{rank}/{name}": tensor for name, tensor in theirs.items()}}
        return tensors, {**record, "shares": [taken for _, taken in all_of_them or []]}

    def tell(self, told: Any = None) -> Any:
        """What process 0 tells the others."""
        box = [told]
        dist.broadcast_object_list(box, device=torch.device("cpu"))
        return box[0]

    def ready(self, problem: str | None, stack: Stack | None) -> bool:
        """Whether all have built the stack; they then begin with process 0's parameters.

        Raises ConfigError in process 0 if one could not, with its problem.
        """
        problems: list[Any] = [None] * self.size
        dist.all_gather_object(problems, problem)
        for rank, theirs in enumerate(problems):
            if theirs and self.rank == 0:
                raise ConfigError(f"process {rank}: {theirs}")
        if stack is None or any(problems):
            return False
        if stack.theta.is_cuda:
            torch.cuda.set_device(stack.theta.device)
        for tensor in (stack.theta, *stack.buffers.values()):
            dist.broadcast(tensor, 0)
        stack.team = self
        synchronize(stack.model, self)
        return True


class Silent:
    """What the others do where process 0 reports and keeps checkpoints: nothing."""

    def __init__(self, begun: Checkpoint | None) -> None:
        self.begun = begun

    def row(self, *_: Any) -> None:
        pass

    trace = step = keep = row

    def due(self, *_: Any) -> bool:
        return False


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
    team.ready(None, stack)


@obeyed()
def follow() -> int:
    """Train what process 0 says, and leave no trace; returns the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # in a wait for the others, Python would not see it
    from dlrun.training.build import build
    from dlrun.training.train import fit

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
    if team.ready(problem, stack) and stack:
        silent = Silent(begun)
        try:
            fit(stack, silent, silent)
        except Exception as failure:
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            error(f"process {team.rank}: {' '.join(str(failure).split())}")
            return 1
    return 0


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
    for regularizer in stack.regularizers:
        if regularizer.random and type(regularizer).perturb is not Regularizer.perturb:
            raise ConfigError(
                f"the regularizer {type(regularizer).__name__} draws noise for the gradient, which has to be the same "
                "in all processes: leave it out, or take one process"
            )


def _is_private(name: str) -> bool:
    """Whether a tensor of a training's state differs from process to process: the outputs of its share are its own."""
    return name.removeprefix("taken/").isdecimal()
