"""Checks of asyncpg. Usage: check_asyncpg.py CHECK URL. What it prints is compared."""

import asyncio
import datetime
import decimal
import sys
import uuid

import asyncpg

URL = sys.argv[2]


async def connect(**kwargs):
    return await asyncpg.connect(URL, timeout=20, **kwargs)


async def names(conn):
    return [row["name"] for row in await conn.fetch("SELECT name FROM author ORDER BY name")]


async def add(conn, name):
    await conn.execute("INSERT INTO author (name) VALUES ($1)", name)


def told(error):
    return f"{type(error).__name__} {error}"


async def rows_and_types():
    conn = await connect()
    row = await conn.fetchrow(
        "SELECT $1::int a, $2::numeric b, $3::text[] c, $4::timestamptz d, $5::uuid e, $6::bytea f, $7::date g",
        1, decimal.Decimal("1.10"), ["x", None], datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc),
        uuid.UUID(int=7), b"\x00\xff", datetime.date(2020, 2, 29))
    print(dict(row))
    await conn.execute("CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE TYPE pair AS (a int, b mood)")
    # It asks the catalogue about types that it does not know.
    print(await conn.fetchval("SELECT ROW(1, 'sad')::pair"), await conn.fetchval("SELECT ARRAY['happy']::mood[]"))
    print(await conn.execute("INSERT INTO author (name) VALUES ('A'), ('B')"))
    await conn.executemany("INSERT INTO author (name) VALUES ($1)", [(f"many {n}",) for n in range(500)])
    print(await conn.fetchval("SELECT count(*) FROM author"))
    try:
        await conn.executemany("INSERT INTO author (name) VALUES ($1)", [("C",), ("D",), ("C",)])
    except asyncpg.PostgresError as error:
        print(told(error))
    print(await conn.fetchval("SELECT count(*) FROM author"))
    await conn.close()


async def prepared_statements():
    conn, other = await connect(), await connect()
    statement = await conn.prepare("SELECT title FROM book WHERE id = $1")
    another = await other.prepare("SELECT title || '!' FROM book WHERE id = $1")
    print([await statement.fetchval(n) for n in (1, 2, 3, 4)], await another.fetchval(1))
    print(statement.get_parameters(), statement.get_attributes())
    async with conn.transaction():
        print([row["title"] async for row in statement.cursor(1)])
    try:
        await conn.fetchval("SELECT 1/0")
    except asyncpg.PostgresError as error:
        print(told(error))
    print(await statement.fetchval(1))
    try:
        await conn.prepare("SELECT nowhere")
    except asyncpg.PostgresError as error:
        print(told(error))
    print(await statement.explain(1) is not None)
    await conn.execute("CREATE TABLE changing (a int)")
    await conn.fetch("SELECT * FROM changing")
    await other.execute("ALTER TABLE changing ADD b text")
    # It prepares the statement anew.
    print(await conn.fetch("SELECT * FROM changing"))
    del statement
    for n in range(300):
        # More than its cache holds, so that statements are closed.
        await conn.fetchval(f"SELECT {n}")
    print(await conn.fetchval("SELECT count(*) <= 101 FROM pg_prepared_statements"))
    await conn.close()
    await other.close()


async def transactions():
    conn = await connect()
    async with conn.transaction():
        await add(conn, "A")
        try:
            async with conn.transaction():
                await add(conn, "B")
                await conn.fetch("SELECT 1/0")
        except asyncpg.PostgresError as error:
            print(told(error))
        async with conn.transaction():
            await add(conn, "C")
    try:
        async with conn.transaction():
            await add(conn, "D")
            raise ValueError
    except ValueError:
        pass
    print(conn.is_in_transaction(), await names(conn))
    transaction = conn.transaction()
    await transaction.start()
    await add(conn, "E")
    print(conn.is_in_transaction())
    await transaction.rollback()
    await conn.execute("BEGIN; INSERT INTO author (name) VALUES ('F'); COMMIT; INSERT INTO author (name) VALUES ('G')")
    print(await names(conn))
    await conn.execute("BEGIN")
    await add(conn, "left open")
    await conn.close()
    conn = await connect()
    print(await names(conn))
    await conn.close()


async def isolation_levels():
    conn = await connect()
    for level in ("read_uncommitted", "read_committed", "repeatable_read", "serializable"):
        async with conn.transaction(isolation=level):
            # What is shown differs in the sandbox, as the guide says; that it is granted does not.
            print(level, await conn.fetchval("SHOW transaction_isolation") is not None)
            await add(conn, level)
            async with conn.transaction():
                await add(conn, f"nested in {level}")
    try:
        async with conn.transaction(isolation="serializable", readonly=True, deferrable=True):
            await add(conn, "A")
    except asyncpg.PostgresError as error:
        print(told(error))
    print(await names(conn))
    await conn.close()


async def copy():
    conn = await connect()
    records = [(n, f"author {n}") for n in range(100, 1100)]
    print(await conn.copy_records_to_table("author", columns=["id", "name"], records=records))
    try:
        await conn.copy_records_to_table("author", columns=["id", "name"], records=[(1, "taken")])
    except asyncpg.PostgresError as error:
        print(told(error))

    async def broken():
        yield 5000, "never"
        raise ValueError("the client gives up")

    try:
        await conn.copy_records_to_table("author", columns=["id", "name"], records=broken())
    except ValueError as error:
        print(error)
    received = bytearray()

    async def receive(data):
        received.extend(data)

    query = "SELECT id, name FROM author WHERE id > $1 ORDER BY id"
    print(await conn.copy_from_query(query, 1095, output=receive, format="csv"), bytes(received))
    received.clear()
    query = "SELECT n, repeat('x', 100) FROM generate_series(1, 50000) n"
    print(await conn.copy_from_query(query, output=receive), len(received))
    async with conn.transaction():
        print(await conn.copy_records_to_table("author", columns=["name"], records=[("in a transaction",)]))
    print(await conn.fetchval("SELECT count(*) FROM author"))
    await conn.close()


async def cursors():
    conn = await connect()
    async with conn.transaction():
        print(sum([row[0] async for row in conn.cursor("SELECT n FROM generate_series(1, 1000) n", prefetch=70)]))
        cursor = await conn.cursor("SELECT n FROM generate_series(1, 100) n")
        print(await cursor.fetchrow(), await cursor.fetch(3), await cursor.forward(10), await cursor.fetchrow())
        # Two portals of one connection, and a query between.
        one, two = await conn.cursor("SELECT 1 AS one"), await conn.cursor("SELECT n FROM generate_series(1, 9) n")
        print(await two.fetch(2), await conn.fetchval("SELECT 'between'"), await one.fetchrow(), await two.fetch(2))
    await conn.close()


async def notifications():
    listener, sender = await connect(), await connect()
    heard = asyncio.Queue()

    def callback(connection, pid, channel, payload):
        heard.put_nowait((channel, payload))

    await listener.add_listener("news", callback)
    await sender.execute("NOTIFY news, 'one'")
    # Without a request of the listener's in between.
    print(await asyncio.wait_for(heard.get(), 20))
    async with sender.transaction():
        await sender.execute("NOTIFY news, 'two'")
        await sender.fetch("SELECT 1")
        print(heard.empty())
    print(await asyncio.wait_for(heard.get(), 20))
    await listener.remove_listener("news", callback)
    await sender.execute("NOTIFY news, 'too late'")
    await listener.fetch("SELECT 1")
    print(heard.empty())
    await listener.close()
    await sender.close()


async def pool():
    async with asyncpg.create_pool(URL, min_size=3, max_size=5, timeout=20, command_timeout=20) as pool:
        async with pool.acquire() as conn:
            await conn.execute("SET work_mem = '7MB'")
            # A transaction that is left open is rolled back as the connection goes back.
            await conn.execute("BEGIN")
            await add(conn, "left open")
        # The reset query ran: no setting of the last user is left on any of them.
        conns = [await pool.acquire() for _ in range(5)]
        print({await conn.fetchval("SHOW work_mem") for conn in conns}, await names(conns[0]))
        for conn in conns:
            await pool.release(conn)

        async def work(n):
            async with pool.acquire() as conn, conn.transaction():
                await conn.execute("UPDATE author SET name = name || '.' WHERE name LIKE 'Frank%'")
                await add(conn, f"worker {n}")
                await conn.fetchval("SELECT count(*) FROM book")
                if n % 5 == 0:
                    raise ValueError

        results = await asyncio.gather(*[work(n) for n in range(40)], return_exceptions=True)
        print(sum(isinstance(result, ValueError) for result in results), sum(result is None for result in results))
        print(await pool.fetchval("SELECT count(*) FROM author"))
        print(await pool.fetchval("SELECT name FROM author WHERE name LIKE 'Frank%'"))
        print(await asyncio.gather(*[pool.fetchval("SELECT $1::int", n) for n in range(50)]) == list(range(50)))


async def cancel_by_timeout():
    conn = await connect()
    try:
        await conn.execute("INSERT INTO author (name) SELECT 'A' FROM pg_sleep(50)", timeout=0.3)
    except asyncio.TimeoutError:
        print("timed out")
    print(await names(conn))
    async with conn.transaction():
        await add(conn, "B")
        try:
            async with conn.transaction():
                await conn.execute("SELECT pg_sleep(50)", timeout=0.3)
        except asyncio.TimeoutError:
            print("timed out")
        await add(conn, "C")
    try:
        await asyncio.wait_for(conn.fetch("SELECT pg_sleep(50)"), 0.3)
    except asyncio.TimeoutError:
        print("cancelled from outside")
    print(await names(conn))
    await conn.close()


async def terminated_in_a_transaction():
    conn = await connect()
    await conn.execute("BEGIN")
    await add(conn, "A")
    conn.terminate()
    conn = await connect()
    # It waits for the row of the one that is gone, and then it is free.
    await add(conn, "A")
    print(await names(conn))
    await conn.close()


async def several_statements():
    conn = await connect()
    print(await conn.execute("CREATE TABLE t (x int); INSERT INTO t VALUES (1), (2); SELECT 1; UPDATE t SET x = 3"))
    try:
        await conn.execute("INSERT INTO t VALUES (4); SELECT 1/0; INSERT INTO t VALUES (5)")
    except asyncpg.PostgresError as error:
        print(told(error))
    print(await conn.fetch("SELECT x FROM t"))
    conn.add_log_listener(lambda connection, message: print(message.severity, message.message))
    await conn.execute("DO $$ BEGIN RAISE NOTICE 'a notice'; END $$")
    await conn.reset()
    print(conn.get_settings().client_encoding)
    await conn.close()


asyncio.run(globals()[sys.argv[1]]())
