"""Encryption, passwords, key pairs and key files. Imports neither Django nor another room."""
