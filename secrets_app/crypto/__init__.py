"""Bytes and text: sealing, passwords, key pairs, files of keys. Knows no Django and nobody else."""
