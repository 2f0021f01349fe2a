"""Apache Spark: statements over Parquet files, on a cluster or on whatever speaks Spark Connect (Sail, say).

`spark://host:port` has this process as the driver of a standalone cluster: the whole of Spark and Java must be here.
`sc://host:port` is a client of a Spark Connect server: no Java, and a library of 10 MB. Spark reads the files that it is
told of as plain Parquet; it needs no Delta library. Nothing here knows what a row means.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import msgspec
import pyarrow as pa

from commonroom.problems import Problem, add_codes

add_codes(
    {
        "CR-280": "The analysis cluster gave no answer",
        "CR-281": "The analysis cluster's library is not installed",
        "CR-282": "The analysis cluster does not find the files",
    }
)

CONNECT = "sc://"
_APPLICATION = "Common Room"
# What the answers depend on, whatever the cluster's own defaults are.
_SESSION = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    # A whole number that grows too large is an error, never a wrong number.
    "spark.sql.ansi.enabled": "true",
    # The facts of a day look small enough to be sent to every executor, and then are not.
    "spark.sql.autoBroadcastJoinThreshold": str(1024 * 1024),
    # The files are named one by one: there is nothing to discover, least of all by a job of its own.
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "1000",
}
# Web pages without a sign-in, and bars on the terminal, are for the operator to want.
_DRIVER = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false"}
_TYPES = {
    pa.string(): "STRING",
    pa.date32(): "DATE",
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int64(): "BIGINT",
    pa.timestamp("us"): "TIMESTAMP_NTZ",
}
# Spark takes the others in a path for a pattern, Sail takes % for an escape.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9:/._=@+,~-]+")
_COUNTED = "rows_of_the_answer"
_CONNECT_SECONDS = 5.0
# Together some 4 seconds, longer than a connection that was refused once is not tried again; the library's own are ten
# minutes.
_CONNECT_RETRIES = 4
_INTERRUPT_SECONDS = 0.2
# A process has one driver, whoever asks; the sessions on it are apart.
_driver = threading.Lock()


class Parquet(msgspec.Struct, frozen=True):
    """Rows of Parquet files, named by URI. Columns of the schema that a file lacks are null in its rows."""

    files: tuple[str, ...]
    schema: Any
    columns: tuple[str, ...]
    where: str  # ours, never a user's


class Spark:
    """A session, opened at the first statement and again after a failure. Safe to use from several threads."""

    def __init__(self, address: str, seconds: float) -> None:
        self._address, self._seconds = address, seconds
        self._session: Any = None
        self._lock = threading.Lock()

    def query(
        self, statement: str, files: Mapping[str, Parquet], tables: Mapping[str, pa.Table]
    ) -> list[dict[str, Any]]:
        """Rows of a statement that may name `files` and `tables`, in no order.

        Raises Problem CR-280 when the cluster cannot be reached, fails or takes too long, CR-281, CR-282.
        """
        for relation in files.values():
            _check_paths(relation)
        session = self._connected()
        with self._watched(session), _views(session, files, tables) as relations:
            named = ", ".join(f"{name} AS ({text})" for name, text in relations.items())
            counted = f"SELECT *, count(*) OVER () AS {_COUNTED} FROM ({statement}) AS answer"  # noqa: S608
            return whole(session.sql(f"WITH {named} {counted}").toArrow())

    def close(self) -> None:
        """End the session. A driver stays for as long as its process, which others may share."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None and self._is_client:
            # The server forgets the session by itself in any case.
            with contextlib.suppress(Exception):
                session.stop()

    @property
    def _is_client(self) -> bool:
        return self._address.startswith(CONNECT)

    def _connected(self) -> Any:
        with self._lock:
            if self._session is None:
                _check_reachable(self._address)
                opened = _client if self._is_client else _on_driver
                try:
                    self._session = opened(self._address)
                except ImportError as error:
                    raise _not_installed(self._address) from error
                except Problem:
                    raise
                except Exception as error:
                    raise _no_answer(error) from error
            return self._session

    @contextlib.contextmanager
    def _watched(self, session: Any) -> Iterator[None]:
        """Failures as problems; after one the next statement has a new session. What takes too long is interrupted."""
        name = f"statement-{uuid4().hex}"  # other threads' statements in the same session go on
        done, late = threading.Event(), threading.Event()

        def interrupt() -> None:
            if done.wait(self._seconds):
                return
            late.set()
            # Again and again: what has not begun yet cannot be interrupted, and begins later.
            while not done.wait(_INTERRUPT_SECONDS):
                with contextlib.suppress(Exception):
                    session.interruptTag(name) if self._is_client else session.sparkContext.cancelJobGroup(
                        name
                    )

        if self._is_client:
            session.clearTags()
            session.addTag(name)
        else:
            # A driver's tags do not reach statements that are answered in Arrow.
            session.sparkContext.setJobGroup(name, _APPLICATION, interruptOnCancel=True)
        threading.Thread(target=interrupt, daemon=True).start()
        try:
            yield
        except Problem:
            raise
        except Exception as error:
            # Not ended: others may be at work in it. A server forgets sessions that nobody uses.
            with self._lock:
                if self._session is session:
                    self._session = None
            raise _no_answer(error, self._seconds if late.is_set() else None) from error
        finally:
            done.set()


def whole(answer: pa.Table) -> list[dict[str, Any]]:
    """The rows of an answer that says with each how many there are: a stream that ends early looks like any other.

    Raises Problem CR-280 where some are missing. Where all are missing nothing tells.
    """
    if answer.num_rows and answer.column(_COUNTED)[0].as_py() != answer.num_rows:
        raise _no_answer(EOFError())
    rows: list[dict[str, Any]] = answer.drop_columns([_COUNTED]).to_pylist()
    return rows


def _client(address: str) -> Any:
    from pyspark.sql.connect.client.retries import DefaultPolicy
    from pyspark.sql.connect.session import SparkSession

    session = SparkSession.builder.remote(address).create()
    session.client.set_retry_policies([DefaultPolicy(max_retries=_CONNECT_RETRIES)])
    # Questions can be asked again. What takes a lost answer up again has threads for the whole process, which wait for one
    # another for ever when a server dies.
    session.client.disable_reattachable_execute()
    for name, value in _SESSION.items():
        session.conf.set(name, value)
    return session


def _on_driver(address: str) -> Any:
    """A session of its own on the process's driver, which is started when there is none that works."""
    from pyspark.util import is_remote_only

    if is_remote_only():
        raise ImportError("only Spark's client is installed")
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    with _driver:
        context = SparkContext._active_spark_context
        if context is not None and context._jsc is not None and context._jsc.sc().isStopped():
            # The cluster gave the application up; nobody told this side.
            context.stop()
            context = None
        builder = SparkSession.builder.master(address).appName(_APPLICATION)
        if context is None:
            for name, value in {**_DRIVER, **_SESSION}.items():
                builder = builder.config(name, value)
        session = builder.getOrCreate().newSession()
    for name, value in _SESSION.items():
        session.conf.set(name, value)
    return session


@contextlib.contextmanager
def _views(
    session: Any, files: Mapping[str, Parquet], tables: Mapping[str, pa.Table]
) -> Iterator[dict[str, str]]:
    """The relations as SQL, over views under names that no other statement of the session has."""
    own = f"view_{uuid4().hex}"
    frames = {name: _frame(session, one) for name, one in files.items()}
    frames |= {name: _given(session, table) for name, table in tables.items()}
    for name, frame in frames.items():
        frame.createOrReplaceTempView(f"{own}_{name}")
    yield {
        name: f"SELECT {', '.join(map(_name, files[name].columns))} FROM {own}_{name} WHERE {files[name].where}"  # noqa: S608
        if name in files
        else f"SELECT * FROM {own}_{name}"  # noqa: S608
        for name in frames
    }
    # After a failure the session is left with all that is in it.
    for name in frames:
        session.catalog.dropTempView(f"{own}_{name}")


def _given(session: Any, table: pa.Table) -> Any:
    """The rows of a table of ours. Of one without any a server would not know the columns."""
    return (
        session.createDataFrame(table) if table.num_rows else session.createDataFrame([], _ddl(table.schema))
    )


def _frame(session: Any, files: Parquet) -> Any:
    """The rows of all the files. Sail leaves out those that are not there: a wrong figure, and nobody would know."""
    if not files.files:
        return session.createDataFrame([], _ddl(files.schema))
    try:
        frame = session.read.schema(_ddl(files.schema)).parquet(*files.files)
        found = len(frame.inputFiles())
    except Exception as error:
        if _condition(error) == "PATH_NOT_FOUND":
            raise _not_there(1) from error
        raise
    if found != len(files.files):
        raise _not_there(len(files.files) - found)
    return frame


def _not_there(missing: int) -> Problem:
    return Problem(
        "CR-282",
        f"{missing} or more files of the warehouse are not where the cluster looks",
        status=503,
        remedy="Set `analytics_folder` to the URI under which every machine of the cluster sees the warehouse folder.",
    )


def _ddl(schema: pa.Schema) -> str:
    return ", ".join(f"{_name(field.name)} {_TYPES[field.type]}" for field in schema)


def _name(column: str) -> str:
    return f"`{column}`"


def _check_paths(relation: Parquet) -> None:
    for path in relation.files:
        if not _PLAIN_PATH.fullmatch(path):
            raise Problem(
                "CR-282",
                "the path of the warehouse has characters that Spark takes for a pattern",
                status=500,
                remedy="Set `analytics_folder` to a path of letters, digits and ._-/ (a link to the folder, say).",
            )


def _check_reachable(address: str) -> None:
    """One of the servers answers at all: the libraries would try for minutes."""
    places = re.sub(r"^[a-z]+://|/.*$", "", address).split(",")
    for place in places:
        host, _, port = place.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
        except OSError as error:
            failure = error
        else:
            return
    raise _no_answer(failure)


def _no_answer(error: BaseException, seconds: float | None = None) -> Problem:
    """What went wrong, by its kind: the text of a Spark error may hold values of the data."""
    what = " ".join(filter(None, (type(error).__name__, _condition(error))))
    return Problem(
        "CR-280",
        f"it took longer than {seconds:g} seconds" if seconds else f"it failed: {what}",
        status=504 if seconds else 503,
        remedy="See that the address in `analytics` is that of a running cluster with free cores, and its log.",
    )


def _condition(error: BaseException) -> str | None:
    """Spark's name of the error."""
    name = getattr(error, "getCondition", lambda: None)()
    return str(name) if name else None


def _not_installed(address: str) -> Problem:
    extra = "spark-connect" if address.startswith(CONNECT) else "spark"
    return Problem(
        "CR-281",
        f"`analytics` asks for {address.partition('://')[0]}://",
        status=503,
        remedy=f"Install commonroom[server,{extra}]{'' if extra == 'spark-connect' else ' and Java 17 or 21'}.",
    )
