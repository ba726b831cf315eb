"""Who sends a request."""

from collections.abc import Mapping

from accounts import keys, tokens
from accounts.models import Tenant
from cacheservice.addresses import client_address
from cacheservice.entries.operations import Caller
from cacheservice.entries.store import Store
from cacheservice.http import Scope


async def caller_of(store: Store, scope: Scope, headers: Mapping[bytes, bytes]) -> Caller:
    """The API key, and where its allow-list asks for it, the address. Raises InvalidAPIKey.

    Whether the list lets the address in, each statement decides; after AddressNeeded, this knows of the list.
    """
    caller = await store.caller(tokens.from_headers(headers))
    return store.caller_at(caller, client_address(scope)) if caller.listed else caller


def console_caller(tenant: Tenant) -> Caller:
    """Whom the changes that a tenant's members make in the console are booked on. Their permission was checked before;
    the statements check what they check of every API key, the digest too, which here comes from the key's own row."""
    key = keys.internal_api_key(tenant)
    return Caller(tenant.id, key.id, bytes(key.digest))
