"""One request to the gateway: who asks what of which provider, and what its spend event will say."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

from cacheservice.entries.operations import Caller
from gateway import plan as plans
from gateway.apis.base import API, Body, Usage
from gateway.directory import Tenancy
from gateway.ledger import Call, Event, new_id
from gateway.models import CacheStatus, SpendState
from gateway.plan import Asked, Plan
from gateway.providers import Upstream


@dataclass(kw_only=True)
class Exchange:
    """A request, from its plan to its spend event."""

    caller: Caller
    tenancy: Tenancy
    upstream: Upstream
    asked: Asked
    plan: Plan
    sent: list[tuple[bytes, bytes]]  # the client's headers as they came
    request_id: str
    at: datetime
    cache: CacheStatus = CacheStatus.MISS
    reason: str = ""  # of what the cache did, where there is one to tell
    stores: bool = True  # else whoever made it looks after leases and entries
    saved: Decimal | None = None  # USD, where a part of it was known
    work: "asyncio.Future[Any] | None" = None  # what goes on with its body when the client has gone

    @property
    def api(self) -> API:
        return self.plan.api

    @cached_property
    def body(self) -> Body:
        """Decoded; empty where it is no JSON object."""
        return plans.decoded(self.asked.body) or {}

    @property
    def unread(self) -> bool:
        """Whether it may ask for any model and any amount: it has a body that cannot be read here, and that upstream
        might be. Forms with files, which name no model here, are none: no JSON begins as they do, whatever it says of
        itself and however it is encoded."""
        return self.plan.unread and not (
            self.asked.headers.get(b"content-type", b"").lower().startswith(b"multipart/form-data")
            and self.asked.body[:4].lstrip(b"\r\n").startswith(b"--")
        )

    @property
    def place(self) -> tuple[int, str]:
        """Of its entry."""
        return self.caller.tenant_id, self.plan.key

    def bypass(self, reason: str) -> None:
        self.cache, self.reason = CacheStatus.BYPASS, reason

    def call(self) -> Call:
        return Call(
            self.caller.tenant_id,
            self.upstream.name,
            self.plan.model,
            self.user,
            self.caller.api_key_id,
            self.cache,
            self.request_id,
            self.plan.fingerprint,
        )

    @property
    def user(self) -> str:
        return self.asked.directives.user or self.plan.user

    @property
    def _keeps_prompt(self) -> bool:
        return self.upstream.policy.keep_prompts and not self.plan.personal

    def event(
        self,
        state: SpendState,
        status: int,
        usage: Usage | None,
        cost: Decimal | None,
        saved: Decimal | None = None,
    ) -> Event:
        """What came of it; where it had a reservation, that one's id and time take the place of these."""
        usage = usage or Usage()
        return Event(
            tenant_id=self.caller.tenant_id,
            id=new_id(),
            at=self.at,
            provider=self.upstream.name,
            model=self.plan.model,
            user=self.user,
            api_key_id=self.caller.api_key_id,
            cache=self.cache,
            state=state,
            status=status,
            request_id=self.request_id,
            cost=cost,
            saved=self.saved if saved is None else saved,
            input_tokens=usage.input_tokens,
            cached_tokens=usage.cached_tokens,
            output_tokens=usage.output_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            fingerprint=self.plan.fingerprint,
            prompt=plans.prompt(self.api, self.body) if self._keeps_prompt else None,
        )
