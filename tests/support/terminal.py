"""A real (pseudo) terminal: what a program writes to one, byte by byte."""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
from collections.abc import Mapping, Sequence
from fcntl import ioctl
from termios import TIOCSWINSZ

#: What programs of ours may send to a terminal beside text: colours (SGR, ECMA-48 section 8.3.117),
#: and line ends.
_COLOURS = re.compile(rb"\x1b\[[0-9;]*m")
_SPEAKS = re.compile(
    rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)"
    rb"|\xc2[\x80-\x9f]"  # C1
    # bidi, zero-width, separators
    rb"|\xd8\x9c|\xe2\x80[\x8b-\x8f\xa8-\xae]|\xe2\x81[\xa0-\xaf]|\xef\xbb\xbf"
)


def run_in_terminal(
    command: Sequence[str], env: Mapping[str, str], *, columns: int = 120, seconds: float = 60.0
) -> bytes:
    """Run ``command`` with a terminal for all its streams; everything it wrote. The status must be
    0.
    """
    master, slave = pty.openpty()
    ioctl(slave, TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        list(command),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm-256color", **env, "COLUMNS": str(columns)},
        start_new_session=True,
    )
    os.close(slave)
    written = bytearray()
    try:
        while piece := os.read(master, 65536):
            written += piece
    except OSError:  # EIO: nobody has the other end any more
        pass
    finally:
        os.close(master)
    status = process.wait(seconds)
    assert status == 0, written.decode(errors="replace")
    return bytes(written)


def what_would_act(written: bytes) -> list[bytes]:
    """What a terminal would do or hide instead of showing: all but text, line ends and colours."""
    return _SPEAKS.findall(_COLOURS.sub(b"", written))
