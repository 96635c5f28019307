"""A Trino server on loopback, as a context manager. Standard library only.

CWLAKE_TEST_TRINO names the folder Trino is unpacked in (bin, lib, plugin/hive: other plugins can be removed), CWLAKE_TEST_TRINO_JAVA the JDK,
24 or later (one of /usr/lib/jvm when left out).

    curl -fLO https://repo1.maven.org/maven2/io/trino/trino-server/476/trino-server-476.tar.gz     # 821 MB, 8 s here
    tar xzf trino-server-476.tar.gz                         # whole: files of plugin/hive are hard links to other plugins'
    (cd trino-server-476/plugin && ls | grep -v '^hive$' | xargs rm -r)     # 402 MB stay; optional
"""

import json
import os
import pathlib
import socket
import subprocess
import time
import urllib.error
import urllib.request

USER = "cwlake"
# Small and quick to start: C1 and the serial collector.
JVM = """-server
-Xmx{heap}
-XX:+ExitOnOutOfMemoryError
-XX:-OmitStackTraceInFastThrow
-XX:TieredStopAtLevel=1
-XX:+UseSerialGC
-Djdk.attach.allowAttachSelf=true
-Djdk.nio.maxCachedBufferSize=2000000
-Dfile.encoding=UTF-8
-Duser.timezone={timezone}
--enable-native-access=ALL-UNNAMED
--sun-misc-unsafe-memory-access=allow
"""
SERVER = """coordinator=true
node-scheduler.include-coordinator=true
http-server.http.port={port}
http-server.log.enabled=false
discovery.uri=http://127.0.0.1:{port}
catalog.management=dynamic
query.max-memory-per-node=800MB
query.min-expire-age=30s
"""


class TrinoError(Exception):
    """What Trino said of a statement: its name (`INVALID_COLUMN_PROPERTY`), its message."""

    def __init__(self, name, message):
        super().__init__(f"{name}: {message}")
        self.name, self.message = name, message


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def java_home():
    if given := os.environ.get("CWLAKE_TEST_TRINO_JAVA"):
        return given
    found = sorted(pathlib.Path("/usr/lib/jvm").glob("*2[4-9]*"))
    assert found, "Trino needs Java 24 or later: CWLAKE_TEST_TRINO_JAVA"
    return found[-1]


class Trino:
    """`catalogs` is a dictionary of catalogs, each a dictionary of properties; more can be made with `catalog()` while it runs."""

    # Properties of the session, `name=value` joined by commas.
    session = ""

    def __init__(self, home, workdir, catalogs=None, timezone="UTC", heap="2g", java=None):
        work = self.work = pathlib.Path(workdir)
        etc = work / "etc"
        etc.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (etc / "jvm.config").write_text(JVM.format(heap=heap, timezone=timezone))
        (etc / "config.properties").write_text(SERVER.format(port=self.port))
        (etc / "node.properties").write_text(f"node.environment=test\nnode.id=cwlake-{self.port}\nnode.data-dir={work}/data\nnode.bind-ip=127.0.0.1\nnode.internal-address=127.0.0.1\n")
        (etc / "log.properties").write_text("io.trino=WARN\nio.airlift=WARN\n")
        java = pathlib.Path(java or java_home())
        env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        env |= {"JAVA_HOME": str(java), "PATH": f"{java}/bin:{env['PATH']}", "TZ": timezone}
        # `run` stays in the foreground: the launcher execs Java, so the process is the server.
        words = [str(pathlib.Path(home) / "bin" / "launcher"), "run", "--etc-dir", str(etc), "--data-dir", str(work / "data")]
        self.log = (work / "log").open("w")
        self.process = subprocess.Popen(words, stdout=self.log, stderr=self.log, env=env, cwd=work)
        try:
            self.wait()
            for name, properties in (catalogs or {}).items():
                self.catalog(name, properties)
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def wait(self, seconds=240):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process.poll() is None, f"Trino ended:\n{self.tail()}"
            try:
                with urllib.request.urlopen(f"{self.url}/v1/info", timeout=2) as answer:
                    if not json.load(answer)["starting"]:
                        self.query("SELECT 1")
                        return
            except (OSError, TrinoError):
                pass
            time.sleep(0.5)
        raise AssertionError(f"Trino does not answer:\n{self.tail()}")

    def tail(self):
        return (self.work / "log").read_text()[-3000:]

    def catalog(self, name, properties):
        """Makes a catalog of the Hive connector."""
        quote = lambda text: str(text).replace("'", "''")
        listed = ", ".join(f"\"{key}\" = '{quote(value)}'" for key, value in properties.items())
        self.query(f"CREATE CATALOG {name} USING hive WITH ({listed})")

    def query(self, sql, session_zone="UTC", catalog=None):
        """The rows of a statement, as Trino writes them in JSON: timestamps and dates are text, maps are objects."""
        return self.ask(sql, session_zone, catalog)[1]

    def ask(self, sql, session_zone="UTC", catalog=None):
        """The types of the columns, and the rows."""
        headers = {"X-Trino-User": USER, "X-Trino-Time-Zone": session_zone, "X-Trino-Source": "cwlake-tests"}
        # Else a timestamp(6) arrives as a timestamp(3).
        headers["X-Trino-Client-Capabilities"] = "PARAMETRIC_DATETIME"
        if catalog:
            headers["X-Trino-Catalog"] = catalog
        if self.session:
            headers["X-Trino-Session"] = self.session
        request = urllib.request.Request(f"{self.url}/v1/statement", data=sql.encode(), headers=headers, method="POST")
        rows, types = [], []
        while True:
            answer = self.json(request)
            if error := answer.get("error"):
                raise TrinoError(error["errorName"], error.get("message", ""))
            if answer.get("columns"):
                types = [(c["name"], c["type"]) for c in answer["columns"]]
            rows += [tuple(row) for row in answer.get("data") or []]
            if not (following := answer.get("nextUri")):
                return types, rows
            request = urllib.request.Request(following, headers={"X-Trino-User": USER})

    def json(self, request):
        for _ in range(50):
            try:
                with urllib.request.urlopen(request, timeout=120) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as e:
                # As the protocol says: 502, 503 and 504 are asked again.
                if e.code not in (502, 503, 504):
                    raise
                time.sleep(0.1)
        raise AssertionError("Trino stays unavailable")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


def start(trino_home, workdir, catalog_properties=None, timezone="UTC", catalog="hive", **more):
    """A running server with one catalog (or none)."""
    catalogs = {catalog: catalog_properties} if catalog_properties else {}
    return Trino(trino_home, workdir, catalogs, timezone, **more)
