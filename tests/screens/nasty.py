"""Texts that break readers: what a form is sent that nobody would type."""

# ruff: noqa: E501, RUF001
from __future__ import annotations

DOCUMENT = '{"Version": "1", "Statement": [{"Effect": "Allow", "Action": %s, "Resource": %s%s}]}'


def document(action: str = '"*"', resource: str = '"*"', more: str = "") -> str:
    """A policy with these parts, as they stand in JSON."""
    return DOCUMENT % (action, resource, more)


def condition(text: str, operator: str = "NumericEquals", key: str = "acs:CurrentTime") -> str:
    return document(more=f', "Condition": {{"{operator}": {{"{key}": {text}}}}}')


SURROGATE, NUL = "\ud800", "\0"
NUMBERS = (
    "9" * 5_000, "-" + "9" * 5_000, "9" * 400, "-1", "0", "1e999", "1e-999", "NaN", "-Infinity", "1_0", "٣", "²",
    "9223372036854775808", "2147483648", "0x10", " 7 ",
)  # fmt: skip
DATES = (
    "0001-01-01", "9999-12-31", "0001-01-01T00:00", "9999-12-31T23:59", "9999-12-31 23:59:59", "10000-01-01",
    "2026-02-30", "23:59:60", "00:00", "24:00",
)  # fmt: skip
DEEP = ("[" * 10_000, '{"a":' * 10_000, "[" * 10_000 + "]" * 10_000, "(" * 10_000)
TEXTS = (
    NUL, f"a{NUL}b", SURROGATE, f"a{SURROGATE}b", "\udfff", "a\r\nb", "\x1b[31m", "\u202e", "\ufeff", "\u2028",
    "é" * 300, "😀" * 300, "a" * 100_000, " ", "\u3000", "'\"<script>{{7*7}}%s", "%", "%00", "*", "?", "[", "\\",
    "../..", "=1+1", "a=" + "b" * 5_000, "a=1\n" * 500, f"a={NUL}", f"a={SURROGATE}", "user:x", "user:", ":",
    "00000000-0000-0000-0000-000000000000", "null", "{}", '{"a":1}', '"', "localhost", "fe80::1%eth0", "1.1.1.1",
    "a" * 64, "a" * 65, "xn--a", "１２７.0.0.1", "ſ", "İ", "ß", "K",
)  # fmt: skip
DOCUMENTS = (
    document(resource='"acs:kms:*:*:secret/\\ud800"'), document(resource='"acs:kms:*:*:secret/\\u0000"'),
    document(action='"\\udc00"'), document(resource='"\\ud83d\\ude00"'), document(resource="9" * 5_000),
    document(resource="1e999"), document(resource="NaN"), document(more=f', "x": {"9" * 5_000}'),
    document(more=', "\\ud800": 1'), document(more=', "\\ud800": 1, "\\ud800": 2'),
    document(more=', "Condition": {"\\ud800": {"\\ud800": "\\ud800"}}'),
    condition('"\\ud800"', "StringEquals", "kms:Reason"), condition('"\\u0000"', "StringLike", "kms:tag/a"),
    condition('"\\ud800"', "StringLike", "kms:tag/a"), condition('"a"', "StringEquals", "kms:tag/\\ud800"),
    condition('"a"', "StringEquals", "kms:tag/\\u0000"), condition('"9999-12-31T23:59:59-23:59"', "DateLessThan"),
    condition('"0001-01-01T00:00:00+23:59"', "DateGreaterThan"), condition("9" * 5_000, "DateEquals"),
    condition('"0.0.0.0/0"', "IpAddress", "acs:SourceIp"), condition('"::/0"', "IpAddress", "acs:SourceIp"),
    condition('"' + "9" * 400 + '"', "IpAddress", "acs:SourceIp"), condition("true", "Bool", "acs:MFAPresent"),
    condition('"TRUE\\u0130"', "Bool", "acs:MFAPresent"), '{"Version": "1", "Statement": ' + "[" * 10_000,
    "9" * 5_000, "NaN", "1e999", '"\\ud800"', "\ufeff{}", document().replace("Version", "\\ud800"),
    document("[" + ",".join(['"*"'] * 3_000) + "]"), document(resource='"' + "*?" * 300 + '"'),
)  # fmt: skip
ALL = TEXTS + NUMBERS + DATES + DEEP + DOCUMENTS
