"""The OpenAPI description of budgets and prices."""

from drf_spectacular.utils import OpenApiParameter, extend_schema

from cacheservice.entries.schema import ID, answers, conflict, ref
from gateway.budget_answers import Budgets, DeletedBudget, DeletedPrice, Prices, ShownBudget, ShownPrice
from gateway.budget_requests import NO_CONTROL, CreateBudget, PutPrice, UpdateBudget
from gateway.budget_settings import MOST_BUDGETS, MOST_PRICES
from gateway.budgets import NO_MODEL
from gateway.providers import NAME
from gateway.requests import MAX_MODEL_BYTES

COMPONENTS = (
    CreateBudget,
    UpdateBudget,
    PutPrice,
    ShownBudget,
    Budgets,
    DeletedBudget,
    ShownPrice,
    Prices,
    DeletedPrice,
)

_CONFLICT = conflict("there is one already, or there are too many")
_MODEL = [
    OpenApiParameter("provider", {"type": "string", "pattern": NAME}, OpenApiParameter.PATH),
    OpenApiParameter(
        "model",
        {"type": "string", "minLength": 1, "maxLength": MAX_MODEL_BYTES, "pattern": NO_CONTROL},
        OpenApiParameter.PATH,
        description=f"As clients name it. It may have slashes. `{NO_MODEL}`: of calls that name no model.",
    ),
]

list_budgets = extend_schema(
    operation_id="list_budgets",
    summary="List budgets, and what today used of them",
    description=f"All of the tenant's, at most {MOST_BUDGETS}. They bind calls that go upstream, not hits.",
    responses=answers({200: (ref(Budgets), "The budgets.")}),
)
create_budget = extend_schema(
    operation_id="create_budget",
    summary="Create a budget",
    description=(
        "A call goes upstream only where its worst case has room in every budget of its API key and model. There is "
        "one for each API key (or all) and model (or all). It holds in every server process within "
        "a second; what was spent before on that day counts."
    ),
    request={"application/json": ref(CreateBudget)},
    responses={**answers({201: (ref(ShownBudget), "The budget.")}, 404, 413, 415), **_CONFLICT},
)
update_budget = extend_schema(
    operation_id="update_budget",
    summary="Change a budget",
    description="What is left out stays, and what today has used too.",
    parameters=[ID],
    request={"application/json": ref(UpdateBudget)},
    responses=answers({200: (ref(ShownBudget), "The budget as it is now.")}, 404, 413, 415),
)
delete_budget = extend_schema(
    operation_id="delete_budget",
    summary="Delete a budget",
    description="Deleting what is not there is no error: `deleted` is then false.",
    parameters=[ID],
    responses=answers({200: (ref(DeletedBudget), "Whether it was there.")}, 404),
)
list_prices = extend_schema(
    operation_id="list_prices",
    summary="List the tenant's own prices",
    description=f"At most {MOST_PRICES}. They go before the public price list.",
    responses=answers({200: (ref(Prices), "The prices.")}),
)
put_price = extend_schema(
    operation_id="put_price",
    summary="Set the price of a model",
    description="For what the public price list does not know, or a tenant pays otherwise. Replaces the former one.",
    parameters=_MODEL,
    request={"application/json": ref(PutPrice)},
    responses={
        **answers({200: (ref(ShownPrice), "Replaced."), 201: (ref(ShownPrice), "New.")}, 404, 413, 415),
        **_CONFLICT,
    },
)
delete_price = extend_schema(
    operation_id="delete_price",
    summary="Delete the price of a model",
    description="The public price list's holds again. Deleting what is not there is no error: `deleted` is then false.",
    parameters=_MODEL,
    responses=answers({200: (ref(DeletedPrice), "Whether it was there.")}, 404),
)
