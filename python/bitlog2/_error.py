"""The one exception of the package."""


class Error(Exception):
    """An error that the caller can correct: one line says what is wrong, where, and what to do."""


# The module in which users find the class, also in tracebacks and pickles.
Error.__module__ = "bitlog2"
