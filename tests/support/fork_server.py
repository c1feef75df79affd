"""Forks gateways and commands for :mod:`tests.support.forked`: imports what ``sallyport serve``
needs once, then answers one line of JSON with another.

``{"argv", "env", "cwd", "log", "errors"}``: start one whose output goes to these files, and say its
``pid``. ``{"wait": pid}``: the ``status`` of one
that has ended (waitpid(2)). Ends, and its children with it, when standard input does.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import signal
import sys
import threading
import time
from typing import Any, NoReturn

from sallyport.cli.main import build, main
from sallyport.demo.postgres import die_with_parent

#: What a gateway or a command imports when it comes to it.
_IMPORTED_LATE = (
    "alembic.command",
    "anyio._backends._asyncio",
    "cel",
    "httpcore2",
    "sallyport.app.serve",
    "sallyport.workers.supervisor",
    "typer._adapters",
    "uvloop",
    "xml.dom.minidom",
)


def _become(request: dict[str, Any]) -> None:
    """In the child: what is the process's own is as in a new one."""
    os.setsid()
    if ask := die_with_parent(signal.SIGTERM):
        ask()
    write = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    opened = [
        os.open(os.devnull, os.O_RDONLY),
        os.open(request["log"], write, 0o644),
        os.open(request["errors"], write, 0o644),
    ]
    for target, source in enumerate(opened):
        os.dup2(source, target)
        os.close(source)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    sys.argv = request["argv"]


def _run() -> NoReturn:
    """Run the command, and end as the interpreter does: after its threads, its exit handlers and
    what it wrote. Only what was imported is not freed one by one, which takes longer than most
    commands. Whatever is no ordinary end ends as always.
    """
    try:
        main()
        status = 0
    except SystemExit as error:
        if not (error.code is None or isinstance(error.code, int)):
            raise
        status = error.code or 0
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status & 0xFF)


def _answer(request: dict[str, Any]) -> dict[str, int]:
    if "wait" in request:
        return {"status": os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])}
    pid = os.fork()
    if not pid:
        _become(request)
        _run()
    return {"pid": pid}


def serve() -> None:
    """Answer until standard input ends."""
    build()
    for name in _IMPORTED_LATE:
        importlib.import_module(name)
    if len(os.listdir("/proc/self/task")) != 1:
        raise RuntimeError("importing the gateway started a thread, so it cannot be forked")
    gc.collect()
    gc.freeze()
    for line in sys.stdin.buffer:
        print(json.dumps(_answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    serve()
