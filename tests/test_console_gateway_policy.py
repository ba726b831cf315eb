"""The console's form of a provider's policy: what it takes is kept, shown again, and told in words."""

from typing import Any

import pytest

from console import gateway_policy_form
from console.gateway_policy_form import PolicyForm
from gateway import providers
from gateway.policy import DEFAULT_POLICY, Policy
from tests.console_cast import Person, new_person, visitor
from tests.console_pages import get
from tests.gateway_console_cast import SECRET, add, credential, errors, one, policy_fields
from tests.processes import RunningServer


@pytest.fixture
def owner() -> Person:
    return new_person()


def test_the_policy_of_the_form_is_the_one_that_is_kept(server: RunningServer, owner: Person) -> None:
    """Each field, through the page: what is sent, what is stored, and what the form shows then."""
    changed = Policy(
        cache=False,
        cache_random=True,
        text="normalized",
        ttl=90,
        time_sensitive_ttl=60,
        max_ttl=3600,
        time_sensitive_words=("heute", "this week"),
        personal_data=("email", "bank"),
        personal_patterns=("a{2}", r"\bMRN\d+"),
        keep_prompts=True,
        on_disconnect="cancel",
        max_output_tokens=5000,
        connect_seconds=1,
        first_byte_seconds=2,
        idle_seconds=3,
        total_seconds=4,
        retries=0,
    )
    assert all(getattr(changed, name) != getattr(DEFAULT_POLICY, name) for name in Policy.__struct_fields__)
    add(owner, policy=Policy(ttl=91, time_sensitive_words=("now",)))
    client, path = visitor(server, owner), owner.path("gateway/providers/openai/policy")
    for policy in (changed, DEFAULT_POLICY):
        answer = client.post(path, policy_fields(policy))
        assert answer.status_code == 302, errors(answer)
        assert providers.policy_of(one(owner).policy) == policy
        shown = get(owner, "gateway/providers/openai/policy").context["form"]
        again = PolicyForm(policy_fields(**shown.initial))
        assert again.is_valid(), again.errors
        assert again.policy() == policy
    assert one(owner).policy == {}
    assert credential(owner) == SECRET.encode()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("ttl", "", "Give a number and s, min, h or d, such as 12 h; at least 1 s, at most 14 d."),
        ("ttl", "15 d", "at most 14 d."),
        ("ttl", "0 s", "at least 1 s"),
        ("time_sensitive_ttl", "soon", "Give a number and s, min, h or d"),
        ("max_ttl", "15 d", "at most 14 d."),
        ("text", "fuzzy", "fuzzy is not one of the available choices."),
        ("personal_data", ["shoe size"], "shoe size is not one of the available choices."),
        ("personal_patterns", "fine\n\n(", "Number 2: missing ): (; give an expression of RE2's."),
        ("personal_patterns", "x*", "Number 1: it is found in every text; ask for something."),
        ("personal_patterns", "a{1000}\nb{1000}", "Together they compile to"),
        ("personal_patterns", "\n".join("abcdefghijklmnopqrstu"), "These are 21; give at most 20."),
        ("personal_patterns", "a" * 501, "Number 1 has 501 characters; give at most 500."),
        ("time_sensitive_words", "a\n" * 201, "These are 201; give at most 200."),
        ("time_sensitive_words", "now\n" + "a" * 129, "Number 2 has 129 characters; give at most 128."),
        ("time_sensitive_words", "now\na\x07b", "Number 2: give a word or phrase, without control characters."),
        ("on_disconnect", "", "This field is required."),
        ("max_output_tokens", "0", "Give a whole number from 1 to 10,000,000, or leave it empty."),
        ("retries", "6", "Give a whole number from 0 to 5."),
        ("retries", "", "Give a whole number from 0 to 5."),
        ("connect_seconds", "61", "Give a whole number from 1 to 60."),
        ("total_seconds", "9" * 5000, "Give a whole number from 1 to 3,600."),
    ],
)
def test_what_is_wrong_in_a_policy_is_told_beside_its_field(
    server: RunningServer, owner: Person, field: str, value: Any, said: str
) -> None:
    add(owner)
    path = owner.path("gateway/providers/openai/policy")
    answer = visitor(server, owner).post(path, policy_fields(**{field: value}))
    assert answer.status_code == 422
    told = errors(answer)
    assert list(told) == [field]
    assert said in told[field]
    assert one(owner).policy == {}


def test_no_ttl_is_longer_than_the_maximum(server: RunningServer, owner: Person) -> None:
    add(owner)
    path = owner.path("gateway/providers/openai/policy")
    answer = visitor(server, owner).post(path, policy_fields(max_ttl="30 min"))
    assert errors(answer) == dict.fromkeys(("ttl", "time_sensitive_ttl"), "It is longer than the maximum TTL, 30 min.")


def test_a_policy_in_words() -> None:
    usual = dict(gateway_policy_form.facts(DEFAULT_POLICY))
    assert usual["TTL"] == "7 d, at most 14 d"
    assert usual["Time-sensitive"] == "1 h, for the usual 19 words"
    assert usual["Not cached with"] == "no personal data looked for"
    other = dict(
        gateway_policy_form.facts(Policy(personal_data=("email",), personal_patterns=("a",), cache_random=True))
    )
    assert other["Not cached with"] == "e-mail addresses, 1 pattern of your own"
    assert other["Answers"] == "cached, random ones too"
    assert dict(gateway_policy_form.facts(Policy(cache=False)))["Answers"] == "not cached"
