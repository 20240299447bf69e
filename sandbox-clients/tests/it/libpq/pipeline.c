/* Checks of libpq's pipeline mode, single rows and asynchronous calls.
 * Usage: pipeline CHECK URL. What it prints is compared. */

#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static PGconn *conn;

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, PQerrorMessage(conn));
	exit(1);
}

static void must(int fine, const char *what)
{
	if (!fine)
		die(what);
}

static PGconn *open_url(const char *url)
{
	PGconn *opened = PQconnectdb(url);

	if (PQstatus(opened) != CONNECTION_OK) {
		fprintf(stderr, "no connection: %s\n", PQerrorMessage(opened));
		exit(1);
	}
	return opened;
}

/* Prints a result: its status, its rows, or its error's code. */
static ExecStatusType show(PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);
	const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	printf("%s", PQresStatus(status));
	if (code)
		printf(" %s %s", code, PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
	else if (status == PGRES_COMMAND_OK)
		printf(" %s", PQcmdStatus(result));
	for (int row = 0; row < PQntuples(result) && row < 5; row++)
		for (int column = 0; column < PQnfields(result); column++)
			printf(" %s=%s", PQfname(result, column),
			       PQgetisnull(result, row, column) ? "NULL" : PQgetvalue(result, row, column));
	printf("\n");
	PQclear(result);
	return status;
}

/* Shows everything up to and with the given number of syncs. */
static void show_until_sync(int syncs)
{
	while (syncs > 0) {
		PGresult *result = PQgetResult(conn);

		if (!result) {
			/* The end of one query's results, unless the connection broke. */
			must(PQstatus(conn) == CONNECTION_OK, "in the pipeline");
			continue;
		}
		if (show(result) == PGRES_PIPELINE_SYNC)
			syncs--;
	}
	printf("transaction %d\n", PQtransactionStatus(conn));
}

static void send(const char *sql)
{
	must(PQsendQueryParams(conn, sql, 0, NULL, NULL, NULL, NULL, 0), sql);
}

static void send_with(const char *sql, const char *value)
{
	const char *values[1] = {value};

	must(PQsendQueryParams(conn, sql, 1, NULL, values, NULL, NULL, 0), sql);
}

static void send_sync(void)
{
	must(PQpipelineSync(conn), "sync");
}

static void run(const char *sql)
{
	printf("%s -> ", sql);
	show(PQexec(conn, sql));
}

static void enter(void)
{
	must(PQenterPipelineMode(conn), "enter pipeline mode");
}

static void leave(void)
{
	must(PQexitPipelineMode(conn), "leave pipeline mode");
}

static void many_queries(void)
{
	int sum = 0;

	enter();
	for (int n = 0; n < 1000; n++) {
		char value[16];

		snprintf(value, sizeof(value), "%d", n);
		send_with("SELECT $1::int", value);
	}
	send_sync();
	for (int n = 0; n < 1000; n++) {
		PGresult *result = PQgetResult(conn);

		must(PQresultStatus(result) == PGRES_TUPLES_OK, "a row");
		sum += atoi(PQgetvalue(result, 0, 0));
		PQclear(result);
		must(PQgetResult(conn) == NULL, "the end of a query");
	}
	show_until_sync(1);
	leave();
	printf("%d\n", sum);
}

static void several_syncs(void)
{
	enter();
	send("INSERT INTO author (name) VALUES ('A')");
	send("SELECT count(*) FROM author");
	send_sync();
	send("INSERT INTO author (name) VALUES ('B')");
	send_sync();
	send_sync();
	send("SELECT count(*) FROM author");
	send_sync();
	show_until_sync(4);
	leave();
	run("SELECT name FROM author ORDER BY name");
}

static void an_error_aborts_to_the_next_sync(void)
{
	enter();
	send("INSERT INTO author (name) VALUES ('before')");
	send("SELECT 1/0");
	send("INSERT INTO author (name) VALUES ('behind')");
	send("SELECT 'never'");
	send_sync();
	send("SELECT 'next'");
	send("SELECT nowhere");
	send_sync();
	send("INSERT INTO author (name) VALUES ('last')");
	send_sync();
	show_until_sync(3);
	leave();
	run("SELECT name FROM author WHERE name IN ('before', 'behind', 'last')");
}

static void transactions(void)
{
	enter();
	send("BEGIN");
	send("INSERT INTO author (name) VALUES ('A')");
	send("COMMIT");
	send("INSERT INTO author (name) VALUES ('B')");
	send_sync();
	send("BEGIN ISOLATION LEVEL SERIALIZABLE");
	send("INSERT INTO author (name) VALUES ('C')");
	send_sync();
	send("SAVEPOINT s");
	send("INSERT INTO author (name) VALUES ('D')");
	send("ROLLBACK TO s");
	send_sync();
	send("SELECT 1/0");
	send_sync();
	send("SELECT 'refused'");
	send_sync();
	send("ROLLBACK TO s");
	send("INSERT INTO author (name) VALUES ('E')");
	send_sync();
	send("COMMIT");
	send("SELECT string_agg(name, ',' ORDER BY name) FROM author");
	send_sync();
	show_until_sync(7);
	/* Begun in a pipeline and ended outside of it. */
	send("BEGIN");
	send("INSERT INTO author (name) VALUES ('F')");
	send_sync();
	show_until_sync(1);
	leave();
	run("ROLLBACK");
	run("SELECT string_agg(name, ',' ORDER BY name) FROM author");
}

static void an_implicit_transaction_ends_with_its_sync(void)
{
	enter();
	send("INSERT INTO author (name) VALUES ('A')");
	/* What was done since the last sync is part of it. */
	send("BEGIN");
	send("INSERT INTO author (name) VALUES ('B')");
	send("ROLLBACK");
	send("INSERT INTO author (name) VALUES ('C')");
	send_sync();
	send("SELECT string_agg(name, ',' ORDER BY name) FROM author");
	send_sync();
	show_until_sync(2);
	leave();
}

static void prepared_statements(void)
{
	const char *values[2] = {"1", "2"};

	enter();
	must(PQsendPrepare(conn, "by_id", "SELECT title FROM book WHERE id = $1", 0, NULL), "prepare");
	must(PQsendDescribePrepared(conn, "by_id"), "describe");
	for (int n = 0; n < 2; n++)
		must(PQsendQueryPrepared(conn, "by_id", 1, &values[n], NULL, NULL, 0), "execute");
	send_sync();
	/* The name is taken. */
	must(PQsendPrepare(conn, "by_id", "SELECT 1", 0, NULL), "prepare");
	send_sync();
	must(PQsendPrepare(conn, "of_a_failed_sync", "SELECT 1", 0, NULL), "prepare");
	send("SELECT 1/0");
	send_sync();
	/* Preparing was not undone with the rest. */
	must(PQsendQueryPrepared(conn, "of_a_failed_sync", 0, NULL, NULL, NULL, 0), "execute");
	send_sync();
	send("DEALLOCATE by_id");
	send_sync();
	must(PQsendQueryPrepared(conn, "by_id", 1, values, NULL, NULL, 0), "execute");
	send_sync();
	show_until_sync(6);
	leave();
	show(PQexecPrepared(conn, "of_a_failed_sync", 0, NULL, NULL, NULL, 0));
	show(PQdescribePortal(conn, "nowhere"));
}

static void a_cursor(void)
{
	enter();
	send("BEGIN");
	send("DECLARE c CURSOR FOR SELECT n FROM generate_series(1, 100) n");
	send("FETCH 3 FROM c");
	must(PQsendDescribePortal(conn, "c"), "describe");
	send("FETCH 2 FROM c");
	send("CLOSE c");
	send("COMMIT");
	send_sync();
	show_until_sync(1);
	leave();
}

static void single_rows(void)
{
	long rows = 0, bytes = 0;
	PGresult *result;

	enter();
	send("SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) n");
	send("SELECT 'after'");
	send_sync();
	must(PQsetSingleRowMode(conn), "single rows");
	while ((result = PQgetResult(conn)) != NULL) {
		if (PQresultStatus(result) == PGRES_SINGLE_TUPLE) {
			rows++;
			bytes += PQgetlength(result, 0, 1);
		}
		PQclear(result);
	}
	printf("%ld rows %ld bytes\n", rows, bytes);
	show_until_sync(1);
	leave();
}

/* Sends without reading, until neither side would ever go on if both just waited. */
static void more_than_any_buffer_holds(void)
{
	enum { STATEMENTS = 3000 };
	char *text = malloc(20001);
	int sent = 0, answered = 0, synced = 0;
	long bytes = 0;

	memset(text, 'x', 20000);
	text[20000] = 0;
	must(PQsetnonblocking(conn, 1) == 0, "nonblocking");
	enter();
	while (!synced) {
		struct pollfd poll_on = {.fd = PQsocket(conn), .events = POLLIN};
		int flushed;

		while (sent <= STATEMENTS && (flushed = PQflush(conn)) == 0) {
			if (sent < STATEMENTS)
				send_with("SELECT $1::text", text);
			else
				send_sync();
			sent++;
		}
		flushed = PQflush(conn);
		must(flushed >= 0, "flush");
		if (flushed)
			poll_on.events |= POLLOUT;
		must(poll(&poll_on, 1, 20000) > 0, "nothing moves for 20 s");
		must(PQconsumeInput(conn), "input");
		while (!PQisBusy(conn) && !synced) {
			PGresult *result = PQgetResult(conn);

			if (!result) {
				if (answered == sent)
					break;
				continue;
			}
			if (PQresultStatus(result) == PGRES_PIPELINE_SYNC)
				synced = 1;
			else if (PQresultStatus(result) == PGRES_TUPLES_OK)
				bytes += PQgetlength(result, 0, 0), answered++;
			else
				die("an answer");
			PQclear(result);
		}
	}
	printf("%d answers %ld bytes\n", answered, bytes);
	leave();
	free(text);
}

/* A server sends what its buffer of 8 kB does not hold, also to who has sent no Sync yet. */
static void what_no_buffer_holds_is_answered_before_the_sync(void)
{
	char *text = malloc(20001);
	int answered = 0;

	memset(text, 'x', 20000);
	text[20000] = 0;
	enter();
	for (int n = 0; n < 3; n++)
		send_with("SELECT $1::text", text);
	must(PQflush(conn) == 0, "flush");
	while (!answered) {
		struct pollfd poll_on = {.fd = PQsocket(conn), .events = POLLIN};

		must(poll(&poll_on, 1, 20000) > 0, "no answer in 20 s");
		must(PQconsumeInput(conn), "input");
		if (!PQisBusy(conn)) {
			PGresult *result = PQgetResult(conn);

			must(PQresultStatus(result) == PGRES_TUPLES_OK, "an answer");
			answered = PQgetlength(result, 0, 0);
			PQclear(result);
			must(PQgetResult(conn) == NULL, "the end of a query");
		}
	}
	printf("%d bytes\n", answered);
	send("SELECT 1/0");
	send("SELECT 'never'");
	must(PQflush(conn) == 0, "flush");
	send_sync();
	for (int n = 0; n < 2; n++) {
		PGresult *result = PQgetResult(conn);

		must(PQresultStatus(result) == PGRES_TUPLES_OK, "an answer");
		PQclear(result);
		must(PQgetResult(conn) == NULL, "the end of a query");
	}
	show_until_sync(1);
	leave();
	run("SELECT 'the next'");
	free(text);
}

static void what_is_flushed_is_answered_before_the_sync(void)
{
	enter();
	send("INSERT INTO author (name) VALUES ('A') RETURNING name");
	must(PQsendFlushRequest(conn), "flush request");
	must(PQflush(conn) == 0, "flush");
	show(PQgetResult(conn));
	must(PQgetResult(conn) == NULL, "the end of a query");
	send("SELECT 1/0");
	must(PQsendFlushRequest(conn), "flush request");
	must(PQflush(conn) == 0, "flush");
	show(PQgetResult(conn));
	must(PQgetResult(conn) == NULL, "the end of a query");
	send("SELECT 'never'");
	send_sync();
	show_until_sync(1);
	leave();
	run("SELECT count(*) FROM author");
}

/* Cancels until a statement says so: one that comes before the statement does nothing. The answer
 * to the statement before it may come before that or with it. */
static void cancel_until_it_hits(void)
{
	char error[256];
	PGcancel *cancel = PQgetCancel(conn);

	must(PQflush(conn) == 0, "flush");
	for (int tries = 0, failed = 0; !failed; tries++) {
		struct pollfd poll_on = {.fd = PQsocket(conn), .events = POLLIN};

		must(PQconsumeInput(conn), "input");
		while (!PQisBusy(conn) && !failed) {
			PGresult *result = PQgetResult(conn);

			if (result && PQresultStatus(result) == PGRES_FATAL_ERROR) {
				printf("%s\n", PQresultErrorField(result, PG_DIAG_SQLSTATE));
				failed = 1;
			}
			PQclear(result);
		}
		if (!failed) {
			must(tries < 400, "no cancel hit");
			must(PQcancel(cancel, error, sizeof(error)), error);
			must(poll(&poll_on, 1, 100) >= 0, "poll");
		}
	}
	PQfreeCancel(cancel);
}

static void a_cancel_before_the_sync(void)
{
	enter();
	send("INSERT INTO author (name) VALUES ('A')");
	send("SELECT 'sleeping' FROM pg_sleep(50)");
	cancel_until_it_hits();
	send("SELECT 'never'");
	send_sync();
	show_until_sync(1);
	leave();
	run("SELECT count(*) FROM author");
}

static void a_cancel_in_a_pipeline(void)
{
	PGresult *result;

	enter();
	send("INSERT INTO author (name) VALUES ('A')");
	send("SELECT 'sleeping' FROM pg_sleep(50)");
	send("SELECT 'never'");
	send_sync();
	send("SELECT 'next'");
	send_sync();
	cancel_until_it_hits();
	while (1) {
		must(PQstatus(conn) == CONNECTION_OK, "after the cancel");
		result = PQgetResult(conn);
		if (result && PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
			PQclear(result);
			break;
		}
		PQclear(result);
	}
	show_until_sync(1);
	leave();
	run("SELECT count(*) FROM author");
}

static void copies(void)
{
	char *line;
	int length, lines = 0;

	show(PQexec(conn, "COPY author (id, name) FROM STDIN"));
	/* Split in the middle of a row. */
	must(PQputCopyData(conn, "100\tA\n10", 8) == 1, "copy");
	must(PQputCopyData(conn, "1\tB\n", 4) == 1, "copy");
	must(PQputCopyEnd(conn, NULL) == 1, "end of copy");
	show(PQgetResult(conn));
	must(PQgetResult(conn) == NULL, "the end of a copy");
	show(PQexec(conn, "COPY author (id, name) FROM STDIN"));
	must(PQputCopyData(conn, "102\tC\n", 6) == 1, "copy");
	must(PQputCopyEnd(conn, "the client gives up") == 1, "end of copy");
	show(PQgetResult(conn));
	must(PQgetResult(conn) == NULL, "the end of a copy");
	show(PQexec(conn, "COPY author TO STDOUT"));
	while ((length = PQgetCopyData(conn, &line, 0)) > 0) {
		printf("%.*s", length, line);
		PQfreemem(line);
		lines++;
	}
	show(PQgetResult(conn));
	must(PQgetResult(conn) == NULL, "the end of a copy");
	/* With the extended protocol, and in a string of several statements. */
	show(PQexecParams(conn, "COPY (SELECT 'extended') TO STDOUT", 0, NULL, NULL, NULL, NULL, 0));
	while ((length = PQgetCopyData(conn, &line, 0)) > 0) {
		printf("%.*s", length, line);
		PQfreemem(line);
	}
	show(PQgetResult(conn));
	must(PQgetResult(conn) == NULL, "the end of a copy");
	must(PQsendQuery(conn, "COPY author (id, name) FROM STDIN; SELECT count(*) FROM author"), "send");
	show(PQgetResult(conn));
	must(PQputCopyData(conn, "103\tD\n", 6) == 1, "copy");
	must(PQputCopyEnd(conn, NULL) == 1, "end of copy");
	for (PGresult *result; (result = PQgetResult(conn)) != NULL;)
		show(result);
	run("SELECT count(*) FROM author");
}

static void binary_results_and_parameters(void)
{
	const char number[] = {0, 0, 0, 42};
	const char *values[1] = {number};
	const int lengths[1] = {4}, formats[1] = {1};
	const Oid types[1] = {23};
	PGresult *result = PQexecParams(conn, "SELECT $1 + 1, 'text'::text", 1, types, values, lengths, formats, 1);

	must(PQresultStatus(result) == PGRES_TUPLES_OK, "a row");
	for (int byte = 0; byte < PQgetlength(result, 0, 0); byte++)
		printf("%02x", (unsigned char) PQgetvalue(result, 0, 0)[byte]);
	printf(" %.*s %d\n", PQgetlength(result, 0, 1), PQgetvalue(result, 0, 1), PQfformat(result, 0));
	PQclear(result);
	run("");
	run(";");
	run("SELECT");
	show(PQexecParams(conn, "", 0, NULL, NULL, NULL, NULL, 0));
	show(PQexecParams(conn, "SELECT 1; SELECT 2", 0, NULL, NULL, NULL, NULL, 0));
}

static void parameters_are_reported(void)
{
	const char *names[] = {"server_encoding", "client_encoding", "DateStyle", "integer_datetimes",
			       "standard_conforming_strings", "TimeZone", "IntervalStyle", "is_superuser",
			       "session_authorization"};

	run("SET client_encoding = 'LATIN1'; SET TimeZone = 'Asia/Tokyo'; SET application_name = 'of libpq'");
	for (size_t n = 0; n < sizeof(names) / sizeof(*names); n++) {
		const char *value = PQparameterStatus(conn, names[n]);

		printf("%s %s\n", names[n], value ? value : "unknown");
	}
	printf("%s\n", PQparameterStatus(conn, "application_name"));
	run("BEGIN");
	run("SET TimeZone = 'Europe/Paris'");
	printf("%s\n", PQparameterStatus(conn, "TimeZone"));
	run("ROLLBACK");
	printf("%s\n", PQparameterStatus(conn, "TimeZone"));
	printf("%s\n", PQbackendPID(conn) ? "a process" : "no process");
}

#define CHECK(name) {#name, name}

static const struct {
	const char *name;
	void (*check)(void);
} checks[] = {
	CHECK(many_queries),
	CHECK(several_syncs),
	CHECK(an_error_aborts_to_the_next_sync),
	CHECK(transactions),
	CHECK(an_implicit_transaction_ends_with_its_sync),
	CHECK(prepared_statements),
	CHECK(a_cursor),
	CHECK(single_rows),
	CHECK(more_than_any_buffer_holds),
	CHECK(what_no_buffer_holds_is_answered_before_the_sync),
	CHECK(what_is_flushed_is_answered_before_the_sync),
	CHECK(a_cancel_before_the_sync),
	CHECK(a_cancel_in_a_pipeline),
	CHECK(copies),
	CHECK(binary_results_and_parameters),
	CHECK(parameters_are_reported),
};

int main(int argc, char **argv)
{
	if (argc == 3)
		for (size_t n = 0; n < sizeof(checks) / sizeof(*checks); n++)
			if (strcmp(checks[n].name, argv[1]) == 0) {
				conn = open_url(argv[2]);
				checks[n].check();
				PQfinish(conn);
				return 0;
			}
	fprintf(stderr, "usage: pipeline CHECK URL\n");
	return 2;
}
