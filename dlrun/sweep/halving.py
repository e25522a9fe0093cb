"""Pruning: a sweep's runs train from rung to rung, and at each only the best settings go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, fsum, inf, isfinite
from pathlib import Path

from dlrun.config.moments import Moment
from dlrun.errors import ConfigError
from dlrun.folder import checkpoint, wellformed
from dlrun.folder.contents import read
from dlrun.folder.names import CHECKPOINT, METRICS
from dlrun.folder.reading import summary_of
from dlrun.folder.records import write_summary
from dlrun.folder.resume import COMPLETE
from dlrun.sweep.compose import Job

PRUNED = "pruned"
#: keys of what is no setting, since it says only which samples and draws a run has
REPEATS = ("seed=", "dataset.fold=", "dataset.split_seed=")
PROBLEM = ("_target_", "path", "target", "keep_classes")  #: keys of a dataset of which another value is another problem
KEY = "hydra.sweeper.first_rung"
#: Of 256 rates for 30 epochs the best was kept in five of ten searches at rungs from epoch 4, and in two from epoch 2
#: (docs/sweeps.md).
EIGHTH = 8


@dataclass(frozen=True)
class At:
    """How a run stood at a rung.

    value: its lowest validation loss so far; infinite where it had diverged or failed.
    waits: whether it is there now, and goes on once that is decided.
    passed: whether it was there; not of a run that something ended before.
    """

    value: float
    waits: bool
    passed: bool


@dataclass(frozen=True)
class Halving:
    r"""Successive halving: after r epochs the best 1/eta of the settings go on, after r eta the best 1/eta of these.

    $$n_{k+1} = \max(1, \lfloor n_k / \eta \rfloor), \quad r_k = r \eta^k < R$$
    n_k settings are compared at the first evaluation from r_k of R epochs on. Each is judged by the mean over its
    seeds, folds and splits of the lowest validation loss so far, one of which more runs have diverged or failed after
    any of which fewer have; of equal ones the first is taken. All runs of a rung are there before it decides, so what
    goes on does not hang on how many processes train, or how fast. ASHA decides as runs arrive, and does.

    Args:
        rungs: the moments r_k.
        eta: of how many settings one goes on.

    Reference: Jamieson & Talwalkar 2016, arXiv:1502.07943; Li et al. 2020, arXiv:1810.05934 (Algorithm 1, one bracket).
    """

    rungs: Sequence[Moment]
    eta: int

    @classmethod
    def of(cls, first: float | str | None, eta: int, jobs: Sequence[Job]) -> Halving:
        """For these runs; by default the first rung is an eighth of a training, or its first evaluation.

        Raises ConfigError where they have no rungs in common, or none before their end.
        """
        lengths = {(job.config["epochs"], job.config["steps"]) for job in jobs}
        if len(lengths) > 1:
            raise ConfigError(
                "hydra.sweeper.prune: these runs differ in epochs or steps, and are compared after equally many: give "
                "all the same"
            )
        [(epochs, steps)] = lengths
        seldom = max(job.config["eval_every"] for job in jobs)
        total = steps or epochs
        eighth = ceil(total / EIGHTH)
        rung = (
            Moment(eighth if steps else max(eighth, seldom), bool(steps)) if first is None else Moment.parse(KEY, first)
        )
        if rung.in_steps != bool(steps):
            unit = f"epochs, and these trainings have steps={steps}: write steps, such as 100steps"
            other = f"steps, and these trainings have epochs={epochs}: write epochs, such as 1"
            raise ConfigError(f"{KEY}={first}: {other if rung.in_steps else unit}")
        if rung.number >= total:
            raise ConfigError(
                f"{KEY}={rung.number:g}: the trainings end at {total}; nothing is pruned there, give less"
            )
        if any(job.config["max_time"] is not None for job in jobs):
            raise ConfigError(
                "max_time and hydra.sweeper.prune: which runs go on would hang on how fast each is; leave one out, or "
                "give the whole sweep hydra.sweeper.max_time"
            )
        if not rung.in_steps and seldom > rung.number:
            raise ConfigError(
                f"{KEY}={first}: these runs are measured every {seldom:g} epochs: give that many or more, or a smaller "
                "eval_every"
            )
        for what, own in (("dataset", PROBLEM), ("loss", None)):
            nodes = [job.config[what] for job in jobs]
            if len({repr({key: node.get(key) for key in own or node}) for node in nodes}) > 1:
                raise ConfigError(
                    f"hydra.sweeper.prune: it compares validation losses, and these runs have more than one {what}, "
                    "whose losses say nothing of each other: give one, or a sweep to each"
                )
        count = len(settings_of(jobs))
        if count < 2:
            raise ConfigError(
                "hydra.sweeper.prune: it compares settings, and there is one: give another key several values"
            )
        rungs: list[Moment] = []
        while count > 1 and (number := rung.number * eta ** len(rungs)) < total:
            rungs.append(Moment(number, rung.in_steps))
            count //= eta
        return cls(rungs, eta)

    def decide(self, jobs: Sequence[Job], place: int) -> tuple[int, int, list[Job]] | None:
        """How many settings came to a rung, how many go on, and the runs that do not; None before all are there.

        It reads nothing but the runs' rows up to each rung, so it decides the same again, whatever came later. The
        losers' summaries are written anew, and their checkpoints go.
        """
        going = settings_of(jobs)
        for rung in self.rungs[: place + 1]:
            stand = [[at(job.folder, rung) for job in setting] for setting in going]
            if rung is self.rungs[place] and not all(each.passed or _ended(job) for job, each in _pairs(going, stand)):
                return None
            ranked = sorted(range(len(going)), key=lambda i: _quality(stand[i]))
            chosen = sorted(ranked[: max(1, len(going) // self.eta)])
            before, ranks = going, {i: rank for rank, i in enumerate(ranked, 1)}
            going = [going[i] for i in chosen]
        lost = []
        for i in set(ranks) - set(chosen):
            for job, each in zip(before[i], stand[i], strict=True):
                summary = summary_of(job.folder)
                if each.waits:
                    where = f"{ranks[i]} of {len(before)} by validation loss"
                    reason = f"pruned at {rung}: {where}, the best {len(going)} went on"
                    write_summary(job.folder, summary | {"status": PRUNED, "reason": reason})
                    lost.append(job)
                if each.waits or summary["status"] == PRUNED:  # it was killed, perhaps, between the two
                    checkpoint.remove(job.folder / CHECKPOINT)
        return len(before), len(going), lost


def settings_of(jobs: Sequence[Job]) -> list[list[Job]]:
    """The runs of each setting, which is what a job says but for its repeats."""
    found: dict[tuple[str, ...], list[Job]] = {}
    for job in jobs:
        setting = tuple(each for each in job.overrides if not each.lstrip("+").startswith(REPEATS))
        found.setdefault(setting, []).append(job)
    return list(found.values())


def at(folder: Path, rung: Moment) -> At:
    """How a run stood at a rung, by its metrics.csv alone but for how it ended."""
    status = summary_of(folder)["status"]
    try:
        header, rows = wellformed.metrics(read(folder, METRICS), folder / METRICS, ("epoch", "val_loss"))
    except OSError:
        header, rows = [], []
    if not rows:
        return At(inf, waits=False, passed=False)
    places = [header.index(name) for name in ("epoch", "step", "val_loss")]
    cells = [[float(row[place]) for place in places] for row in rows]
    first = next((i for i, (epoch, step, _) in enumerate(cells) if rung.reached(epoch, int(step))), len(cells))
    passed, beyond = first < len(cells), first < len(cells) - 1
    bad = not beyond and (status in ("diverged", "failed") or (status == PRUNED and not passed))
    value = min(loss if isfinite(loss) else inf for _, _, loss in cells[: first + 1])
    there = passed and not beyond and status == "interrupted"
    waits = there and checkpoint.latest(folder / CHECKPOINT) == cells[first][1]
    return At(inf if bad else value, waits, passed)


def _ended(job: Job) -> bool:
    return summary_of(job.folder)["status"] in (*COMPLETE, "failed")


def _pairs(settings: Sequence[Sequence[Job]], stand: Sequence[Sequence[At]]) -> Iterator[tuple[Job, At]]:
    for jobs, each in zip(settings, stand, strict=True):
        yield from zip(jobs, each, strict=True)


def _quality(runs: Sequence[At]) -> tuple[float, float]:
    """Less is better: the share of runs that have no value, then the others' mean."""
    values = [run.value for run in runs if isfinite(run.value)]
    return 1 - len(values) / len(runs), fsum(values) / len(values) if values else inf
