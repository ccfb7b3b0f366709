"""The root of the library's errors."""


class AasistError(Exception):
    """An error that its message explains: bad input, or a machine that refuses; the message says what to do.

    The command line prints the message alone. Any other exception is a defect and keeps its traceback.
    """
