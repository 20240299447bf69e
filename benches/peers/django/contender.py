"""Django's test cases as a contender: for each line that it reads it runs a test, and it writes how
long that took in nanoseconds: until the database was clean, opening the handle, the body, the end."""

import json
import os
import sys
from time import perf_counter_ns
from unittest import TestResult
from urllib.parse import parse_qs, unquote, urlsplit

import django
from django.conf import settings

task, which = json.loads(sys.argv[1]), os.environ["CONTENDER"]
url = urlsplit(task["url"])
if task["engine"] == "sqlite":
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": url.path}
else:
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": url.path.lstrip("/"),
        "USER": unquote(url.username or ""),
        "PASSWORD": unquote(url.password or ""),
        "HOST": parse_qs(url.query).get("host", [unquote(url.hostname or "")])[0],
        "PORT": str(url.port or ""),
    }
settings.configure(
    DATABASES={"default": database},
    INSTALLED_APPS=["bench"],
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
)
django.setup()

from django.db import connection  # noqa: E402
from django.test import TestCase, TransactionTestCase  # noqa: E402

times = {}


def body():
    times["begun"] = perf_counter_ns()
    with connection.cursor() as cursor:
        for sql in task["body"]:
            cursor.execute(sql)
            assert cursor.rowcount == 5, "the place was not clean"
    times["ended"] = perf_counter_ns()


class Rollback(TestCase):
    def test(self):
        body()


class Flush(TransactionTestCase):
    def test(self):
        body()


case = {"TestCase": Rollback, "TransactionTestCase": Flush}[which]
with connection.cursor() as cursor:
    cursor.execute(task["first"])
case.setUpClass()
print("ready", flush=True)
for _ in sys.stdin:
    start = perf_counter_ns()
    result = TestResult()
    case("test")(result)
    end = perf_counter_ns()
    problems = result.errors + result.failures
    assert not problems, problems[0][1]
    print(times["begun"] - start, 0, times["ended"] - times["begun"], end - times["ended"], flush=True)
