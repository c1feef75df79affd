"""Faults of the real thing: files, descriptors, sockets that break while a gateway runs."""
