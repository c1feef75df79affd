"""Forks gateways for :mod:`tests.support.forked`: imports what ``sallyport serve`` needs once, then
answers one line of JSON with another.

``{"argv", "env", "log"}``: start one, and say its ``pid``. ``{"wait": pid}``: the ``status`` of one
that has ended (waitpid(2)). Ends, and its children with it, when standard input does.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import time
from typing import Any

from sallyport.cli.main import build, main
from sallyport.demo.postgres import die_with_parent


def _become(argv: list[str], env: dict[str, str], log: str) -> None:
    """In the child: what is the process's own is as in a new one."""
    os.setsid()
    if ask := die_with_parent(signal.SIGTERM):
        ask()
    null = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(null)
    os.close(output)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.argv = argv


def _answer(request: dict[str, Any]) -> dict[str, int]:
    if "wait" in request:
        return {"status": os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])}
    pid = os.fork()
    if not pid:
        _become(request["argv"], request["env"], request["log"])
        main()
        sys.exit(0)
    return {"pid": pid}


def serve() -> None:
    """Answer until standard input ends."""
    build()
    importlib.import_module("sallyport.app.serve")
    if len(os.listdir("/proc/self/task")) != 1:
        raise RuntimeError("importing the gateway started a thread, so it cannot be forked")
    gc.collect()
    gc.freeze()
    for line in sys.stdin.buffer:
        print(json.dumps(_answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    serve()
