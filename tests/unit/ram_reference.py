"""The same decision, written to be read and not for speed; `secrets_app.policy.ram` is held to it."""

import fnmatch
import ipaddress
from datetime import datetime

NOT_SET = object()


def decide(statements, action, resource, context, me=""):
    """True or False, from statements as documents have them; those of a resource policy name principals."""
    statements = [s for s in statements if "Principal" not in s or speaks_of(s, me)]
    denied = any(fits(s, action, resource, context, unsure=True) for s in statements if s["Effect"] == "Deny")
    allowed = any(
        fits(s, action, resource, context, unsure=False) for s in statements if s["Effect"] == "Allow"
    )
    return allowed and not denied


def speaks_of(statement, me):
    """Whether a statement of a resource policy is about this user; the whole account is given nothing."""
    named = statement["Principal"]
    names = listed(named if named == "*" else named["AWS"])
    return me in names or "*" in names or (statement["Effect"] == "Deny" and any("root" in n for n in names))


def fits(statement, action, resource, context, *, unsure):
    return (
        any(like(pattern, action) for pattern in listed(statement["Action"]))
        and any(like(pattern, resource) for pattern in listed(statement["Resource"]))
        and conditions_hold(statement.get("Condition", {}), context, unsure=unsure)
    )


def conditions_hold(conditions, context, *, unsure):
    answers = [
        holds(operator, context.get(key, NOT_SET), listed(values))
        for operator, keys in conditions.items()
        for key, values in keys.items()
    ]
    return all(unsure if answer is None else answer for answer in answers)


def holds(operator, found, values):
    if found is NOT_SET:
        return None
    negative = operator.startswith("Not") or "Not" in operator
    plain = operator.replace("Not", "", 1) if negative else operator
    try:
        answers = [one(plain, found, value) for value in values]
    except (ValueError, KeyError):
        return None
    return not any(answers) if negative else any(answers)


def one(operator, found, value):
    if operator == "StringEquals":
        return found == value
    if operator == "StringEqualsIgnoreCase":
        return found.lower() == value.lower()
    if operator == "StringLike":
        return like(value, found)
    if operator == "Bool":
        return {"true": 1, "false": 0}[found.lower()] == {"true": 1, "false": 0}[value.lower()]
    if operator == "IpAddress":
        return ipaddress.ip_address(found) in ipaddress.ip_network(value, strict=False)
    kind, comparison = ("Date", operator[4:]) if operator.startswith("Date") else ("Numeric", operator[7:])
    a, b = (datetime.fromisoformat(v) if kind == "Date" else float(v) for v in (found, value))
    return {
        "Equals": a == b, "LessThan": a < b, "LessThanEquals": a <= b,
        "GreaterThan": a > b, "GreaterThanEquals": a >= b,
    }[comparison]  # fmt: skip


def like(pattern, text):
    return fnmatch.fnmatchcase(text, pattern.replace("[", "[[]"))


def listed(value):
    return value if isinstance(value, list) else [value]
