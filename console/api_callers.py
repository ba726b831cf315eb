"""What the API's views of a tenant's settings and people share: who acts, and what is refused to them."""

from collections.abc import Iterator
from contextlib import contextmanager

from rest_framework.request import Request

from accounts.team import AdminKey, NotAllowed, Refused
from billing.models import Account
from cacheservice.authentication import actor_of, caller_of
from cacheservice.errors import Conflict, Forbidden, InvalidRequest
from console.alert_tests import TooMany


def acting(request: Request) -> AdminKey:
    """The API key that asks. Its tenant is verified as one that the plan grants credits to: because an owner's address
    is, or because the operator made it."""
    caller = caller_of(request)
    verified = Account.objects.filter(tenant_id=caller.tenant_id, unverified=False).exists()
    return AdminKey(caller.tenant_id, actor_of(request), verified)


@contextmanager
def refusals() -> Iterator[None]:
    """What the services refuse, as the API's errors."""
    try:
        yield
    except NotAllowed as error:
        raise Forbidden(str(error)) from None
    except (Refused, TooMany) as error:
        raise Conflict(str(error)) from None
    except ValueError as error:
        raise InvalidRequest(f"{str(error).rstrip('.')}.") from None
