"""Signed notes and checkpoints, against the examples of the C2SP specifications and sumdb."""

from __future__ import annotations

import pytest

from sallyport.audit.tlog.hashing import EMPTY_ROOT
from sallyport.audit.tlog.notes import (
    Checkpoint,
    Note,
    NoteError,
    SigningKey,
    VerifyKey,
    WrongKeyError,
    split_notes,
)

#: Of golang.org/x/mod/sumdb/note, whose format this is.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


@pytest.fixture
def key() -> SigningKey:
    return SigningKey.generate("sallyport/test")


def test_a_note_of_another_implementation() -> None:
    Note.parse(PETER_NOTE).check(VerifyKey.parse(PETER))
    with pytest.raises(WrongKeyError):
        Note.parse(PETER_NOTE.replace("answer", "anxwer")).check(VerifyKey.parse(PETER))


def test_keys_as_text(key: SigningKey) -> None:
    assert VerifyKey.parse(str(key.public)) == key.public
    again = SigningKey.parse(key.secret_text())
    assert again.public == key.public and again.sign("x\n") == key.sign("x\n")
    assert "PRIVATE" not in repr(key) and key.secret_text().split("+", 4)[-1].strip() not in repr(
        key
    )
    text = str(key.public)
    for bad in (
        "",
        "x",
        text[:-5],
        text.replace("+", "-", 1),
        text.replace("sallyport", "sallyp0rt"),
    ):
        with pytest.raises(NoteError):
            VerifyKey.parse(bad)


def test_a_checkpoint(key: SigningKey) -> None:
    checkpoint = Checkpoint.sign(key, 7, EMPTY_ROOT)
    text = str(checkpoint)
    assert text.startswith("sallyport/test\n7\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n— ")
    assert Checkpoint.parse(text, key.public) == checkpoint
    # Deterministic: there cannot be two for one tree.
    assert str(Checkpoint.sign(key, 7, EMPTY_ROOT)) == text
    with pytest.raises(WrongKeyError):
        Checkpoint.parse(text, SigningKey.generate("sallyport/test").public)
    with pytest.raises(WrongKeyError):
        Checkpoint.parse(text.replace("\n7\n", "\n8\n"), key.public)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n7\n", "\n07\n"),
        lambda text: text.replace("\n7\n", "\n-7\n"),
        lambda text: text.replace("\n7\n", "\n\n"),
        lambda text: text.replace("47DE", "47D"),
        lambda text: text.replace("\n\n", "\n"),
        lambda text: text.replace("— ", "- "),
        lambda text: text[:-1],
        lambda text: text.replace("\n7", "\r\n7"),
        lambda text: "",
    ],
)
def test_what_is_no_checkpoint(key: SigningKey, change) -> None:
    text = str(Checkpoint.sign(key, 7, EMPTY_ROOT))
    changed = change(text)
    assert changed != text
    with pytest.raises(NoteError):
        Checkpoint.parse(changed)


def test_a_cosignature(key: SigningKey) -> None:
    checkpoint = Checkpoint.sign(key, 7, EMPTY_ROOT)
    witness = SigningKey.generate("other").cosigner("witness.example/w1")
    cosigned = checkpoint.with_signatures((witness.cosign(checkpoint.note.text, 1_700_000_000),))
    again = Checkpoint.parse(str(cosigned), key.public)
    again.note.check(witness.public)
    later = witness.cosign(checkpoint.note.text, 1_700_000_001)
    signature = again.note.signatures[1]
    assert witness.public.is_valid(later, checkpoint.note.text)
    moved = type(signature)(signature.name, signature.key_id, later.value[:8] + signature.value[8:])
    assert not witness.public.is_valid(moved, checkpoint.note.text)


def test_notes_behind_each_other(key: SigningKey) -> None:
    notes = [str(Checkpoint.sign(key, size, EMPTY_ROOT)) for size in (1, 2, 3)]
    assert split_notes("".join(notes)) == notes
    assert split_notes("\n".join(notes)) == notes
    assert split_notes("") == []
