"""Where the files of these attacks are."""

from pathlib import Path

HERE = Path(__file__).parent
