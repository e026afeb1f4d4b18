"""Passwords leave the process in no message, command or report, however they are written."""

import json
import re
import shlex
import sys
from urllib.parse import quote, unquote

import pytest
import typer

from bitwright.cli.app import stop
from bitwright.cli.failures import FAILURES
from bitwright.cli.given import command_line
from bitwright.cli.telling import tell
from bitwright.redaction import redacted, redacted_command, redacted_word, secrets_in

PASSWORDS = ["geheim", "gé€heim", *(f"ge{character}heim" for character in " '\"%/:?#@\\"), "ge&x=1heim", "ge?a=bheim"]
AMBIGUOUS = re.compile("[?]a=b|&x=1h")  # a password's or the query's: all of it is hidden
FORMS = (
    "postgresql://me:{}@host/db",
    "postgresql+psycopg://me:{}@host:5432/db?sslmode=require",
    "postgresql://:{}@/db?host=/var/run",
    "--store=postgresql://me:{}@[::1]/db",
    "POSTGRES://me:{}@host/db?user=a@b",
    "--store=mysql://me:{}@host",
)
QUERIES = (
    "postgresql://host/db?password={}",
    "postgresql://me@host/db?user=me&password={}&sslmode=require",
    "--store=postgresql:///db?host=/tmp&PASSWORD={}",
    "postgresql://me@host/db?pass%77ord={}",
    "postgresql://me@host/db?sslpassword={}",
)
WRITTEN = [text for each in PASSWORDS for text in (each, quote(each, safe=""))]


def ways(form):
    """The addresses of a form, except that no query says a & as it is."""
    return [form.format(text) for text in WRITTEN if form in FORMS or "&" not in text]


@pytest.mark.parametrize("form", FORMS + QUERIES)
class TestEveryWay:
    def test_words_and_commands(self, form):
        for word in ways(form):
            for shown in (redacted_word(word), redacted_command(["bitwright", "sweep", "s.yaml", "--store", word])):
                assert "heim" not in shown
                assert "***" in shown
                if not AMBIGUOUS.search(word):
                    assert "host" in shown or "/db" in shown

    def test_what_a_driver_makes_of_it(self, form):
        """Of which it knows only what the secret is: decoded, quoted, escaped, without its address."""
        for word in ways(form):
            secrets = secrets_in(["sweep", "--store", word])
            assert len(secrets) == 1
            secret = secrets[0]
            for said in (secret, unquote(secret), shlex.quote(secret), repr(secret), json.dumps(secret), quote(secret)):
                assert "heim" not in redacted(f"invalid literal for int() with base 10: {said}", secrets)

    def test_what_leaves_the_command(self, form, monkeypatch, capsys):
        for word in ways(form):
            monkeypatch.setattr(FAILURES, "debug", True)
            monkeypatch.setattr(sys, "argv", ["/usr/bin/bitwright", "sweep", "s.yaml", "--store", word])
            assert "heim" not in command_line()
            tell(f"cannot read {word}")
            FAILURES.shown(ConnectionError(f"no route to {word}"))
            with pytest.raises(typer.Exit):
                stop(f"there is no study file {word}", 2)
            told = capsys.readouterr().err
            assert "heim" not in told
            assert told.count("***") >= 3


@pytest.mark.parametrize(
    "text",
    [
        "http://host:80/a@b plain password",
        "postgresql://me@host/db?sslmode=require",
        "postgresql://host:5432/db",
        "--store=sqlite:///a:b/c@d.db",
        "site fc is per-token: 3 scales",
        "tokens: 7",
        "a word",
        "--dask tcp://10.0.0.1:8786",
    ],
)
def test_what_is_no_secret_stays(text):
    assert redacted(text) == text
    assert redacted_word(text) == text
    assert not secrets_in([text])


def test_what_is_called_one():
    assert redacted("mysql://a:b:c@h --token=abc, api_key: xyz") == "mysql://a:***@h --token=*** api_key: ***"
    assert redacted("https://me:pw@host/x@y") == "https://me:***@host/x@y"


def test_short_secrets_hide_no_texts():
    """One letter is a part of every text; where it stands in the command, it is hidden all the same."""
    command = ["sweep", "--store", "postgresql://u:e@host/db"]
    assert redacted("the server ended", secrets_in(command)) == "the server ended"
    assert redacted_command(command) == "sweep --store 'postgresql://u:***@host/db'"
