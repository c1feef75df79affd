"""Unusual behaviour of agents, noticed while it happens and explained.

Pure, like what it reads: :mod:`~sallyport.watch.watcher` is given what each session did since it
was last asked, and gives findings; nothing here does I/O. docs/watching.md has the formulas.
"""
