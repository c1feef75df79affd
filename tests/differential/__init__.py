"""The oracle for rewriting: a statement through the gateway against the same statement on a masked
copy.
"""
