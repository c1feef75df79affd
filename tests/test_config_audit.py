"""sallyport.yaml, section audit: what is accepted and completed, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sallyport.config import SecretRef
from sallyport.config.model import Audit
from sallyport.core.errors import ConfigError
from tests.test_config import EXAMPLE, load


def test_nothing_is_needed(tmp_path: Path) -> None:
    assert load(tmp_path, EXAMPLE).audit == Audit()


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text()
    (block,) = re.findall(r"```yaml\n(audit:\n  witnesses:\n.*?)```", page, re.DOTALL)
    block += "archive: {url: 's3://bucket/prefix'}\n"
    file, archive, syslog, cosigner, webhook = load(tmp_path, EXAMPLE + block).audit.witnesses
    assert file.file == "/mnt/worm/sallyport.checkpoints" and archive.archive
    assert syslog.syslog == "tls://siem.example.com:6514"
    assert cosigner.cosigner.endswith("/witness")
    assert webhook.secret == SecretRef(env="WITNESS_SECRET")


def test_recordings_are_not_bounded_twice(tmp_path: Path) -> None:
    text = "audit: {retention_bytes: 1000}\n"
    assert load(tmp_path, EXAMPLE + text).audit.retention_bytes == 1000
    with pytest.raises(ConfigError, match="not in the archive yet"):
        load(tmp_path, EXAMPLE + text + "archive: {url: 's3://bucket/prefix'}\n")


def test_paths_are_completed(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    text = "audit: {witnesses: [{file: kept}, {syslog: 'tls://h', ca: ca.pem}]}\n"
    file, syslog = load(tmp_path, EXAMPLE + text).audit.witnesses
    assert file.file == str(tmp_path / "kept") and syslog.ca == str(tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("checkpoint_seconds: 0", "not usable"),
        ("head_seconds: -1", "not usable"),
        ("head_seconds: 1201", "1201 is not usable.*up to 1200"),
        ("checkpoint_seconds: 601", "601 is not usable.*up to 600"),
        ("retention_days: -1", "must not be below 0"),
        ("retention_targets: {shop: -1}", "must not be below 0"),
        ("retention_targets: {no-such-target: 1}", "no such target"),
        ("witnesses: [{}]", "exactly one of"),
        ("witnesses: [{file: a, syslog: 'udp://h'}]", "exactly one of"),
        ("witnesses: [{archive: true}]", "there is no archive"),
        ("witnesses: [{webhook: 'https://h'}]", "belong together"),
        ("witnesses: [{file: a, secret: {env: S}}]", "belong together"),
        ("witnesses: [{webhook: 'http://h.example.com', secret: {env: S}}]", "not https"),
        ("witnesses: [{syslog: 'http://h'}]", "not a syslog server"),
        ("witnesses: [{syslog: 'udp://h:99999'}]", "not a syslog server"),
        ("witnesses: [{syslog: 'udp://h', ca: ca.pem}]", "only syslog with tls"),
        ("witnesses: [{syslog: 'tls://h', ca: none.pem}]", "there is no file"),
        ("witness: 1", "witness"),
        ("witnesses: [{cosigner: 'https://h'}]", "belong together"),
        ("witnesses: [{cosigner: 'https://h', key: x}]", "not a public key"),
        ("witnesses: [{cosigner: 'http://h.example.com', key: n+0a1b2c3d+AbC=}]", "not https"),
        ("cosign: [x]", "not a public key"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){what}") as raised:
        load(tmp_path, EXAMPLE + f"audit:\n  {text}\n")
    assert "line" in str(raised.value) or "sallyport.yaml:" in str(raised.value)
