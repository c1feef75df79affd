"""Recording: events, the hash chain, files, the writer, verification and replay. docs/recording.md
tells the whole.
"""
