"""The texts that a client keeps with a secret, as `CustomData` of its `ExtendedConfig`: at most ten pairs."""

from __future__ import annotations

from typing import Any

from console.interfaces.alibaba import faults
from console.interfaces.alibaba.parameters import Given

PAIRS_AT_MOST = 10
CONFIG_LENGTH = 1024  # of ExtendedConfig, in characters


def sent(given: Given) -> dict[str, str] | None:
    """The texts of an UpdateSecret, however they are sent; None for none. Raises `faults.Fault`."""
    config = given.json("ExtendedConfig")
    if isinstance(config, dict) and "CustomData" in config:
        return checked(config["CustomData"])
    whole = given.json("ExtendedConfig.CustomData")
    if whole is not None:
        return checked(whole)
    flat = given.members("ExtendedConfig.CustomData.")
    return checked(flat) if flat else None


def checked(texts: Any) -> dict[str, str]:
    """Return these texts, if they are such. Raises `faults.Fault`, which repeats none of them."""
    if texts in (None, ""):
        return {}
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise faults.invalid("CustomData is a JSON object of texts.")
    if len(texts) > PAIRS_AT_MOST:
        raise faults.invalid(f"CustomData has at most {PAIRS_AT_MOST} pairs.")
    if sum(len(name) + len(text) for name, text in texts.items()) > CONFIG_LENGTH:
        raise faults.invalid(f"ExtendedConfig has at most {CONFIG_LENGTH} characters.")
    return texts
