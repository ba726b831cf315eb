import os, json
from tests.cast import Cast, cast_fixture
from tests.client import *
def test_probe(cast, server, server_without_lane, committed_db):
    from django.db import connection
    print(connection.vendor)
    for s in (server, server_without_lane):
        print("=====", s.url)
        auth=[(b"Authorization", b"Bearer "+cast.first.token.encode())]
        for m, t, h, b in [
          ("PUT", b"/api/v1/cache/k1", [(b"Content-Type", b"application/json")], b'{"value": 1.0}'),
          ("GET", b"/api/v1/cache/k1", [], None),
          ("HEAD", b"/api/v1/cache/k1", [], None),
          ("GET", b"/api/v1/cache/k1?raw=true", [], None),
          ("GET", b"/api/v1/cache/nope", [], None),
          ("GET", b"/api/v1/cache/nope?raw=true", [], None),
          ("GET", b"/api/v1/cache/", [], None),
          ("GET", b"/api/v1/cache", [], None),
          ("GET", b"/api/v1/cache/%0A", [], None),
          ("GET", b"/api/v1/cache/\xff", [], None),
          ("GET", b"/api/v1/cache/\xc3\xa9", [], None),
          ("GET", b"/api/v1/cache/%FF", [], None),
          ("GET", b"/api/v1/cache/%00", [], None),
          ("GET", b"/api/v1/cache//x", [], None),
          ("GET", b"/api/v1//cache/x", [], None),
          ("GET", b"/api/v1/cache/../batch", [], None),
          ("GET", b"http://localhost/api/v1/cache/k1", [], None),
          ("POST", b"/api/v1/cache/k1", [], b""),
          ("OPTIONS", b"/api/v1/cache/k1", [], None),
          ("TRACE", b"/api/v1/cache/k1", [], None),
          ("FOO", b"/api/v1/cache/k1", [], None),
          ("get", b"/api/v1/cache/k1", [], None),
          ("POST", b"/api/v1/cache", [], b""),
          ("GET", b"/api/v1/nope", [], None),
          ("GET", b"/nope", [], None),
          ("GET", b"/docs", [], None),
          ("GET", b"/healthz", [], None),
        ]:
            try:
                a = exchange(s.url, request_bytes(m, t, auth+h, b), method=m)
                print(m, t, a.status, a.headers, a.body[:200])
            except Exception as e:
                print(m, t, repr(e))
