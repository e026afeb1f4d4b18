"""Words of messages and reports that depend on a number."""


def counted(count: int, noun: str, several: str = "") -> str:
    """A number with its noun, of which `several` is the plural where it is not made by an s.

    Examples
    --------
    >>> counted(1, "window"), counted(4096, "window"), counted(2, "batch", "batches")
    ('1 window', '4,096 windows', '2 batches')
    """
    return f"{count:,} {noun if count == 1 else several or noun + 's'}"
