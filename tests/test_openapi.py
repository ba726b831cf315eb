"""Every operation of the OpenAPI document against a real server: what it takes, what it answers, and never a 500.

With all of schemathesis's checks, data that keeps to the document and data that does not. A run in CI sends 30 cases
of each an operation; `CACHE_TEST_SCALE=full` sends 10,000, and CACHE_TEST_CASES as many as it says.
"""

import os
from typing import Any
from urllib.parse import unquote

import pytest
import schemathesis
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from hypothesis import HealthCheck, Phase, assume, given, settings
from pytest_django import DjangoDbBlocker
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation import GenerationMode

from cacheservice.entries.requests import MAX_TTL_SECONDS
from cacheservice.openapi import document
from console import webhook_client
from console.webhook_client import NotDelivered
from tests.cast import new_caller
from tests.processes import RunningServer

FULL = os.environ.get("CACHE_TEST_SCALE") == "full"
MAX_EXAMPLES = int(os.environ.get("CACHE_TEST_CASES", "10000" if FULL else "30"))

load_all_checks()
BATCH = "POST /api/v1/batch"
PATCH_SETTINGS = "PATCH /api/v1/settings"
PUT_WEBHOOK, DELETE_WEBHOOK = "PUT /api/v1/webhooks", "DELETE /api/v1/webhooks"
PUT_PROVIDER, DELETE_PROVIDER = (f"{method} /api/v1/providers/{{name}}" for method in ("PUT", "DELETE"))
OF_MODELS = ("POST /api/v1/budgets", *(f"{method} /api/v1/prices/{{provider}}/{{model}}"
                                               for method in ("PUT", "DELETE")))  # fmt: skip
API = schemathesis.openapi.from_dict(document())
API.config.checks.positive_data_acceptance.expected_statuses = ["2xx", "304", "404", "409", "412"]
RESULTS: list[Any] = list(API.get_all_operations())  # each Ok or Err; an Err fails here
OPERATIONS = {result.ok().label: result.ok() for result in RESULTS}


@pytest.fixture(scope="session")
def token(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> str:
    with django_db_blocker.unblock():
        return new_caller().token


def checks_for(label: str) -> list[Any]:
    """All of them; but a batch is answered 200 with a 400 inside for each operation that is wrong."""
    return [check for check in CHECKS.get_all() if label != BATCH or check.__name__ != "negative_data_rejection"]


def nonzero(body: dict[str, Any]) -> bool:
    """Whether a credit limit is above nothing."""
    return bool(body.get("credit_limit", "1").strip("0."))


def sound_provider(case: Any) -> bool:
    """Whether what JSON Schema cannot say holds: what a URL, a header's name, an expression of RE2's or a word is, that
    fallbacks are there, and that `$` is the end."""
    body = case.body if isinstance(case.body, dict) else {}
    policy = body.get("policy", {})
    return not (
        body.get("kind") == "other"  # which has no URL of its own
        or any(body.get(field) for field in ("base_url", "credential", "credential_header", "fallbacks"))
        or any(policy.get(field) for field in ("time_sensitive_words", "personal_patterns"))
        or unquote(case.path_parameters["name"]).endswith("\n")
        or any(isinstance(value, float) for value in policy.values())
    )


def unsound_model(case: Any) -> bool:
    """Whether its limit in bytes is passed, or it ends with what `$` takes for the end."""
    body = case.body if isinstance(case.body, dict) else {}
    model = unquote((case.path_parameters or {}).get("model", "")) or body.get("model") or ""
    return len(model.encode(errors="replace")) > 256 or model.endswith("\n")


def sound_settings(body: dict[str, Any]) -> bool:
    """Whether URLs and e-mail addresses are some, and the default TTL is not above the maximum."""
    alerts = body.get("alerts", {})
    try:
        for email in (*alerts.get("emails", []), *([body["email"]] if "email" in body else [])):
            validate_email(email)
        if "url" in body:
            webhook_client.checked_url(body["url"])
    except (ValidationError, NotDelivered):
        return False
    too_long = (body.get("default_ttl") or 0) > (body.get("max_ttl") or MAX_TTL_SECONDS)
    return not (too_long or isinstance(alerts.get("storage_percent"), float))


def beyond_schema(label: str, case: Any) -> bool:
    """Whether a case that the schema takes breaks a rule that JSON Schema cannot say; other tests hold those."""
    headers, query, body = case.headers or {}, case.query or {}, case.body
    texts = [case.path_parameters.get("key", ""), query.get("prefix", ""), *query.get("tag", [])]
    if isinstance(body, dict):
        texts += [operation["key"] for operation in body.get("operations", [])]
    tags = query.get("tag", []) + (body.get("tags", []) if isinstance(body, dict) else [])
    return (
        any(len(unquote(text).encode(errors="replace")) > 512 for text in texts)  # limits are in bytes
        or any(len(tag.encode(errors="replace")) > 128 for tag in tags)
        or ("If-Match" in headers and "If-None-Match" in headers)
        or "cursor" in query  # only the service makes one
        or (label == PUT_PROVIDER and not sound_provider(case))
        or (query.get("space") == "gateway" and bool(query.get("prefix")))
        or (query.get("space") != "gateway" and bool(query.get("key")))
        or "from" in query  # must be the start of a period, before `to`, and not too long before
        or "to" in query
        or (query.get("by") == "tag" and query.get("group_by") == "hour")
        or (isinstance(body, dict) and any(isinstance(value, float) for value in body.values()))  # 60.0 is an integer
        or (isinstance(body, dict) and bool(body.get("allowed_networks") or body.get("expires_at")))
        or (isinstance(body, dict) and not sound_settings(body))
        or (label in OF_MODELS and unsound_model(case))
        or (isinstance(body, dict) and body.get("credit_limit", "1") is not None and not nonzero(body))
        or (
            label == "DELETE /api/v1/cache"
            and (query.get("all") == "true") == any(query.get(name) for name in ("tag", "prefix", "key"))
        )
    )


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("label", sorted(OPERATIONS))
def test_operation_keeps_to_its_description(
    label: str, mode: GenerationMode, server: RunningServer, token: str
) -> None:
    @settings(
        max_examples=MAX_EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=OPERATIONS[label].as_strategy(generation_mode=mode))
    def sends(case: Any) -> None:
        assume("wait" not in (case.query or {}))  # for it would
        if mode.is_positive:
            assume(not beyond_schema(label, case))
        headers = {"Authorization": f"Bearer {token}"}
        case.call_and_validate(base_url=server.url, headers=headers, checks=checks_for(label))
        if label == PUT_PROVIDER and mode.is_positive:  # a tenant may have a hundred
            made = OPERATIONS[DELETE_PROVIDER].Case(path_parameters=case.path_parameters)
            made.call(base_url=server.url, headers=headers)
        if label == PATCH_SETTINGS:  # other operations send TTLs
            reset = {"default_ttl": None, "max_ttl": None}
            OPERATIONS[label].Case(body=reset, media_type="application/json").call(base_url=server.url, headers=headers)
        if label == PUT_WEBHOOK:  # so that no test goes to where nobody knows
            OPERATIONS[DELETE_WEBHOOK].Case().call(base_url=server.url, headers=headers)

    sends()
