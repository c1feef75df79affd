"""S3 on loopback (moto), which can be told to fail."""

from __future__ import annotations

from typing import Any

import boto3
from moto.server import ThreadedMotoServer

from sallyport.core.secret import Secret
from sallyport.store.objects import ArchivePlace

BUCKET = "record"


class ObjectStorage:
    """A bucket of its own."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )
        self.client.create_bucket(Bucket=BUCKET)

    @property
    def place(self) -> ArchivePlace:
        """Below ``prefix`` in the bucket."""
        url = f"s3://{BUCKET}/prefix"
        return ArchivePlace(url, self.endpoint, "us-east-1", Secret("key"), Secret("secret"))

    def names(self) -> list[str]:
        """Of every object."""
        listed = self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return [entry["Key"] for entry in listed]

    def read(self, name: str) -> bytes:
        return bytes(self.client.get_object(Bucket=BUCKET, Key=name)["Body"].read())

    def write(self, name: str, data: bytes) -> None:
        """As somebody who may replace objects."""
        self.client.put_object(Bucket=BUCKET, Key=name, Body=data)

    def delete(self, name: str) -> None:
        self.client.delete_object(Bucket=BUCKET, Key=name)

    def stop(self) -> None:
        self._server.stop()
