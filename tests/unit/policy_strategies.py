"""Policies, requests and names that meet each other often enough to be worth deciding."""

import json

from hypothesis import strategies as st

ACTIONS = ["kms:GetSecretValue", "kms:DescribeSecret", "kms:ListSecrets", "kms:RotateSecret"]
REGIONS = ["cn-a", "cn-b", "eu"]
ACCOUNT = "1234"
NAMES = ["acs/ecs/web", "acs/ecs/web/db", "acs/ecs/Web", "acs/ecs/w_b", "acs/ecs/a+b", "acs/ecs/x.y=z@q-1"]
SECRETS = [f"acs:kms:{region}:{ACCOUNT}:secret/{name}" for region in REGIONS for name in NAMES]
TAGS = {"env": ["prod", "Prod", "test", "p_od", ""], "team": ["db", "web"]}

_actions = st.sampled_from([*ACTIONS, "kms:*", "kms:*Secret", "kms:Get*", "*", "kms:?otateSecret"])
_names = st.sampled_from(
    [*NAMES, "*", "acs/*", "acs/ecs/w?b", "acs/ecs/*b", "*web*", "acs/ecs/web*", "acs/ecs/W*", "a*a*a*"]
)
_regions = st.sampled_from([*REGIONS, "*", "cn-*", "cn-?"])
_resources = st.one_of(
    st.just("*"),
    st.just("acs:kms:*"),
    st.builds("acs:kms:{}:{}:secret/{}".format, _regions, st.sampled_from([ACCOUNT, "*", "99"]), _names),
    st.builds("acs:kms:{}:*:{}".format, _regions, _names),
)
_tag_values = st.sampled_from(["prod", "test", "PROD", "p*", "p?od", "", "db"])
_tag_keys = st.sampled_from([f"kms:tag/{key}" for key in TAGS] + ["kms:tag/none"])
_strings = st.sampled_from(
    ["StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "StringLike",
     "StringNotLike"]
)  # fmt: skip
_dates = st.sampled_from(["2026-01-01T00:00:00+00:00", "2026-06-01T12:00:00+08:00", "2027-01-01T00:00:00Z"])
_comparisons = ["Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"]


def _some(values):
    return st.one_of(values, st.lists(values, min_size=1, max_size=3))


tag_conditions = st.dictionaries(
    _strings, st.dictionaries(_tag_keys, _some(_tag_values), min_size=1, max_size=2), max_size=2
)
os_conditions = st.dictionaries(
    _strings,
    st.fixed_dictionaries({"kms:OSType": _some(st.sampled_from(["Linux", "Windows", "windows", "W*", ""]))}),
    max_size=1,
)
request_conditions = st.one_of(
    st.just({}),
    _some(st.sampled_from(["true", "false"])).map(lambda v: {"Bool": {"acs:MFAPresent": v}}),
    st.tuples(
        st.sampled_from(["IpAddress", "NotIpAddress"]),
        _some(st.sampled_from(["10.0.0.0/8", "10.1.2.3", "2001:db8::/32", "0.0.0.0/0"])),
    ).map(lambda pair: {pair[0]: {"acs:SourceIp": pair[1]}}),
    st.tuples(st.sampled_from(_comparisons), _some(_dates)).map(
        lambda pair: {f"Date{pair[0]}": {"acs:CurrentTime": pair[1]}}
    ),
)
statements = st.fixed_dictionaries(
    {
        "Effect": st.sampled_from(["Allow", "Allow", "Deny"]),
        "Action": _some(_actions),
        "Resource": _some(_resources),
    },
    optional={
        "Condition": st.builds(
            lambda a, b, c: {**a, **b, **c}, tag_conditions, request_conditions, os_conditions
        )
    },
)
policies = st.lists(statements, min_size=1, max_size=6)
conditions = st.builds(lambda a, b, c: {**a, **b, **c}, tag_conditions, request_conditions, os_conditions)
#: One action on one secret, as a statement: what stands on a grant is its giver's conditions.
grants = st.lists(
    st.fixed_dictionaries(
        {
            "Effect": st.just("Allow"),
            "Action": st.sampled_from(ACTIONS),
            "Resource": st.just("*"),
        },
        optional={"Condition": conditions},
    ),
    max_size=2,
)
request_contexts = st.fixed_dictionaries(
    {},
    optional={
        "acs:MFAPresent": st.sampled_from(["true", "false", "maybe"]),
        "acs:SourceIp": st.sampled_from(["10.1.2.3", "192.0.2.1", "2001:db8::1", "here"]),
        "acs:CurrentTime": st.sampled_from(["2026-03-01T00:00:00+00:00", "2026-06-01T04:00:00Z", "today"]),
    },
)
tag_contexts = st.fixed_dictionaries(
    {}, optional={f"kms:tag/{key}": st.sampled_from(values) for key, values in TAGS.items()}
)

os_contexts = st.fixed_dictionaries({}, optional={"kms:OSType": st.sampled_from(["Linux", "Windows"])})

#: Who asks, as a resource policy calls them, and whom else one may name.
ME, OTHER = f"arn:aws:iam::{ACCOUNT:0>12}:user/ann", f"acs:ram::{ACCOUNT:0>16}:user/bea"
ROOT = f"arn:aws:iam::{ACCOUNT:0>12}:root"
_whom = st.sampled_from([ME, OTHER, "*", ROOT])
#: Statements of a policy that stands on the secret itself.
resource_policies = st.lists(
    st.fixed_dictionaries(
        {
            "Effect": st.sampled_from(["Allow", "Deny"]),
            "Action": _some(_actions),
            "Resource": st.just("*"),
            "Principal": st.just("*") | _some(_whom).map(lambda names: {"AWS": names}),
        },
        optional={"Condition": conditions},
    ),
    max_size=3,
)


def document(found):
    return json.dumps({"Version": "1", "Statement": found}, indent=1)
