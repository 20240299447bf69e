"""Checks of psycopg 3. Usage: check_psycopg.py CHECK URL. What it prints is compared."""

import datetime
import decimal
import logging
import sys
import threading
import uuid

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

# It warns of an aborted pipeline, or not, by when the answers come.
logging.getLogger("psycopg").setLevel(logging.CRITICAL)

URL = sys.argv[2]


def connect(**kwargs):
    return psycopg.connect(URL, connect_timeout=20, **kwargs)


def names(conn):
    return [row[0] for row in conn.execute("SELECT name FROM author ORDER BY name")]


def add(conn, name):
    conn.execute("INSERT INTO author (name) VALUES (%s)", [name])


def told(error):
    """An error as far as it is the same at every server."""
    return f"{type(error).__name__} {error.sqlstate} {error.diag.message_primary}"


def rows_and_types():
    with connect() as conn:
        values = [1, 2**40, 1.5, decimal.Decimal("1.10"), "text", b"\x00\xff", True, None, [1, 2],
                  Jsonb({"a": [1, None]}), datetime.date(2020, 2, 29), datetime.timedelta(hours=3),
                  datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc), uuid.UUID(int=7)]
        for binary in (False, True):
            cur = conn.cursor(binary=binary)
            cur.execute("SELECT " + ", ".join(["%s"] * len(values)), values)
            print(cur.fetchone(), [column.type_code for column in cur.description])
        cur = conn.cursor(row_factory=dict_row)
        print(cur.execute("SELECT * FROM book WHERE author_id = %(a)s ORDER BY id", {"a": 2}).fetchall())
        cur.executemany("INSERT INTO author (name) VALUES (%s) RETURNING name", [("A",), ("B",)], returning=True)
        print(cur.fetchone(), cur.nextset(), cur.fetchone(), cur.rowcount)


def commit_and_rollback():
    conn = connect()
    print(conn.info.transaction_status.name)
    add(conn, "A")
    print(conn.info.transaction_status.name)
    conn.rollback()
    add(conn, "B")
    conn.commit()
    try:
        conn.execute("SELECT 1/0")
    except psycopg.Error as error:
        print(told(error), conn.info.transaction_status.name)
    try:
        conn.execute("SELECT 1")
    except psycopg.Error as error:
        print(told(error))
    conn.rollback()
    print(conn.info.transaction_status.name, names(conn))
    add(conn, "left open")
    conn.close()
    with connect() as conn:
        print(names(conn))
    try:
        with connect() as conn:
            add(conn, "of a block that fails")
            raise ValueError
    except ValueError:
        pass
    with connect() as conn:
        print(names(conn))


def autocommit():
    with connect(autocommit=True) as conn:
        add(conn, "A")
        for statement in ("SELECT 1/0", "INSERT INTO author (name) VALUES ('A')", "SELECT nowhere"):
            try:
                conn.execute(statement)
            except psycopg.Error as error:
                print(told(error), conn.info.transaction_status.name)
        add(conn, "B")
        print(names(conn))
        conn.execute("BEGIN")
        add(conn, "C")
        print(conn.info.transaction_status.name)
        conn.execute("ROLLBACK")
        print(conn.info.transaction_status.name, names(conn))


def transaction_blocks():
    with connect(autocommit=True) as conn:
        with conn.transaction():
            add(conn, "A")
            try:
                with conn.transaction():
                    add(conn, "B")
                    conn.execute("SELECT 1/0")
            except psycopg.Error as error:
                print(told(error), conn.info.transaction_status.name)
            with conn.transaction("named") as tx:
                add(conn, "C")
                print(tx.savepoint_name)
                with conn.transaction(force_rollback=True):
                    add(conn, "D")
            with conn.transaction() as tx:
                add(conn, "E")
                raise psycopg.Rollback(tx)
        print(names(conn))
    with connect() as conn:
        with conn.transaction():
            add(conn, "F")
        print(conn.info.transaction_status.name, names(conn))


def isolation_levels():
    with connect() as conn:
        for level in psycopg.IsolationLevel:
            conn.isolation_level = level
            # What is shown differs in the sandbox, as the guide says; that it is granted does not.
            print(level.name, len(conn.execute("SHOW transaction_isolation").fetchone()))
            conn.rollback()
        conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        conn.read_only = True
        conn.deferrable = True
        try:
            add(conn, "A")
        except psycopg.Error as error:
            print(told(error))
        conn.rollback()
        conn.isolation_level = conn.read_only = conn.deferrable = None
        add(conn, "B")
        conn.commit()
        print(names(conn))


def prepared_statements():
    with connect(autocommit=True) as conn, connect(autocommit=True) as other:
        conn.prepare_threshold = 2
        for n in range(6):
            print(conn.execute("SELECT title FROM book WHERE id = %s", [n]).fetchall())
        # Both call their statement by the same name.
        for _ in range(2):
            print(conn.execute("SELECT 'the first''s'", prepare=True).fetchone())
            print(other.execute("SELECT 'the other''s'", prepare=True).fetchone())
        print(conn.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT title%'").fetchone())
        conn.execute("CREATE TABLE changing (a int)")
        for _ in range(3):
            conn.execute("SELECT * FROM changing", prepare=True)
        conn.execute("ALTER TABLE changing ADD b text")
        try:
            print(conn.execute("SELECT * FROM changing", prepare=True).fetchall())
        except psycopg.Error as error:
            print(told(error))
        conn.execute("DEALLOCATE ALL")
        print(conn.execute("SELECT 'after'", prepare=True).fetchone())
        conn.prepared_max = 3
        for n in range(20):
            conn.execute(f"SELECT {n}", prepare=True)
        print(other.execute("SELECT 'the other''s'", prepare=True).fetchone())


def prepared_in_a_transaction():
    with connect() as conn:
        conn.prepare_threshold = 0
        with conn.transaction():
            print(conn.execute("SELECT %s::int + 1", [1]).fetchone())
            try:
                with conn.transaction():
                    conn.execute("SELECT 1 / %s::int", [0])
            except psycopg.Error as error:
                print(told(error))
            print(conn.execute("SELECT %s::int + 1", [2]).fetchone())
        conn.execute("SELECT %s::text || 'x'", ["a"])
        conn.rollback()
        # Preparing is not undone by a rollback.
        print(conn.execute("SELECT %s::text || 'x'", ["b"]).fetchone())


def pipeline():
    with connect(autocommit=True) as conn:
        with conn.pipeline() as p:
            a = conn.execute("SELECT 1")
            b = conn.execute("INSERT INTO author (name) VALUES ('A') RETURNING name")
            c = conn.cursor()
            c.executemany("INSERT INTO author (name) VALUES (%s)", [(f"many {n}",) for n in range(500)])
            print(a.fetchone(), b.fetchone())
            p.sync()
            conn.execute("SELECT 2")
        print(conn.execute("SELECT count(*) FROM author").fetchone())

        # What stands before an error in the same sync is undone with it.
        try:
            with conn.pipeline():
                conn.execute("INSERT INTO author (name) VALUES ('before')")
                conn.execute("SELECT 1/0")
                conn.execute("INSERT INTO author (name) VALUES ('behind')")
        except psycopg.Error as error:
            print(told(error))
        print("before" in names(conn), "behind" in names(conn))

        with conn.pipeline() as p:
            conn.execute("INSERT INTO author (name) VALUES ('first sync')")
            p.sync()
            try:
                conn.execute("SELECT nowhere")
                p.sync()
            except psycopg.Error as error:
                print(told(error))
            conn.execute("INSERT INTO author (name) VALUES ('third sync')")
        print("first sync" in names(conn), "third sync" in names(conn))

        with conn.pipeline(), conn.transaction():
            add(conn, "in a transaction")
            with conn.transaction():
                add(conn, "in a nested one")
        try:
            with conn.pipeline(), conn.transaction():
                add(conn, "of a failed one")
                conn.execute("SELECT 1/0")
        except psycopg.Error as error:
            print(told(error))
        print(conn.info.transaction_status.name, [name for name in names(conn) if name.startswith(("in", "of"))])


def copy():
    with connect() as conn:
        cur = conn.cursor()
        with cur.copy("COPY author (id, name) FROM STDIN") as copy:
            for n in range(1000, 2000):
                copy.write_row((n, f"author {n}"))
        print(cur.rowcount)
        with cur.copy("COPY author (id, name) FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "text"])
            copy.write_row((5000, "binary"))
        with cur.copy("COPY (SELECT * FROM author WHERE id > 1995 ORDER BY id) TO STDOUT") as copy:
            print(list(copy.rows()))
        with cur.copy("COPY (SELECT n, repeat('x', 100) FROM generate_series(1, 50000) n) TO STDOUT (FORMAT binary)") as copy:
            print(sum(len(data) for data in copy))
        conn.commit()
        try:
            with cur.copy("COPY author (id, name) FROM STDIN") as copy:
                copy.write_row((6000, "never"))
                raise ValueError("the client gives up")
        except ValueError as error:
            print(error, conn.info.transaction_status.name)
        conn.rollback()
        try:
            with cur.copy("COPY author (id, name) FROM STDIN") as copy:
                copy.write_row((1, "taken"))
        except psycopg.Error as error:
            print(told(error))
        conn.rollback()
        # Left before its end: the driver cancels it.
        try:
            with cur.copy("COPY (SELECT n FROM generate_series(1, 10000000) n) TO STDOUT") as copy:
                print(copy.read_row())
                raise ValueError("the client gives up")
        except ValueError as error:
            print(error, conn.info.transaction_status.name)
        conn.rollback()
        print(cur.execute("SELECT count(*) FROM author").fetchone())


def server_side_cursor():
    with connect() as conn:
        with conn.cursor("portion") as cur:
            cur.itersize = 100
            cur.execute("SELECT n FROM generate_series(1, 1000) n")
            print(sum(row[0] for row in cur))
        with conn.cursor("scrolls", scrollable=True) as cur:
            cur.execute("SELECT title FROM book ORDER BY id")
            print(cur.fetchone())
            cur.scroll(1)
            print(cur.fetchall())
            cur.scroll(0, mode="absolute")
            print(cur.fetchmany(2))
        held = conn.cursor("held", withhold=True)
        held.execute("SELECT n FROM generate_series(1, 5) n")
        print(held.fetchmany(2))
        conn.commit()
        print(held.fetchall())
        held.close()
        with conn.cursor("one") as one, conn.cursor("two") as two:
            one.execute("SELECT 1")
            two.execute("SELECT 2")
            print(one.fetchone(), two.fetchone())
        for row in conn.cursor().stream("SELECT n FROM generate_series(1, 3) n"):
            print(row)


def notifies():
    with connect(autocommit=True) as listener, connect(autocommit=True) as sender:
        listener.execute("LISTEN news")
        sender.execute("NOTIFY news, 'one'")
        with sender.transaction():
            sender.execute("NOTIFY news, 'two'")
            sender.execute("NOTIFY news, 'two'")
        try:
            with sender.transaction():
                sender.execute("NOTIFY news, 'never'")
                raise ValueError
        except ValueError:
            pass
        sender.execute("SELECT pg_notify('news', 'three')")
        print([(note.channel, note.payload) for note in listener.notifies(timeout=20, stop_after=3)])
        listener.execute("UNLISTEN *")
        sender.execute("NOTIFY news, 'too late'")
        print([note.payload for note in listener.notifies(timeout=0.2)])


def cancel():
    with connect(autocommit=True) as conn:

        def sleep():
            try:
                conn.execute("INSERT INTO author (name) SELECT 'A' FROM pg_sleep(50)")
            except psycopg.Error as error:
                print(told(error))

        for cancelling in (conn.cancel_safe, conn.cancel):
            thread = threading.Thread(target=sleep)
            thread.start()
            # A cancel that comes before the statement does nothing: again until one hits.
            while thread.is_alive():
                cancelling()
                thread.join(0.05)
        print(conn.info.transaction_status.name, names(conn))
        with conn.transaction():
            add(conn, "B")
        print(names(conn))


def notices():
    with connect() as conn:
        conn.add_notice_handler(lambda diag: print(diag.severity, diag.message_primary))
        conn.execute("DO $$ BEGIN RAISE NOTICE 'a notice'; RAISE WARNING 'a warning'; END $$")
        conn.execute("CREATE TABLE IF NOT EXISTS author (x int)")


def several_statements():
    with connect() as conn:
        cur = conn.execute("SELECT 1; SELECT 2, 3; INSERT INTO author (name) VALUES ('A')")
        while True:
            print(cur.statusmessage, cur.fetchall() if cur.description else cur.rowcount)
            if not cur.nextset():
                break
        conn.commit()
        conn.autocommit = True
        try:
            conn.execute("INSERT INTO author (name) VALUES ('B'); SELECT 1/0")
        except psycopg.Error as error:
            print(told(error))
        print(names(conn))


def two_connections():
    with connect() as first, connect() as second:
        add(first, "A")
        first.commit()
        print(names(second))
        second.rollback()
        first.execute("UPDATE author SET name = 'first' WHERE id = 1")
        started = threading.Event()

        def update():
            started.set()
            second.execute("UPDATE author SET name = name || ' second' WHERE id = 1")
            second.commit()

        thread = threading.Thread(target=update)
        thread.start()
        started.wait()
        first.commit()
        thread.join(20)
        print(thread.is_alive(), names(first))


globals()[sys.argv[1]]()
