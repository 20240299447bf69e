"""Checks of psycopg2. Usage: check_psycopg2.py CHECK URL. What it prints is compared."""

import io
import select
import sys

import psycopg2
import psycopg2.extensions
import psycopg2.extras

URL = sys.argv[2]


def connect(**kwargs):
    return psycopg2.connect(URL, **kwargs)


def names(conn):
    with conn.cursor() as cur:
        cur.execute("SELECT name FROM author ORDER BY name")
        return [row[0] for row in cur]


def add(conn, name):
    with conn.cursor() as cur:
        cur.execute("INSERT INTO author (name) VALUES (%s)", [name])


def told(error):
    return f"{type(error).__name__} {error.pgcode} {error.diag.message_primary}"


def transactions():
    conn = connect()
    with conn:
        add(conn, "A")
    try:
        with conn:
            add(conn, "B")
            add(conn, "A")
    except psycopg2.Error as error:
        print(told(error))
    conn.autocommit = True
    add(conn, "C")
    try:
        add(conn, "C")
    except psycopg2.Error as error:
        print(told(error))
    print(names(conn))
    conn.autocommit = False
    conn.set_session(isolation_level="SERIALIZABLE", readonly=True)
    try:
        add(conn, "D")
    except psycopg2.Error as error:
        print(told(error))
    conn.rollback()
    conn.reset()
    add(conn, "E")
    conn.commit()
    add(conn, "left open")
    conn.close()
    print(names(connect()))


def many_rows():
    conn = connect()
    with conn.cursor() as cur:
        psycopg2.extras.execute_values(
            cur, "INSERT INTO author (name) VALUES %s", [(f"author {n}",) for n in range(3000)], page_size=700)
        cur.execute("SELECT count(*) FROM author")
        print(cur.fetchone())
        psycopg2.extras.execute_batch(cur, "UPDATE author SET name = name || %s WHERE id = %s", [("!", 1), ("?", 2)])
    conn.commit()
    with conn.cursor("portion") as cur:
        cur.itersize = 100
        cur.execute("SELECT name FROM author ORDER BY id")
        print(sum(len(row[0]) for row in cur))
    conn.commit()


def copy():
    conn = connect()
    with conn, conn.cursor() as cur:
        cur.copy_expert("COPY author (id, name) FROM STDIN", io.StringIO("100\tA\n101\tB\n"))
        out = io.StringIO()
        cur.copy_expert("COPY author TO STDOUT (FORMAT csv, HEADER)", out)
        print(out.getvalue())
    print(names(conn))


def notifies():
    conn, other = connect(), connect()
    conn.autocommit = other.autocommit = True
    conn.cursor().execute("LISTEN news")
    other.cursor().execute("NOTIFY news, 'payload'")
    if not select.select([conn], [], [], 20)[0]:
        sys.exit("no notification came")
    conn.poll()
    print([(note.channel, note.payload) for note in conn.notifies])


def asynchronous():
    conn = connect(async_=True)
    psycopg2.extras.wait_select(conn)
    cur = conn.cursor()
    for query in ("SELECT 1", "SELECT 1/0", "INSERT INTO author (name) VALUES ('A')", "SELECT count(*) FROM author"):
        cur.execute(query)
        try:
            psycopg2.extras.wait_select(conn)
            print(cur.statusmessage, cur.fetchall() if cur.description else None)
        except psycopg2.Error as error:
            print(told(error))


def large_objects():
    conn = connect()
    with conn:
        lob = conn.lobject(0, "wb")
        lob.write(b"0123456789" * 10000)
        oid = lob.oid
        lob.close()
    with conn:
        lob = conn.lobject(oid, "rb")
        lob.seek(5)
        print(lob.read(10), lob.tell())
        lob.unlink()


globals()[sys.argv[1]]()
