"""The one exception that a user's mistake raises, one kind of it, and how others are told."""


class ConfigError(ValueError):
    """A mistake in what the user asked for, told in one readable message.

    Raised before anything is trained; the command line prints the message alone and exits with 2.
    """


class Unwritable(ConfigError):
    """The folder of a run in which nothing can be written; what its config says may be right."""


def out_of_memory(problem: BaseException) -> bool:
    """Whether the machine, or a GPU, has too little memory for what was asked."""
    return isinstance(problem, MemoryError) or any(
        sign in f"{type(problem).__name__}: {problem}" for sign in ("OutOfMemoryError", "can't allocate memory")
    )


def reason(problem: BaseException) -> str:
    """What to say of an exception that nobody expected."""
    if out_of_memory(problem):
        said = str(problem).partition("can't allocate memory: ")[2].partition(".")[0] or str(problem)
        return f"there is too little memory{f' ({said})' if said else ''}"
    return repr(problem)
