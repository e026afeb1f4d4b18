"""A database that does not answer: the connection is ended after a minute, and whoever waits gets an error.

Where a way swallows bytes without a word (a proxy that hangs, a firewall that forgets), its next machine may go on
acknowledging, so that the system's own limits, which are of acknowledgements, never end the wait.
"""

import contextlib
import os
import socket
import threading
from typing import Any

from bitwright.errors import InputError

ANSWER_SECONDS = 60.0  # for one statement; rows are written in some of a few kilobytes


class Answers:
    """Watches one connection: what is asked is answered in time, or the connection is no more.

    Parameters
    ----------
    connection : a driver's connection
        With the number of its socket (`fileno()`), as psycopg and psycopg2 have it.
    shown : str
        The database's name in messages.
    """

    def __init__(self, connection: Any, shown: str) -> None:
        self._connection, self._shown, self._ended = connection, shown, False
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def asked(self, *_: Any) -> None:
        """Something is asked from now on."""
        timer = threading.Timer(ANSWER_SECONDS, lambda: self._end(timer))
        timer.daemon = True
        with self._lock:
            before, self._timer = self._timer, timer
        if before is not None:
            before.cancel()
        timer.start()

    def heard(self, *_: Any) -> None:
        """There was an answer, or an error."""
        with self._lock:
            before, self._timer = self._timer, None
        if before is not None:
            before.cancel()

    def follow(self, engine: Any) -> None:
        """Watch every statement, and every end of a transaction, of SQLAlchemy's engine that has the connection."""
        from sqlalchemy import event

        for name in ("before_cursor_execute", "commit", "rollback"):
            event.listen(engine, name, self.asked)
        event.listen(engine, "after_cursor_execute", self.heard)
        event.listen(engine, "handle_error", self._failed)
        event.listen(engine.pool, "checkin", self.heard)  # a transaction is at its end

    def _failed(self, *_: Any) -> None:
        """Say what happened where the wait was ended here: the driver takes it for the server's doing."""
        self.heard()
        if self._ended:
            raise InputError(
                f"the store {self._shown} cannot be used: it did not answer within {ANSWER_SECONDS:g} s; what it had "
                "is kept, and the same command goes on from there"
            )

    def _end(self, timer: threading.Timer) -> None:
        with self._lock:
            if self._timer is not timer:  # the answer came just now
                return
            self._ended = True
            with contextlib.suppress(Exception), socket.socket(fileno=os.dup(self._connection.fileno())) as way:
                way.shutdown(socket.SHUT_RDWR)  # what waits for it reads an end
