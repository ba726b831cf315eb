"""The gateway's errors: the official SDKs make of each the exception that the provider's own would be."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import anthropic
import openai
import pytest

from cacheservice.errors import (
    APIError,
    Forbidden,
    InvalidAPIKey,
    InvalidRequest,
    RateLimitExceeded,
    Unavailable,
    ValueTooLarge,
)
from gateway.budgets import Budget
from gateway.errors import ProviderUnknown, UpstreamFailed, error_body, error_event
from gateway.ledger import BudgetExceeded, PriceUnknown

LIMIT = Budget(1, 2, None, "m", Decimal(5))
BUDGET = BudgetExceeded(LIMIT, Decimal(5), Decimal(1), date(2026, 1, 1))
PRICE = PriceUnknown(LIMIT, "openai", "m")


@contextmanager
def server(status: int, content_type: str, body: bytes) -> Iterator[str]:
    """Answers every POST with this."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            for name, value in (
                ("content-type", content_type),
                ("content-length", str(len(body))),
                ("x-request-id", "req_1"),
                ("request-id", "req_1"),
            ):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}"
        finally:
            listening.shutdown()
            thread.join()


def ask_openai(url: str, *, stream: bool = False) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="ck", max_retries=0) as client:
        answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=stream)
        if isinstance(answer, openai.Stream):
            list(answer)


def ask_anthropic(url: str, *, stream: bool = False) -> None:
    with anthropic.Anthropic(base_url=url, api_key="ck", max_retries=0) as client:
        answer = client.messages.create(
            model="m", max_tokens=5, messages=[{"role": "user", "content": "x"}], stream=stream
        )
        if isinstance(answer, anthropic.Stream):
            list(answer)


@pytest.mark.parametrize(
    ("error", "exception", "type_"),
    [
        (InvalidRequest("x"), openai.BadRequestError, "invalid_request_error"),
        (InvalidAPIKey(), openai.AuthenticationError, "invalid_request_error"),
        (BUDGET, openai.APIStatusError, "insufficient_quota"),
        (PRICE, openai.APIStatusError, "insufficient_quota"),
        (Forbidden("x"), openai.PermissionDeniedError, "permission_error"),
        (ProviderUnknown("x"), openai.NotFoundError, "invalid_request_error"),
        (ValueTooLarge("x"), openai.APIStatusError, "invalid_request_error"),
        (RateLimitExceeded(60), openai.RateLimitError, "rate_limit_error"),
        (UpstreamFailed(502, "upstream_unreachable", "x"), openai.InternalServerError, "server_error"),
        (Unavailable("x"), openai.InternalServerError, "server_error"),
        (UpstreamFailed(504, "upstream_timeout", "x"), openai.InternalServerError, "server_error"),
    ],
)
def test_the_openai_sdk_raises_what_it_is(error: APIError, exception: type[openai.APIStatusError], type_: str) -> None:
    body = error_body("openai", error, "req_1")
    with server(error.status, "application/json", body) as url, pytest.raises(openai.APIStatusError) as raised:
        ask_openai(url)
    told = raised.value
    assert type(told) is exception
    assert (told.status_code, told.code, told.type, told.param) == (error.status, error.code, type_, None)
    assert told.request_id == "req_1"
    assert told.body == {"message": error.message, "type": type_, "param": None, "code": error.code}


@pytest.mark.parametrize(
    ("error", "exception", "type_"),
    [
        (InvalidRequest("x"), anthropic.BadRequestError, "invalid_request_error"),
        (InvalidAPIKey(), anthropic.AuthenticationError, "authentication_error"),
        (BUDGET, anthropic.APIStatusError, "billing_error"),
        (PRICE, anthropic.APIStatusError, "billing_error"),
        (Forbidden("x"), anthropic.PermissionDeniedError, "permission_error"),
        (ProviderUnknown("x"), anthropic.NotFoundError, "not_found_error"),
        (ValueTooLarge("x"), anthropic.APIStatusError, "request_too_large"),
        (RateLimitExceeded(60), anthropic.RateLimitError, "rate_limit_error"),
        (UpstreamFailed(502, "upstream_unreachable", "x"), anthropic.InternalServerError, "api_error"),
        (Unavailable("x"), anthropic.InternalServerError, "overloaded_error"),
        (UpstreamFailed(504, "upstream_timeout", "x"), anthropic.InternalServerError, "timeout_error"),
    ],
)
def test_the_anthropic_sdk_raises_what_it_is(
    error: APIError, exception: type[anthropic.APIStatusError], type_: str
) -> None:
    body = error_body("anthropic", error, "req_1")
    with server(error.status, "application/json", body) as url, pytest.raises(anthropic.APIStatusError) as raised:
        ask_anthropic(url)
    told = raised.value
    assert isinstance(told, exception)
    assert (told.status_code, told.type, told.api_message) == (error.status, type_, error.message)
    assert (told.error_code, told.request_id) == (error.code, "req_1")


def test_the_sdks_raise_for_a_stream_that_breaks_off() -> None:
    error = UpstreamFailed(502, "upstream_broken", "The provider's stream broke off.")
    with (
        server(200, "text/event-stream", error_event("openai", error, "req_1")) as url,
        pytest.raises(openai.APIError, match="broke off") as raised,
    ):
        ask_openai(url, stream=True)
    assert raised.value.code == "upstream_broken"
    with (
        server(200, "text/event-stream", error_event("anthropic", error, "req_1")) as url,
        pytest.raises(anthropic.APIStatusError, match="broke off") as told,
    ):
        ask_anthropic(url, stream=True)
    assert (told.value.type, told.value.error_code) == ("api_error", "upstream_broken")


def test_any_other_provider_is_told_our_own_shape() -> None:
    assert json.loads(error_body("other", BUDGET, "req_1")) == {
        "error": {"code": "budget_exceeded", "message": BUDGET.message, "request_id": "req_1"}
    }
    assert error_event("other", BUDGET, "r") == b"data: " + error_body("other", BUDGET, "r") + b"\n\n"


def test_an_unknown_providers_name_is_shown_harmlessly() -> None:
    message = ProviderUnknown("\r\n\x1b" + "é" * 500).message
    assert message.isprintable()
    assert len(message) < 600
