"""How far a stage of work is: what, done of how many, elapsed, and left where that can be said.

What a stage says in parentheses may change while it goes on; it stays the same stage, whose clock goes on. What is left
follows from this stage's own pace, over all its units and over the later half of them: where the two disagree, units
are too uneven to tell, and nothing is said. Between reports what was left then runs down; when it has run out, nothing
is said either, so that it never counts up.
"""

import dataclasses

EVEN = 1.6  # what is left by all units and by the later half, one by the other, up to which it is said; our choice
FEWEST = 3  # reports of units done before anything is said of what is left


@dataclasses.dataclass
class Stage:
    """A stage as it stands.

    Attributes
    ----------
    text : str
        What is going on.
    done, total : int
        Units; a `total` of 0 is unknown.
    began : float
        When, in seconds of some clock.
    marks : list of (float, int)
        When how many were done, since units of this total are counted.
    """

    text: str
    began: float
    done: int = 0
    total: int = 0
    marks: list[tuple[float, int]] = dataclasses.field(default_factory=list)

    @property
    def kind(self) -> str:
        """The text without what changes while it goes on."""
        return kind(self.text)

    def report(self, text: str, done: int, total: int, now: float) -> None:
        """Take in how far it is."""
        if total != self.total or done < self.done:
            self.marks = [(now, done)]
        elif not self.marks or done > self.marks[-1][1]:
            self.marks.append((now, done))
        self.text, self.done, self.total = text, done, total

    def left(self, now: float) -> float | None:
        """Seconds that are left; None where that cannot be said.

        Examples
        --------
        >>> stage = Stage(text="reading", began=0.0)
        >>> for second in range(5):
        ...     stage.report("reading", second, 10, float(second))
        >>> stage.left(4.5)
        5.5
        """
        if len(self.marks) <= FEWEST or not self.total or self.done >= self.total:
            return None
        last, done = self.marks[-1]
        paces = []
        for start, at in (self.marks[0], self.marks[len(self.marks) // 2]):
            paces.append((last - start) / max(done - at, 1))
        if not 0 < max(paces) <= EVEN * min(paces):
            return None
        left = last + paces[0] * (self.total - done) - now
        return left if left > 0 else None

    def figures(self, now: float) -> str:
        """`3 of 8, 0:14 elapsed, about 0:23 left`."""
        left = self.left(now)
        parts = [
            f"{self.done:,} of {self.total:,}" if self.total else "",
            f"{clock(now - self.began)} elapsed",
            f"about {clock(left)} left" if left is not None else "",
        ]
        return ", ".join(part for part in parts if part)


def kind(text: str) -> str:
    """A stage's text without what stands in parentheses."""
    return text.partition(" (")[0]


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are some.

    Examples
    --------
    >>> clock(9.6), clock(75), clock(3675)
    ('0:10', '1:15', '1:01:15')
    """
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
