"""Wrong input on purpose: one line that says what, where and what to do; never a traceback."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from sallyport.cli.main import main
from sallyport.demo.issuer import DevIssuer


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The error's line of a command that must not work."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    text = capsys.readouterr().err
    assert text.startswith("sallyport: ") and text.count("\n") == 1
    assert "Traceback" not in text and "Error:" not in text
    return text


@pytest.mark.parametrize("words", [("connect", "shop"), ("proxy", "--target", "shop")])
def test_an_address_of_the_gateway(capsys: pytest.CaptureFixture[str], words: tuple[str]) -> None:
    text = said(capsys, *words, "--gateway", "nonsense")
    assert text == "sallyport: 'nonsense' is not an address. Write host:port, like 127.0.0.1:6432\n"


def test_a_token_file_that_is_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = said(capsys, "token", "--token-file", str(tmp_path / "none"))
    assert "none cannot be read: No such file or directory" in text


def test_an_issuer_that_is_no_address(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALLYPORT_CLIENT_SECRET", "x")
    text = said(capsys, "token", "--issuer", "nonsense", "--client-id", "ci")
    assert "the issuer 'nonsense' must be a URL" in text


def test_a_secret_that_is_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALLYPORT_CLIENT_SECRET", "wrong")
    with DevIssuer() as issuer:
        text = said(capsys, "token", "--issuer", issuer.url, "--client-id", "claude-agent")
    assert "refused: invalid_client" in text
    assert text.endswith("Are the client id and its secret the issuer's?\n")


def test_a_port_that_is_taken(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "token").write_text("x.y.z")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = said(
            capsys, "proxy", "--target", "shop", "--token-file", str(tmp_path / "token"),
            "--listen", f"127.0.0.1:{port}",
        )  # fmt: skip
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use. Choose another" in text


def test_a_backup_that_is_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = said(capsys, "restore", str(tmp_path / "no.tar"), "--data", str(tmp_path / "data"))
    assert text.endswith("no.tar cannot be restored: No such file or directory\n")
