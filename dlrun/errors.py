"""The one exception that a user's mistake raises, and one kind of it."""


class ConfigError(ValueError):
    """A mistake in what the user asked for, told in one readable message.

    Raised before anything is trained; the command line prints the message alone and exits with 2.
    """


class Unwritable(ConfigError):
    """The folder of a run in which nothing can be written; what its config says may be right."""
