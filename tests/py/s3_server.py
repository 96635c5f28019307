"""A real S3 server (SeaweedFS) on loopback, as a context manager and as a wrapper around a command.

    python s3_server.py -- cargo test -- --include-ignored

runs the command with CWLAKE_TEST_S3 set to the server's URL.
"""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import boto3
import botocore.config

KEY, SECRET = "999900001111", "emulated"
READER_KEY = "111100009999"
CONFIG = {
    "identities": [
        {
            "name": "writer",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        },
        {
            "name": "reader",
            "credentials": [{"accessKey": READER_KEY, "secretKey": SECRET}],
            "actions": ["Read", "List"],
        },
    ]
}


def free_ports(count):
    """Ports whose number plus 10,000, which SeaweedFS takes as well, is a port too."""
    ports = []
    while len(ports) < count:
        with contextlib.ExitStack() as stack:
            one = stack.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1] % 40_000 + 10_000
            try:
                for p in (port, port + 10_000):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", p))
            except OSError:
                continue
            if not any(abs(port - other) in (0, 10_000) for other in ports):
                ports.append(port)
    return ports


class S3Server:
    """The server with its data in a temporary folder; `bucket` makes a new bucket."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="cwlake-s3-")
        root = pathlib.Path(self.folder.name)
        (root / "data").mkdir()
        (root / "s3.json").write_text(json.dumps(CONFIG))
        master, volume, filer, s3 = free_ports(4)
        weed = shutil.which("weed", path=str(pathlib.Path(sys.executable).parent)) or "weed"
        words = [weed, "server", f"-dir={root}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        words += [f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"]
        words += ["-s3", f"-s3.port={s3}", f"-s3.config={root}/s3.json"]
        # Every bucket takes volumes of its own.
        words += ["-volume.max=1000", "-master.volumeSizeLimitMB=64"]
        # Ports of services nobody asks for here, which are fixed otherwise.
        words += ["-s3.port.lance=0", "-s3.port.iceberg=0"]
        self.log = (root / "log").open("w")
        self.process = subprocess.Popen(words, stdout=self.log, stderr=self.log, cwd=root)
        self.url = f"http://127.0.0.1:{s3}"
        self.wait()
        return self

    def client(self, url=None):
        return boto3.client(
            "s3",
            endpoint_url=url or self.url,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            config=botocore.config.Config(
                s3={"addressing_style": "path"}, retries={"max_attempts": 1}
            ),
        )

    def wait(self):
        """It answers long before it can store anything: ready is when an object was written."""
        error = None
        for _ in range(150):
            assert self.process.poll() is None, "the S3 server ended"
            try:
                client = self.client()
                client.create_bucket(Bucket="probe")
                client.put_object(Bucket="probe", Key="x", Body=b"x")
                return
            except Exception as e:  # noqa: BLE001 - whatever it is, it is not ready
                error = e
                time.sleep(0.2)
        raise AssertionError(f"the S3 server does not become ready: {error}")

    def bucket(self, name):
        self.client().create_bucket(Bucket=name)
        return name

    def __exit__(self, *_):
        # It takes its time to end in order, and nothing of it is kept.
        self.process.kill()
        self.process.wait()
        self.log.close()
        self.folder.cleanup()


def main():
    command = sys.argv[sys.argv.index("--") + 1 :]
    with S3Server() as server:
        env = os.environ | {"CWLAKE_TEST_S3": server.url}
        sys.exit(subprocess.run(command, env=env).returncode)


if __name__ == "__main__":
    main()
