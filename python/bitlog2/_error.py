"""The one exception of the package."""


class Error(Exception):
    """Something that a caller can mend, in one line that says what, where and what to do."""


# Where users find it, also in tracebacks and pickles.
Error.__module__ = "bitlog2"
