"""What the CLI makes of texts: JSON kept byte for byte, lines of an import, values and times to live as given."""

import json

import pytest

pytest.importorskip("typer")

from cacheservice_client.cli import durations, given, jsontext, lines, output
from cacheservice_client.cli.exits import Failure
from cacheservice_client.values import Encoded


def test_members_and_items_are_the_texts_that_stand_there() -> None:
    text = ' { "a" : [1.0, "}"],"b":{"c": 1E400 },"\\u0064":123456789012345678901234567890 } '
    assert jsontext.members(text) == {
        "a": '[1.0, "}"]',
        "b": '{"c": 1E400 }',
        "d": "123456789012345678901234567890",
    }
    assert jsontext.items('[ 1.0 ,{"a": [2]}, "x,]" ]') == ["1.0", '{"a": [2]}', '"x,]"']
    assert jsontext.members("{}") == {}
    assert jsontext.items(" [ ] ") == []
    jsontext.check("9" * 5000)  # more digits than Python makes a number of


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"a"}',
        '{"a":}',
        '{"a":1,}',
        '{"a":1 "b":2}',
        '{"a":1}x',
        "{1:2}",
        '{"a":NaN}',
        '{"a":01}',
        '{"a":1,"a":2}',
        '{"a":' + "[" * 100_000 + "}",
    ],
)
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        jsontext.members(text)


@pytest.mark.parametrize("text", ["", "1 2", "{} ,", "NaN", "-Infinity", "'a'", '{"a":1},"ttl":1'])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        jsontext.check(text)


@pytest.mark.parametrize(
    "value",
    [
        Encoded(b'{"a":  1.0, "\xc3\xa9": "\\u00e9"}', None),
        Encoded(b'{\n  "pretty": true\r\n}', None),
        Encoded(b"null", None),
        Encoded(bytes(range(256)), "image/png"),
        Encoded(b"", "text/plain; charset=utf-8"),
    ],
)
def test_a_line_is_read_as_it_was_written(value: Encoded) -> None:
    text = lines.render('k "é"\u2028', value, "2999-01-01T00:00:00Z", ["t", "ü"])
    assert text.index(b"\n") == len(text) - 1
    line = lines.parse(text, 7)
    assert (line.number, line.key, line.value, line.tags, line.expired) == (7, 'k "é"\u2028', value, ["t", "ü"], False)
    assert line.ttl is not None and line.ttl > 900 * 365 * 86_400


def test_a_line_as_an_operation_of_a_batch() -> None:
    line = lines.parse('{"key":"é","value": 1.0 ,"ttl":60,"tags":["t"],"cost":"0.04"}'.encode(), 1)
    assert line.operation() == b'{"op":"put","key":"\\u00e9","value":1.0,"ttl":60,"tags":["t"],"cost":"0.04"}'


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"value":1}', "key"),
        ('{"key":1,"value":1}', "key"),
        ('{"key":"k"}', "value"),
        ('{"key":"k","value":1,"value_base64":""}', "value"),
        ('{"key":"k","value":1,"content_type":"image/png"}', "content_type"),
        ('{"key":"k","value_base64":"?"}', "base64"),
        ('{"key":"k","value_base64":"MSwidHRsIjox","content_type":"application/json"}', "behind"),  # 1,"ttl":1
        ('{"key":"k","value":1,"ttl":"1d"}', "ttl"),
        ('{"key":"k","value":1,"ttl":true}', "ttl"),
        ('{"key":"k","value":1,"ttl":1,"expires_at":"2999-01-01T00:00:00Z"}', "both"),
        ('{"key":"k","value":1,"expires_at":"soon"}', "expires_at"),
        ('{"key":"k","value":1,"tags":"t"}', "tags"),
        ('{"key":"k","value":1,"cost":0.04}', "cost"),
        ('{"key":"k","value":1,"tag":"t"}', "tag is no field"),
    ],
)
def test_a_wrong_line_says_what_is_wrong(line: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        lines.parse(line.encode(), 1)


def test_a_line_whose_time_is_over() -> None:
    assert lines.parse(b'{"key":"k","value":1,"expires_at":"2020-01-01T00:00:00Z"}', 1).expired


@pytest.mark.parametrize(
    ("text", "seconds"), [("3600", 3600), ("90s", 90), ("15m", 900), ("12h", 43_200), ("1d", 86_400), ("1w2d", 777_600)]
)
def test_times_to_live(text: str, seconds: int) -> None:
    assert durations.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "1.5h", "d", "1 d", "1y", "1d ", "٣"])
def test_what_is_no_time_to_live(text: str) -> None:
    with pytest.raises(ValueError):
        durations.seconds(text)


@pytest.mark.parametrize(
    ("content", "content_type", "file_name", "stored"),
    [
        (b'{"a": 1.0}\n', None, None, (b'{"a": 1.0}\n', None)),
        (b"123", None, None, (b"123", None)),
        (b"hello", None, None, (b'"hello"', None)),
        (b"NaN", None, None, (b'"NaN"', None)),
        (b"", None, None, (b'""', None)),
        (b"\xff", None, None, (b"\xff", "application/octet-stream")),
        (b"\xff", None, "cat.png", (b"\xff", "image/png")),
        (b"\xff", None, "cat.json", (b"\xff", "application/octet-stream")),
        (b'{"a": 1}', "text/plain", None, (b'{"a": 1}', "text/plain")),
        (b"[1]", "application/json; charset=utf-8", None, (b"[1]", None)),
    ],
)
def test_what_a_value_is_stored_as(
    content: bytes, content_type: str | None, file_name: str | None, stored: tuple[bytes, str | None]
) -> None:
    encoded = given.encoded(content, content_type, file_name)
    assert (encoded.body, encoded.content_type) == stored


@pytest.mark.parametrize("content", [b"hello", b"\xff", b'1,"ttl":2'])
def test_json_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(Failure, match="not JSON"):
        given.encoded(content, "application/json")


def test_nothing_printed_steers_a_terminal() -> None:
    assert output.shown("a\x1b[31m\nb\u202eé") == "a\\x1b[31m\\nb\\u202eé"
    assert json.loads(f'"{output.shown("ü")}"') == "ü"


def test_sizes() -> None:
    assert [output.size(n) for n in (0, 999, 1000, 999_960, 10**9, 10**12)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.0 MB",
        "1.0 GB",
        "1.0 TB",
    ]
