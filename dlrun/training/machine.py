"""What this machine gives a training: its device, its compiler and its threads."""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dlrun.architectures.recurrent import Layer
from dlrun.datasets.dataset import Dataset
from dlrun.errors import ConfigError
from dlrun.matrix.libraries import STEPS
from dlrun.training import torchrun


@dataclass(frozen=True)
class Compiling:
    """What compiling a step costs and saves on a kind of device, roughly: many calls become one, and so do passes over
    all rows' parameters."""

    seconds: float  #: that it takes
    saved: float  #: seconds of each step
    saved_per_parameter: float  #: likewise, of all rows


COMPILING = {
    "cpu": Compiling(seconds=20, saved=2.5e-4, saved_per_parameter=2.5e-9),
    "cuda": Compiling(seconds=8, saved=4.5e-5, saved_per_parameter=1.2e-11),  # an H200: beside steps in CUDA graphs
}
TIMES = 10  #: of recurrent layers in all, up to which a step is compiled: 50 of an LSTM did not end in six minutes
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  #: what glibc's mallopt calls them
THREADED = 10**9  #: operations per step from which `threads: auto` uses every core; below, threads wait for each other


#: by the name of a precision of 16 bits, the numbers in which layers compute; parameters then are float32
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
AMPERE = (8, 0)  #: the compute capability from which GPUs of NVIDIA's have bfloat16 and TF32


def dtype_of(precision: str) -> torch.dtype:
    """Of data and parameters."""
    return torch.float64 if precision == "float64" else torch.float32


def compute_as(precision: str, device: torch.device) -> None:
    """Have the device compute in this precision, and the same command give the same bytes.

    By itself PyTorch lets CUDA's convolutions round float32 to TF32, and cuDNN take kernels that add in whatever order
    comes; cuBLAS needs memory of its own for each stream to add in the same order again.

    Raises ConfigError where the device has no such numbers.
    """
    if precision in (*HALVES, "tf32") and device.type not in (("cuda",) if precision == "tf32" else ("cpu", "cuda")):
        others = "float32, float64, bf16 or fp16" if device.type == "cpu" else "float32"
        raise ConfigError(f"precision={precision}: device={device.type} has no such numbers; it takes {others}")
    if device.type != "cuda":
        return
    if precision in ("tf32", "bf16") and torch.cuda.get_device_capability(device) < AMPERE:
        name = torch.cuda.get_device_name(device)
        raise ConfigError(f"precision={precision}: {name} has no such numbers; it takes float32 or fp16")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def usable_device(name: str) -> torch.device:
    """The device of this name; "auto" is the GPU where there is one. ConfigError for one that cannot be used.

    Of the processes that train a run together, each has a GPU of its own.
    """
    together = torchrun.processes() > 1
    if together and name not in ("auto", "cuda", "cpu"):
        raise ConfigError(f"device={name}: each of several processes takes a device of its own: device=cuda or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and together:
        name = f"cuda:{torchrun.local_rank()}"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ValueError) as problem:
        reason = str(problem).splitlines()[0]
        if reason.startswith("Expected one of"):  # some twenty kinds, of which most are experiments
            kinds = "auto, which takes a GPU where there is one, cpu, cuda, cuda:1 and mps"
            raise ConfigError(f"device={name}: there is no such device; there are {kinds}") from problem
        raise ConfigError(f"device={name}: not usable on this machine ({reason}); device=cpu always is") from problem
    return device


def compiles(wish: bool | str, steps: int, params: int, device: torch.device, times: int = 0) -> bool:
    """Whether to compile a training of so many steps, with so many parameters in all rows together.

    times: that recurrent layers take one after the other, each as many operations to the compiler as a layer.

    Raises ConfigError where it is wished and cannot be.
    """
    if wish is False or (wish == "auto" and not pays(steps, params, device)):
        return False
    lacking = not_compiled(device, times)
    if wish is True and lacking:
        raise ConfigError(f"compile=true: {lacking}; leave compile=auto")
    return lacking is None


def not_compiled(device: torch.device, times: int = 0) -> str | None:
    """Why nothing can be compiled, or None; then the compiler's cache is a folder that nobody else writes to.

    What lies there is loaded and run. By default PyTorch takes one in the folder for temporary files, where another
    user of the machine may have made it. One that the user has set (TORCHINDUCTOR_CACHE_DIR) may be a group's.
    """
    if times > TIMES:
        return (
            f"recurrent layers over {times} times in all are as many layers to the compiler, which takes many minutes"
        )
    if device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        return "no C++ compiler (g++ or clang++) is found"
    chosen = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    if chosen:
        folder = Path(chosen).absolute()  # which the working directory at that moment would decide otherwise
        for each in (folder, folder / STEPS):
            if os.name == "posix" and each.exists() and each.stat().st_mode & 0o002:
                return (
                    f"everybody may write to {each}, from where compiled code is run: chmod o-w it, or set "
                    "TORCHINDUCTOR_CACHE_DIR to another folder"
                )
    else:
        import pooch

        folder = Path(pooch.os_cache("dlrun")) / "compiled"
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
            found = folder.lstat()
        except OSError as problem:
            return (
                f"no cache for the compiler can be made ({problem}): set TORCHINDUCTOR_CACHE_DIR to a folder of yours"
            )
        theirs = hasattr(os, "getuid") and found.st_uid != os.getuid()
        if not stat.S_ISDIR(found.st_mode) or theirs or (os.name == "posix" and found.st_mode & 0o077):
            return (
                f"{folder} must be a folder of your own that nobody else may enter, since compiled code is run from "
                "there: delete it, or set TORCHINDUCTOR_CACHE_DIR to another"
            )
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)  # where Triton's goes too
    return None


def pays(steps: int, params: int, device: torch.device) -> bool:
    """Whether compiling such a training is expected to save more time than it takes."""
    costs = COMPILING.get(device.type, COMPILING["cpu"])
    return steps * (costs.saved + costs.saved_per_parameter * params) > costs.seconds


@contextmanager
def memory_kept() -> Iterator[None]:
    """Memory that large tensors leave is kept for those that come next, where the C library is glibc.

    By itself it gives back to the system what was larger than 32 MiB, and the system clears it, page by page, when it
    is asked for again. Of ResNet-20's activations for 1,000 images, 50 MB each, that took longer than to compute them.
    """
    library = _glibc()
    if library is None:
        yield
        return
    library.mallopt(MMAP_THRESHOLD, 2**30)
    library.mallopt(TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        library.mallopt(MMAP_THRESHOLD, 2**25)  # where it ends up by itself in such a process
        library.mallopt(TRIM_THRESHOLD, 2**26)
        give_back()


def give_back() -> None:
    """Memory that is no longer in use goes back to the system, where the C library is glibc."""
    if library := _glibc():
        library.malloc_trim(ctypes.c_size_t(0))


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if os.name == "posix" else None
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def recurrent_times(model: nn.Module, dataset: Dataset) -> int:
    """The times that recurrent layers take one after the other, of all layers together."""
    taken: list[int] = []
    layers = [module for module in model.modules() if isinstance(module, Layer)]
    handles = [layer.register_forward_pre_hook(lambda _, x: taken.append(x[0].shape[1])) for layer in layers]
    if layers:
        training = model.training
        with torch.no_grad():
            model.eval()(dataset.inputs[:1].to(next(model.parameters())))
        model.train(training)
    for handle in handles:
        handle.remove()
    return sum(taken)


def threads_for(wish: int | str, model: nn.Module, dataset: Dataset, batch_size: int) -> int:
    """The threads that a step of this network gains from."""
    if wish != "auto":
        return int(wish)
    operations = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal operations
        weight = module.get_parameter("weight")
        operations += 6 * weight.numel() * output.numel() // weight.shape[0]  # 2 forward, 4 backward

    maps = [m for m in model.modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)]
    handles = [m.register_forward_hook(count) for m in maps]
    training = model.training
    with torch.no_grad():
        model.eval()(dataset.inputs[:1].float())
    model.train(training)
    for handle in handles:
        handle.remove()
    cores = (os.cpu_count() or 1) // torchrun.local_processes()
    return max(1, cores) if operations * batch_size >= THREADED else 1
