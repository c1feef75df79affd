"""sallyport.yaml, section audit: what is accepted and completed, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sallyport.config.model import Audit
from sallyport.core.errors import ConfigError
from tests.test_config import EXAMPLE, load


def stream(tmp_path: Path, entry: str) -> str:
    """The problem with it, "" for none."""
    try:
        load(tmp_path, EXAMPLE + f"audit:\n  stream:\n    - {{{entry}}}\n")
    except ConfigError as error:
        return str(error)
    return ""


def test_nothing_is_needed(tmp_path: Path) -> None:
    assert load(tmp_path, EXAMPLE).audit == Audit()


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text()
    (block,) = re.findall(r"```yaml\n(audit:\n  stream:\n.*?)```", page, re.DOTALL)
    (tmp_path / "siem-ca.pem").write_text("")
    streams = load(tmp_path, EXAMPLE + block).audit.stream
    assert [target.to for target in streams] == ["syslog", "splunk", "elastic", "file"]
    assert streams[0].required and streams[0].ca == str(tmp_path / "siem-ca.pem")
    assert streams[3].path == str(tmp_path / "audit.jsonl")


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("name: Siem, to: stdout", "'Siem' is not usable"),
        ("name: ../x, to: stdout", "is not usable"),
        ("name: a, to: kafka", "kafka"),
        ("name: a, to: syslog", "needs address"),
        ("name: a, to: syslog, address: 'x'", "address"),
        ("name: a, to: syslog, address: 'siem:6514', tls: disable", "with TLS only"),
        ("name: a, to: syslog, address: 'siem:6514', ca: missing.pem", "there is no file"),
        ("name: a, to: syslog, address: 'siem:6514', key: sallyport.yaml", "belong together"),
        ("name: a, to: syslog, address: 'siem:6514', token: {env: T}", "means nothing to"),
        ("name: a, to: splunk, url: 'https://x/y'", "needs a token"),
        ("name: a, to: splunk, url: 'http://x/y', token: {env: T}", "is not https"),
        ("name: a, to: elastic, url: 'https://x', format: cef", "takes JSON documents"),
        ("name: a, to: file", "needs path"),
        ("name: a, to: stdout, path: x", "means nothing to 'to: stdout'"),
        ("name: a, to: stdout, max_lag_seconds: 0", "must be more than 0"),
        ("name: a, to: stdout}\n    - {name: a, to: stdout", "stands twice"),
    ],
)
def test_what_is_refused(tmp_path: Path, entry: str, problem: str) -> None:
    told = stream(tmp_path, entry)
    assert problem in told and "sallyport.yaml" in told


def test_loopback_needs_no_tls(tmp_path: Path) -> None:
    assert stream(tmp_path, "name: a, to: syslog, address: '127.0.0.1:514', tls: disable") == ""


def archive(tmp_path: Path, entry: str) -> str:
    """The problem with it, "" for none."""
    try:
        load(tmp_path, EXAMPLE + f"archive: {{{entry}}}\n")
    except ConfigError as error:
        return str(error)
    return ""


def test_the_example_of_the_archive(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text()
    (block,) = re.findall(r"```yaml\n(archive:\n.*?)```", page, re.DOTALL)
    section = load(tmp_path, EXAMPLE + block).archive
    assert section is not None and section.url == "s3://audit-records/sallyport"


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("endpoint: 'https://x'", "url"),
        ("url: 'https://bucket/x'", "is not usable"),
        ("url: 's3://b/../../etc passwd'", "is not usable"),
        ("url: 's3://bucket', endpoint: 'http://minio:9000'", "is not https"),
        ("url: 's3://bucket', access_key_id: {env: A}", "belong together"),
        ("url: 's3://bucket', keep_local_days: -1", "must not be negative"),
        ("url: 's3://bucket', lock_days: -1", "must not be negative"),
    ],
)
def test_what_of_an_archive_is_refused(tmp_path: Path, entry: str, problem: str) -> None:
    assert problem in archive(tmp_path, entry)
