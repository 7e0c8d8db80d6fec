"""The one exception type for mistakes that the user can mend."""

__all__ = ["LongtailError"]


class LongtailError(ValueError):
    """A mistake in input, options or files, told in one line that says what is wrong and what to do.

    The command line prints the message and exits with code 2. In Python it is an ordinary ``ValueError``.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))
