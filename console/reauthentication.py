"""Signing in again before what reveals or ends something."""

from allauth.account.decorators import reauthentication_required

from console.access import Page


def recently_signed_in(view: Page) -> Page:
    """A view, under `page`, that anybody may look at and only who has just given their password may send.

    Whoever has not is asked for it; what they sent goes on from there, as if they had not been asked.
    """
    decorated: Page = reauthentication_required(allow_get=True)(view)
    return decorated
