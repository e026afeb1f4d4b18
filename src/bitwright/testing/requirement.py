"""How the kits complain: an AssertionError with a sentence, also under `python -O`, which drops assert statements."""


def require(condition: object, otherwise: str) -> None:
    """Raise AssertionError(`otherwise`) unless `condition` holds."""
    if not condition:
        raise AssertionError(otherwise)
