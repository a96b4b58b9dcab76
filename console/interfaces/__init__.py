"""Interfaces for programs, beside the screens: each speaks a protocol that existing clients speak."""
