"""Text that is always there: English prose from the Python language reference, in the standard library.

The module `pydoc_data.topics` holds chapters of the reference; many repeat others' paragraphs, so the parts for
calibration and for tests are told apart by sentence, not by chapter. Which chapters test is our choice; they are
four that every Python has, about a third of the prose. The text differs a little between versions of Python.
"""

import functools
import re

TEST_TOPICS = frozenset({"compound", "debugger", "formatstrings", "string-methods"})

_SHORTEST_PARAGRAPH = 8  # words; shorter ones are headings and list items
_PROSE_CHARACTERS = re.compile(r"[^\W\d_]|[ ,.;:()'\"\u2018\u2019\u201c\u201d-]")
_PROSE_SHARE = 0.93  # of a paragraph's characters; code, grammars and tables have fewer
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_SENTENCE_WORDS = range(5, 61)


@functools.cache
def paragraphs(*, test: bool) -> tuple[str, ...]:
    """Paragraphs on one line each, none twice; no sentence is in both the test part and the calibration part."""
    from pydoc_data.topics import topics

    chosen = [_prose_of(topics[name]) for name in sorted(topics) if (name in TEST_TOPICS) == test]
    found = dict.fromkeys(paragraph for chapter in chosen for paragraph in chapter)
    if test:
        return tuple(found)
    tested = {sentence for paragraph in paragraphs(test=True) for sentence in _split(paragraph)}
    return tuple(paragraph for paragraph in found if tested.isdisjoint(_split(paragraph)))


@functools.cache
def sentences(*, test: bool) -> tuple[str, ...]:
    """Sentences of 5 to 60 words, none twice."""
    return tuple(_first_of(test=test))


def paragraphs_of(*, test: bool) -> tuple[int, ...]:
    """The number of the paragraph that each of `sentences` is first in."""
    return tuple(_first_of(test=test).values())


@functools.cache
def _first_of(*, test: bool) -> dict[str, int]:
    """Sentence -> number of the first paragraph that has it."""
    found: dict[str, int] = {}
    for number, paragraph in enumerate(paragraphs(test=test)):
        for sentence in _split(paragraph):
            if len(sentence.split()) in _SENTENCE_WORDS:
                found.setdefault(sentence, number)
    return found


def _split(paragraph: str) -> list[str]:
    return _SENTENCE_END.split(paragraph)


def _prose_of(chapter: str) -> list[str]:
    """The paragraphs of a chapter that are running text."""
    blocks = (re.sub(r"(?<=\w)-\n\s*", "-", block) for block in re.split(r"\n\s*\n", chapter))
    return [paragraph for block in blocks if _is_prose(paragraph := " ".join(block.split()))]


def _is_prose(paragraph: str) -> bool:
    if len(paragraph.split()) < _SHORTEST_PARAGRAPH or not paragraph[0].isupper():
        return False
    return len(_PROSE_CHARACTERS.findall(paragraph)) >= _PROSE_SHARE * len(paragraph)
