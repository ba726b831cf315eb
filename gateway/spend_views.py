"""The views of spend: parse, read, answer."""

from asgiref.sync import async_to_sync
from django.http import HttpResponse
from rest_framework.request import Request

from accounts.policy import Permission, scope_for
from cacheservice.authentication import caller_of
from cacheservice.views import APIView, query_string, to_django
from gateway import spend, spend_answers, spend_requests, spend_schema


class SpendView(APIView):
    """What the tenant spent and saved."""

    scopes = {"GET": scope_for(Permission.SEE_GATEWAY)}
    http_method_names = ["get"]

    @spend_schema.get_spend
    def get(self, request: Request) -> HttpResponse:
        accept, today = request.headers.get("Accept", ""), spend_requests.today()
        question = spend_requests.parse(query_string(request), accept, today)
        rows = async_to_sync(self.reading(request).rows)
        report = spend.read(rows, caller_of(request).tenant_id, question.start, question.end, question.by)
        return to_django(spend_answers.spend(question, report))


class SpendPromptsView(APIView):
    """The prompts that cost most."""

    scopes = {"GET": scope_for(Permission.SEE_GATEWAY)}
    http_method_names = ["get"]

    @spend_schema.get_prompts
    def get(self, request: Request) -> HttpResponse:
        start, end, limit = spend_requests.parse_prompts(query_string(request), spend_requests.today())
        rows = async_to_sync(self.reading(request).rows)
        found = spend.read_prompts(rows, caller_of(request).tenant_id, start, end, limit)
        return to_django(spend_answers.prompts(start, end, found))
