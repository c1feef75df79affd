"""A cosigner signs what continues what it signed last, and nothing else (C2SP tlog-witness)."""

from __future__ import annotations

from pathlib import Path

import pytest

from sallyport.audit.tlog.cosigning import Cosigner, CosignRequest
from sallyport.audit.tlog.log import TransparencyLog
from sallyport.audit.tlog.notes import Checkpoint, SigningKey, parse_signature
from sallyport.audit.tlog.reading import read_vkey
from sallyport.core.errors import SallyportError
from tests.audit.tlog.records import head


class Stage:
    def __init__(self, directory: Path) -> None:
        data = directory / "log"
        data.mkdir()
        self.log = TransparencyLog(data / "recordings" / "log", data)
        self.log.open()
        self.key = read_vkey(self.log.directory)
        self.signing = SigningKey.parse((data / "audit.key").read_text())
        self.directory = directory / "cosigner"
        self.directory.mkdir()
        self.restart()

    def restart(self) -> None:
        self.cosigner = Cosigner(self.directory, [self.key])

    def grow(self, *numbers: int) -> Checkpoint:
        self.log.append(*(head(number) for number in numbers))
        assert self.log.make_checkpoint()
        assert self.log.checkpoint is not None
        return self.log.checkpoint

    def ask(self, old: int, checkpoint: Checkpoint, proof: tuple[bytes, ...] | None = None) -> int:
        if proof is None:
            proof = tuple(self.log.consistency(old, checkpoint.size))
        self.answer = self.cosigner.add_checkpoint(CosignRequest(old, proof, checkpoint).encode())
        return self.answer.status


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_a_log_that_grows(stage: Stage) -> None:
    first = stage.grow(1, 2)
    assert stage.ask(0, first) == 200
    signature = parse_signature(stage.answer.text)
    assert stage.cosigner.public.is_valid(signature, first.note.text)
    assert stage.ask(first.size, first) == 200, "asked again"
    second = stage.grow(3, 4, 5)
    # What it signed last outlives it, and its key too.
    public = stage.cosigner.public
    stage.restart()
    assert stage.cosigner.public == public
    assert stage.ask(0, second) == 409 and stage.answer.text == "3\n"
    assert stage.answer.content_type == "text/x.tlog.size"
    assert stage.ask(3, second) == 200


def test_a_log_that_does_not_continue(stage: Stage) -> None:
    first = stage.grow(1, 2)
    second = stage.grow(3)
    assert stage.ask(0, second) == 200
    assert stage.ask(4, first, ()) == 400, "older than what it says"
    assert stage.ask(3, first, ()) == 409 and stage.answer.text == "4\n", "rolled back"
    fork = Checkpoint.sign(stage.signing, 4, bytes(32))
    assert stage.ask(4, fork, ()) == 409, "another tree of that size"
    later = Checkpoint.sign(stage.signing, 5, bytes(32))
    assert stage.ask(4, later, (bytes(32),)) == 422
    third = stage.grow(4)
    proof = stage.log.consistency(4, 5)
    assert stage.ask(4, third, tuple(proof[:-1])) == 422
    assert stage.ask(4, third) == 200


def test_who_else_asks(stage: Stage) -> None:
    stranger = SigningKey.generate("another/log")
    assert stage.ask(0, Checkpoint.sign(stranger, 1, bytes(32)), ()) == 404
    impostor = SigningKey.generate(stage.key.name)
    assert stage.ask(0, Checkpoint.sign(impostor, 1, bytes(32)), ()) == 403
    for body in (b"", b"\xff", b"old 0\n", b"old -1\n\nx", b"old 0\nxxx\n\nx", b"old 0\n\nx\n1\n"):
        assert stage.cosigner.add_checkpoint(body).status == 400


def test_what_it_signed_was_changed(stage: Stage) -> None:
    """Without knowing what it signed last it signs nothing."""
    assert stage.ask(0, stage.grow(1)) == 200
    [path] = (stage.directory / "cosigned").iterdir()
    path.write_text(path.read_text().replace("\n2\n", "\n1\n"))
    with pytest.raises(SallyportError):
        stage.ask(2, stage.grow(2))
