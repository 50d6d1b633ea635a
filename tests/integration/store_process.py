"""A real S3-compatible server for the tests, moto's, as a process: started, stopped, frozen and thawed at will."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from modelyard.authoring.ports import free_port
from tests.integration.harness import clean_environment

START_SECONDS = 60.0
BUCKET = "models"
ADDRESS = f"s3://{BUCKET}/team"
SECRET = "secret-that-nobody-may-read"


class StoreServer:
    """What it holds is gone when it stops. `variables` are moto's own."""

    def __init__(self, folder: Path, variables: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        self._log, self._variables = folder / "store.log", dict(variables or {})
        self._mirror = folder / "mirror"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def env(self) -> dict[str, str]:
        """What commands and servers need to find it."""
        return {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "MODELYARD_MIRROR_FOLDER": str(self._mirror),
            "MODELYARD_STORE_SECONDS": "0.2",
            "MODELYARD_STORE_TIMEOUT_SECONDS": "2",
            "MODELYARD_STORE_START_SECONDS": "2",
        }

    @property
    def server_env(self) -> dict[str, str]:
        """The same with another mirror: what a server has was fetched by itself."""
        return self.env | {"MODELYARD_MIRROR_FOLDER": f"{self._mirror}-of-server"}

    def start(self) -> None:
        """On its port, always the same; with an empty bucket."""
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=clean_environment(self._variables), start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._listens():
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, "the store did not listen in time"
            time.sleep(0.05)
        self.client().create_bucket(Bucket=BUCKET)

    def client(self) -> Any:
        """boto3's own, to look behind and to do harm."""
        return boto3.client(
            "s3",
            endpoint_url=self.env["AWS_ENDPOINT_URL_S3"],
            aws_access_key_id="somebody",
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )

    def keys(self) -> list[str]:
        """Of every object, below the prefix of ADDRESS."""
        found = self.client().list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return [entry["Key"].removeprefix("team/") for entry in found]

    def objects(self) -> dict[str, bytes]:
        """All that it holds, to be filled with again."""
        client, keys = self.client(), self.keys()
        return {key: client.get_object(Bucket=BUCKET, Key=f"team/{key}")["Body"].read() for key in keys}

    def fill(self, objects: Mapping[str, bytes]) -> None:
        client = self.client()
        for key, content in objects.items():
            client.put_object(Bucket=BUCKET, Key=f"team/{key}", Body=content)

    def spoil(self, *parts: str) -> None:
        """One bit of the one object whose key has all of these parts."""
        (key,) = (key for key in self.keys() if all(part in key for part in parts))
        place = {"Bucket": BUCKET, "Key": f"team/{key}"}
        content = bytearray(self.client().get_object(**place)["Body"].read())
        content[-1] ^= 1
        self.client().put_object(**place, Body=bytes(content))

    def stop(self) -> None:
        """At once, also when it is frozen."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def freeze(self) -> None:
        """Connections are taken, and nothing answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1.0).close()
        except OSError:
            return False
        return True


@contextmanager
def store_server(folder: Path, variables: Mapping[str, str] | None = None) -> Iterator[StoreServer]:
    """A running store with an empty bucket, ended with the block."""
    server = StoreServer(folder, variables)
    try:
        server.start()
        yield server
    finally:
        server.stop()
