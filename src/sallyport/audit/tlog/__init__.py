"""The gateway-wide transparency log: heads of recordings in a Merkle tree, under signed
checkpoints.

RFC 6962 section 2.1 for the tree, C2SP tlog-tiles for the files, C2SP signed-note and
tlog-checkpoint for what is signed, C2SP tlog-proof for proofs.
"""
