"""A PostgreSQL server of the tests' own, in a temporary folder, and a proxy in front of it; Debian's package has it."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

PASSWORD = "ge heim/%@"  # noqa: S105 - which addresses write as %-codes
WRITTEN = "ge%20heim%2F%25%40"
SECONDS = 120


def programs():
    """The folder of initdb and postgres, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def free_port():
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


class Server:
    """A server with one user, `me`, who has a password."""

    def __init__(self, folder):
        self.programs, self.folder, self.port = programs(), Path(folder), free_port()
        self.user = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
        self.process = None
        if self.user:
            shutil.chown(self.folder, self.user, self.user)
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        options = ("-D", f"{self.folder}/data", "-U", "me", "-A", "scram-sha-256", f"--pwfile={secret}", "--no-sync")
        self._program("initdb", *options, "--no-instructions", "--locale=C", "--encoding=UTF8").wait(SECONDS)

    def _program(self, name, *arguments):
        as_user = {"user": self.user, "group": self.user, "extra_groups": []} if self.user else {}
        with (self.folder / "log").open("a") as log:
            return subprocess.Popen(
                [self.programs / name, *arguments], cwd=self.folder, stdout=log, stderr=log, **as_user
            )

    def start(self):
        """Start, and wait until it answers."""
        settings = {"fsync": "off", "shared_buffers": "16MB", "unix_socket_directories": str(self.folder)}
        settings |= {"listen_addresses": "127.0.0.1", "port": str(self.port), "max_connections": "20"}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self.process = self._program("postgres", "-D", f"{self.folder}/data", *words)
        deadline = time.monotonic() + SECONDS
        while True:
            with contextlib.suppress(OSError):
                self.ask("SELECT 1")
                return
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def kill(self):
        """End as a crash would: nothing is finished, nothing flushed, all connections are gone."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(SECONDS)

    def restart(self):
        self.kill()
        self.start()

    def address(self, port=None, database="postgres"):
        return f"postgresql://me:{WRITTEN}@127.0.0.1:{port or self.port}/{database}"

    def ask(self, statement, *values):
        """The rows that a statement gives, by a connection of its own."""
        import psycopg

        try:
            with psycopg.connect(
                host="127.0.0.1", port=self.port, user="me", password=PASSWORD, dbname="postgres", autocommit=True
            ) as connection:
                found = connection.execute(statement, values)
                return found.fetchall() if found.description else []
        except psycopg.OperationalError as error:
            raise OSError(str(error)) from None

    def holders(self):
        """Processes of the server that hold a lock of a sweep."""
        return [pid for (pid,) in self.ask("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted")]

    def trials(self, study):
        """Numbers of the trials of a study, as SQL has them."""
        found = self.ask(
            "SELECT (a.value_json::json ->> 'trial')::int FROM trial_user_attributes a JOIN trials USING (trial_id)"
            " JOIN studies USING (study_id) WHERE study_name = %s AND a.key = 'bitwright_row'",
            study,
        )
        return sorted(number for (number,) in found)


@contextlib.contextmanager
def serving():
    """A server that runs, until the end."""
    with tempfile.TemporaryDirectory(prefix="bitwright-postgresql-") as folder:
        Path(folder).chmod(0o755)
        server = Server(folder)
        server.start()
        try:
            yield server
        finally:
            server.kill()


class Proxy:
    """Hands bytes on to a port, until it cuts all connections, or goes silent: it takes bytes, and nobody gets them."""

    def __init__(self, port):
        self.to, self.pairs = port, []
        self.swallows = set()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listening.accept()
                far = socket.create_connection(("127.0.0.1", self.to))
                self.pairs += [near, far]
                for what, source, sink in (("questions", near, far), ("answers", far, near)):
                    threading.Thread(target=self._pump, args=(what, source, sink), daemon=True).start()

    def _pump(self, what, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if what not in self.swallows:
                    sink.sendall(data)
            if what in self.swallows:
                return
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def cut(self):
        for each in self.pairs:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self.pairs.clear()

    def close(self):
        self.cut()
        self.listening.close()
