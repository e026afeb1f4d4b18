"""What is left out of everything that is printed or kept: passwords in addresses, and what is called one.

Texts are redacted by how secrets are written (`user:PASSWORD@host`, `password=PASSWORD`), and, where the words of the
command are known, by what the secrets are: a driver's message may quote a part of an address in a way of its own.
"""

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote, quote_plus, unquote, unquote_plus

HIDDEN = "***"
SHORTEST = 3  # characters of a secret that is looked for by itself: shorter ones are parts of any text
NAMES = (
    r"(?:[\w-]*(?:password|passwd|pwd|passphrase|secret|api_?key)"
    r"|(?:[\w-]*(?:auth|access|bearer|api|hf)[_-]?)?token)"  # `per-token: 3 scales` is no secret
)
SCHEME = re.compile(r"[A-Za-z][\w+.-]*://")
DATABASE = re.compile(r"(?i)postgres|mysql|mariadb|oracle|mssql|redis")
PARAMETER = re.compile(r"[?&][\w%.-]+=")
NAMED = re.compile(rf"(?i)((?<![\w-])-{{0,2}}{NAMES})(=|:\s*|%3D)[^&\s'\"]+")
NAME = re.compile(rf"(?i){NAMES}")


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """A text without passwords.

    Parameters
    ----------
    secrets : iterable of str
        Further ones, by what they are, as `secrets_in` finds them.

    Examples
    --------
    >>> redacted("--store postgresql://me:pw@host/db?password=pw&ssl=1")
    '--store postgresql://me:***@host/db?password=***&ssl=1'
    """
    for secret in sorted({form for each in secrets for form in _forms(each)}, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = re.sub(rf"{SCHEME.pattern}\S+", lambda address: _hidden(address[0]), text)
    return NAMED.sub(rf"\1\2{HIDDEN}", text)


def redacted_word(word: str) -> str:
    """One word of a command line without passwords, whatever characters these have.

    Examples
    --------
    >>> redacted_word("--store=postgresql://me:a b@c/d@host/db?x=1&pass%77ord=e f")
    '--store=postgresql://me:***@host/db?x=1&pass%77ord=***'
    """
    return redacted(_hidden(word))


def redacted_command(words: Sequence[str]) -> str:
    """A command as a shell takes it, without passwords."""
    return shlex.join(map(redacted_word, words))


def secrets_in(words: Iterable[str]) -> tuple[str, ...]:
    """The passwords that stand in words of a command line, as they are written there."""
    return tuple(word[start:end] for word in words for start, end in _spans(word) if end > start)


def _hidden(word: str) -> str:
    for start, end in reversed(_spans(word)):
        word = f"{word[:start]}{HIDDEN}{word[end:]}"
    return word


def _spans(word: str) -> list[tuple[int, int]]:
    """From where to where the passwords of a word stand, in order: that of its address, and those of its query."""
    scheme = SCHEME.search(word)
    if scheme is None:
        return []
    begin, spans = scheme.end(), []
    user, at, in_query = word.find(":", begin), *_end_of_user(word, scheme)
    named = 0 <= user < at and "/" not in word[begin:user]
    if named:
        spans.append((user + 1, len(word) if in_query else at))
    if not (named and in_query):
        query = word.find("?", at if named else begin)
        spans += _of_query(word, query + 1) if query >= 0 else []
    return spans


def _end_of_user(word: str, scheme: re.Match[str]) -> tuple[int, bool]:
    """Where the @ stands before the host, and whether it may be one of the query's.

    A database's password may have any characters, others end at a slash.
    """
    begin = scheme.end()
    if not DATABASE.match(scheme[0]):
        slash = word.find("/", begin)
        return word.rfind("@", begin, slash if slash >= 0 else len(word)), False
    parameters = [begin + found.start() for found in PARAMETER.finditer(word[begin:])]
    for parameter in parameters:
        at = word.rfind("@", begin, parameter)
        if at >= 0:
            return at, parameter != parameters[0]
    return word.rfind("@", begin), bool(parameters)


def _of_query(word: str, start: int) -> Iterator[tuple[int, int]]:
    for part in word[start:].split("&"):
        key, equals, _ = part.partition("=")
        if equals and NAME.fullmatch(unquote(key)):
            yield start + len(key) + 1, start + len(part)
        start += len(part) + 1


def _forms(secret: str) -> set[str]:
    """How a secret may stand in a text: as it was written, decoded, and in the quotes of several languages."""
    plain = {secret, unquote(secret), unquote_plus(secret)}
    quoted = {f(each) for each in plain for f in (quote, quote_plus, shlex.quote)}
    escaped = {f(each)[1:-1] for each in plain for f in (json.dumps, repr)}
    return {each for each in plain | quoted | escaped if len(each) >= SHORTEST}
