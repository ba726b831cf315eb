"""The page of a form, as it is first and as it is again where it was refused."""

from typing import Final

from django.http import HttpResponse
from django.shortcuts import render

from console.access import MemberRequest

REFUSED: Final = 422  # so that htmx, tests and logs can tell a refusal from the page itself


def form_page(request: MemberRequest, template: str, content: dict[str, object]) -> HttpResponse:
    """The form, again where it was refused."""
    return render(request, template, content, status=REFUSED if request.method == "POST" else 200)
