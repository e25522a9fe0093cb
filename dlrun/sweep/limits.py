"""How many files a process may have open, which bounds the runs of a stack."""

from __future__ import annotations

MOST = 65536  #: as many as are asked for; some libraries look through all that there could be
RESERVED = 100  #: open in a worker beside those of its runs


def open_files() -> int:
    """The limit of this process and of those that it starts, once it is raised as far as the system lets users."""
    try:
        import resource
    except ImportError:  # a system without such limits
        return MOST
    soft, hard = (MOST if n == resource.RLIM_INFINITY else n for n in resource.getrlimit(resource.RLIMIT_NOFILE))
    wanted = min(hard, MOST)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return max(soft, wanted)


def stacked_runs() -> int:
    """The runs of a stack at most: for each, its worker keeps two files open, the lock and metrics.csv."""
    return max(1, (open_files() - RESERVED) // 2)
