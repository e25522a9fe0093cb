"""The one exception that a user's mistake raises."""


class ConfigError(ValueError):
    """A mistake in what the user asked for, told in one readable message.

    Raised before anything is trained; the command line prints the message alone and exits with 2.
    """
