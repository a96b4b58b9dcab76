import itertools
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.interfaces.aws import operations
from secrets_app.actions import Action
from secrets_app.policy import ram_conditions, ram_documents, ram_patterns, ram_statements
from tests import amounts
from tests.unit import policy_strategies as some
from tests.unit import ram_reference as reference

contexts = st.builds(lambda a, b: {**a, **b}, some.request_contexts, some.tag_contexts)
actions, resources = st.sampled_from(some.ACTIONS), st.sampled_from(some.SECRETS)
MANY = settings(max_examples=amounts.cases(200, long=1000))


def read(found):
    """The statements as they are read; quicker than reading them."""
    return tuple(
        ram_statements.Statement(
            ram_statements.Effect(statement["Effect"]),
            tuple(reference.listed(statement["Action"])),
            tuple(reference.listed(statement["Resource"])),
            tuple(
                ram_conditions.Condition(operator, key, tuple(reference.listed(values)))
                for operator, keys in statement.get("Condition", {}).items()
                for key, values in keys.items()
            ),
            number=number,
        )
        for number, statement in enumerate(found, start=1)
    )


@settings(max_examples=amounts.cases(60, long=300))
@given(some.policies)
def test_a_document_says_what_is_decided_from(found):
    assert ram_documents.read(some.document(found), actions=some.ACTIONS) == read(found)


@settings(max_examples=amounts.cases(100, long=500))
@given(some.policies, contexts)
def test_p_01_the_engine_decides_as_the_reference_does(found, context):
    statements = read(found)
    for action, resource in itertools.product(some.ACTIONS, some.SECRETS):  # 72 decisions by each policy
        expected = reference.decide(found, action, resource, context)
        assert ram_statements.decide(statements, action, resource, context).allowed == expected


@settings(max_examples=amounts.cases(300, long=2000))
@given(some.policies, actions, resources, contexts, st.lists(contexts, min_size=1, max_size=5))
def test_p_06_what_is_handed_on_never_allows_more_than_its_giver_had(
    found, action, resource, context, others
):
    statements = read(found)
    carried = ram_statements.carried(statements, action, resource, context)
    assert (carried is not None) == reference.decide(found, action, resource, context)
    if carried is None:
        return
    kept = ram_conditions.conditions(ram_conditions.written(carried))
    assert set(kept) == set(carried)
    grant = [ram_statements.Statement(ram_statements.Effect.ALLOW, (action,), ("*",), kept)]
    assert ram_statements.decide(grant, action, resource, context).allowed
    for other in others:
        if ram_statements.decide(grant, action, resource, other).allowed:
            assert reference.decide(found, action, resource, other), other


@settings(max_examples=amounts.cases(500, long=3000))
@given(
    some.policies, actions, resources, some.tag_contexts, some.tag_contexts,
    st.lists(some.request_contexts, min_size=1, max_size=5),
)  # fmt: skip
def test_tags_that_widen_nothing_allow_nothing_in_any_request_that_was_denied(
    found, action, resource, before, after, requests
):
    widens = ram_statements.may_widen(read(found), action, resource, before, after)
    if before == after:
        assert not widens
    for request in requests:
        had = reference.decide(found, action, resource, {**request, **before})
        has = reference.decide(found, action, resource, {**request, **after})
        assert widens or had or not has, request


def test_a_tag_widens_what_is_allowed_by_it_from_elsewhere_only():
    inside = {"StringEquals": {"kms:tag/team": "a"}, "IpAddress": {"acs:SourceIp": "10.0.0.0/8"}}
    statements = read([{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": inside}])
    a, b = {"kms:tag/team": "a"}, {"kms:tag/team": "b"}
    assert ram_statements.may_widen(statements, "kms:GetSecretValue", "x", b, a)
    assert not ram_statements.may_widen(statements, "kms:GetSecretValue", "x", a, b)


@MANY
@given(some.conditions, contexts)
def test_what_is_opposite_holds_where_the_condition_does_not(condition, context):
    for operator, keys in condition.items():
        for key, values in keys.items():
            one = ram_conditions.Condition(operator, key, tuple(reference.listed(values)))
            answer = ram_conditions.evaluate(one, context)
            turned = ram_conditions.all_hold(
                ram_conditions.evaluate(c, context) for c in ram_conditions.opposites(one)
            )
            assert turned == (None if answer is None else not answer)


@pytest.mark.parametrize(
    "text", ["{", "3", "[3]", '[["StringEquals", "kms:tag/a"]]', '[["Bool", 1, [2]]]', "{}x"]
)
def test_p_08_conditions_that_cannot_be_read_allow_nothing(text):
    grant = ram_statements.Statement(
        ram_statements.Effect.ALLOW, ("*",), ("*",), ram_conditions.conditions(text)
    )
    assert not ram_statements.decide([grant], "kms:GetSecretValue", "acs:kms:eu:1:secret/x", {}).allowed


@MANY
@given(some.policies, some.statements, actions, resources, contexts)
def test_p_02_one_more_deny_never_allows(found, more, action, resource, context):
    before = ram_statements.decide(read(found), action, resource, context).allowed
    after = ram_statements.decide(
        read([*found, {**more, "Effect": "Deny"}]), action, resource, context
    ).allowed
    assert before or not after


@MANY
@given(some.policies, st.integers(0, 5), actions, resources, contexts)
def test_p_03_one_allow_less_never_allows(found, place, action, resource, context):
    less = [s for n, s in enumerate(found) if n != place or s["Effect"] == "Deny"]
    before = ram_statements.decide(read(found), action, resource, context).allowed
    after = ram_statements.decide(read(less), action, resource, context).allowed if less else False
    assert before or not after


@MANY
@given(some.policies, st.randoms(use_true_random=False), actions, resources, contexts)
def test_p_04_order_and_duplicates_change_nothing(found, chance, action, resource, context):
    mixed = [*found, *found]
    chance.shuffle(mixed)
    before = ram_statements.decide(read(found), action, resource, context).allowed
    assert ram_statements.decide(read(mixed), action, resource, context).allowed == before


@MANY
@given(some.policies, contexts)
def test_p_08_what_is_no_action_or_no_name_of_ours_is_never_allowed_by_a_narrow_policy(found, context):
    narrow = [{**s, "Action": ["kms:Get*", "kms:RotateSecret"]} for s in found]
    for action in ("kms:getsecretvalue", "kms:rotatesecret", "Get", "", "kms:Rotate*"):
        assert not ram_statements.decide(read(narrow), action, some.SECRETS[0], context).allowed
    exact = [{**s, "Resource": some.SECRETS[0]} for s in found]
    for name in ("", "acs:kms", some.SECRETS[0] + "\n", some.SECRETS[0].upper(), some.SECRETS[0] + "/"):
        assert not ram_statements.decide(read(exact), "kms:GetSecretValue", name, context).allowed


@pytest.mark.parametrize("effect", ["Allow", "Deny"])
@pytest.mark.parametrize(
    ("condition", "context"),
    [
        ({"IpAddress": {"acs:SourceIp": "10.0.0.0/8"}}, {}),
        ({"IpAddress": {"acs:SourceIp": "10.0.0.0/8"}}, {"acs:SourceIp": "not an address"}),
        ({"NotIpAddress": {"acs:SourceIp": "10.0.0.0/8"}}, {}),
        ({"DateLessThan": {"acs:CurrentTime": "2026-01-01T00:00:00Z"}}, {"acs:CurrentTime": "2026-01-01"}),
        ({"StringNotEquals": {"kms:tag/env": "prod"}}, {}),
        ({"Bool": {"acs:MFAPresent": "true"}}, {"acs:MFAPresent": ""}),
    ],
)
def test_p_08_what_cannot_be_evaluated_denies_and_does_not_allow(effect, condition, context):
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    doubtful = {"Effect": effect, "Action": "*", "Resource": "*", "Condition": condition}
    statements = read([everything, doubtful] if effect == "Deny" else [doubtful])
    assert not ram_statements.decide(statements, "kms:GetSecretValue", some.SECRETS[0], context).allowed


def test_an_address_written_as_ipv6_is_the_address_that_it_stands_for():
    condition = {"NotIpAddress": {"acs:SourceIp": "10.0.0.0/8"}}
    found = [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition},
    ]
    context = {"acs:SourceIp": "::ffff:10.1.2.3"}
    assert ram_statements.decide(read(found), "kms:GetSecretValue", some.SECRETS[0], context).allowed


def test_a_decision_names_the_statement_that_made_it():
    found = read(
        [
            {"Effect": "Allow", "Action": "kms:*", "Resource": "*"},
            {"Effect": "Deny", "Action": "kms:Get*", "Resource": "*"},
        ]
    )
    assert ram_statements.decide(found, "kms:GetSecretValue", some.SECRETS[0], {}).statement.number == 2
    assert ram_statements.decide(found, "kms:ListSecrets", some.SECRETS[0], {}).statement.number == 1
    assert ram_statements.decide([], "kms:ListSecrets", some.SECRETS[0], {}) == ram_statements.Verdict(
        False, None
    )


def test_a_pattern_full_of_stars_is_decided_at_once():
    assert not ram_patterns.matches("*a" * 300 + "b", "a" * 700)


STATEMENT = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def document(version="1", **changes):
    """One statement, a line for each of its fields from line 4 on."""
    return json.dumps({"Version": version, "Statement": [{**STATEMENT, **changes}]}, indent=1)


def conditioned(operator, key, value):
    return document(Condition={operator: {key: value}})


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("{", 1, "not JSON"),
        ('{"Version": "1",\n "Statement": [],\n}', 3, "not JSON"),
        ("[]", 1, "Version"),
        (document(version="2"), 2, 'The version is "1"'),
        ('{"Version": "1",\n"Statement": []}', 2, "at least one"),
        (document(Effect="allow"), 5, "Effect is"),
        (document(Action=["*", "kms:Foo"]), 8, "No action fits kms:Foo"),
        (document(Action="kms:getsecretvalue"), 6, "case counts"),
        (document(Action="secretsmanager:Foo"), 6, "Keyturn has none of it"),
        (document(Action="secretsmanager:getSecretValue"), 6, "Keyturn has none of it"),
        (document(Action="secretsmanager:UpdateSecretVersionStage"), 6, "kms:PutSecretValue decides this"),
        (document(Action="secretsmanager:Batch*"), 6, "kms:GetSecretValue decides this"),
        (document(Resource="web/*"), 7, "acs:kms:"),
        (document(Resource=[]), 7, "Resource is a text"),
        (document(NotAction="*"), 8, "NotAction is not known"),
        (document().replace('"Action"', '"Effect": "Deny",\n"Action"'), 6, "Effect stands here twice"),
        (conditioned("Bool", "acs:Mfa", "true"), 10, "acs:Mfa is no key"),
        (conditioned("IpAddress", "acs:SourceIp", ["10.0.0.0/8", "10.0.0.300"]), 12, "is not an address"),
        (conditioned("IsIn", "acs:SourceIp", "x"), 9, "IsIn is no operator"),
        (conditioned("NumericEquals", "kms:tag/x", "1"), 10, "Use StringEquals"),
        (conditioned("DateLessThan", "acs:CurrentTime", "2026-01-01"), 10, "is not a time"),
    ],
)
def test_a_document_that_is_none_says_what_is_wrong_and_where(text, line, words):
    with pytest.raises(ram_documents.BadDocument) as caught:
        ram_documents.read(text, actions=some.ACTIONS)
    assert any(p.line == line and words in p.sentence for p in caught.value.problems), caught.value.problems


@pytest.mark.parametrize(
    ("effect", "named", "found"),
    [
        ("Allow", "secretsmanager:GetSecretValue", {"GetSecretValue"}),
        ("Allow", ["secretsmanager:GetSecretValue", "kms:GetSecretValue"], {"GetSecretValue"}),
        ("Allow", ["secretsmanager:Put*", "kms:List*"], {"PutSecretValue", "List*"}),
        ("Allow", "secretsmanager:Get*", {"GetSecretValue"}),
        ("Deny", "secretsmanager:Get*", {"GetSecretValue"}),
        # A label can be moved by who may put a value, and by nobody whom "Update*" is denied.
        ("Allow", "secretsmanager:Update*", {"UpdateSecret"}),
        ("Deny", "secretsmanager:Update*", {"UpdateSecret", "PutSecretValue"}),
    ],
)
def test_a_document_may_use_the_names_of_aws(effect, named, found):
    text = document(Effect=effect, Action=named)
    (statement,) = ram_documents.read(text, actions=tuple(Action))
    assert set(statement.actions) == {f"kms:{name}" for name in found}


def test_all_of_aws_is_all_that_its_operations_ask_for_and_nothing_else():
    (allowed,) = ram_documents.read(document(Action="secretsmanager:*"), actions=tuple(Action))
    text = document(Effect="Deny", Action="secretsmanager:*")
    (denied,) = ram_documents.read(text, actions=tuple(Action))
    assert set(denied.actions) - set(allowed.actions) == {
        Action.UPDATE_ROTATION,
        Action.SET_SECRET_POLICY,
    }
    asked = {row.action for row in operations.TABLE.values()} & set(Action)
    assert asked <= set(denied.actions)
    assert not allowed.concerns("kms:CreateAccessKey")


def test_every_problem_of_a_document_is_told_at_once():
    text = '{"Version": "1",\n"Statement": [{"Effect":"x",\n"Action":"kms:Foo",\n"Resource":"y"}]}'
    with pytest.raises(ram_documents.BadDocument) as caught:
        ram_documents.read(text, actions=some.ACTIONS)
    assert [p.line for p in caught.value.problems] == [2, 3, 4]


@pytest.mark.parametrize("text", ["[" * 100_000, '{"Version": "1", "Statement": ' + "[" * 5000])
def test_a_document_that_is_too_large_or_too_deep_is_refused(text):
    with pytest.raises(ram_documents.BadDocument):
        ram_documents.read(text, actions=some.ACTIONS)


def test_the_table_of_actions_and_operators_is_the_one_in_the_documentation():
    text = (Path(__file__).resolve().parents[2] / "docs" / "actions.md").read_text()
    rows = dict(re.findall(r"^\| `(kms:\w+)` \| `([a-z/A-Z]+)` \|", text, re.M))
    assert rows == {a.value: a.kind.value if a.on_container else f"{a.kind.value}/NAME" for a in Action}
    named = set(re.findall(r"`((?:String|Date|Bool|Ip|NotIp)\w*)`", text))
    assert named == {name for name in ram_conditions.OPERATORS if not name.startswith("Numeric")}
    assert {key for key in ram_conditions.KEYS if f"`{key}`" in text} == set(ram_conditions.KEYS)
