"""What strict parsing lets through, what it refuses and where it says the fault lies."""

import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from relayer.seal.strict_json import (
    MAX_DEPTH,
    MAX_INTEGER,
    JsonError,
    canonical_json,
    parse_json,
    parse_json_list,
)

text = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.floats(-1e15, 1e15) | text
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=20)


@given(values)
def test_what_is_exact_passes(value: Any) -> None:
    assert parse_json(json.dumps(value).encode()) == value
    assert parse_json(json.dumps(value, ensure_ascii=False, indent=1).encode()) == value


@given(values | st.floats(-1e15, 1e15) | st.floats(min_value=1e21, allow_infinity=False))
def test_what_passes_survives_its_canonical_form(value: Any) -> None:
    parsed = parse_json(json.dumps(value).encode())
    canonical = canonical_json(parsed)
    assert parse_json(canonical) == parsed
    assert canonical_json(parse_json(canonical)) == canonical


@given(values | st.integers() | st.text())
def test_the_quick_way_gives_what_the_library_gives(value: Any) -> None:
    try:
        expected = rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        with pytest.raises(JsonError):
            canonical_json(value)
    else:
        assert canonical_json(value) == expected


def test_the_vector_of_rfc_8785() -> None:
    sample = rb"""{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"""
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical_json(parse_json(sample)).decode() == expected


def test_keys_are_ordered_by_utf_16() -> None:
    assert canonical_json({"\ufb33": 1, "\U0001f600": 2, "\u20ac": 3}).decode() == '{"€":3,"😀":2,"\ufb33":1}'


@pytest.mark.parametrize(
    ("data", "code", "pointer"),
    [
        (b'{"a":1,"a":1}', "duplicate_key", "/a"),
        (b'{"a":1,"\\u0061":2}', "duplicate_key", "/a"),
        (b'{"x":[0,{"k/~":1,"k/~":2}]}', "duplicate_key", "/x/1/k~1~0"),
        (b"9007199254740992", "number", ""),
        (b'{"n":[-9007199254740992]}', "number", "/n/0"),
        (b'{"n":' + b"9" * 5000 + b"}", "number", "/n"),
        (b"[9007199254740993.0]", "number", "/0"),
        (b"[1e20]", "number", "/0"),
        (b"[1e400]", "number", "/0"),
        (b"[-1e400]", "number", "/0"),
        (b'{"n":NaN}', "number", "/n"),
        (b"[Infinity]", "number", "/0"),
        (b"[-Infinity]", "number", "/0"),
        (b'["\\ud800"]', "surrogate", "/0"),
        (b'["\\udc00\\ud800"]', "surrogate", "/0"),
        (b'{"a":{"\\uDFFF":1}}', "surrogate", "/a/\ufffd"),
    ],
)
def test_an_ambiguous_value_is_refused_with_its_pointer(data: bytes, code: str, pointer: str) -> None:
    with pytest.raises(JsonError) as caught:
        parse_json(data)
    assert (caught.value.code, caught.value.pointer, caught.value.position) == (code, pointer, None)
    str(caught.value).encode()


@pytest.mark.parametrize(
    ("data", "code", "position"),
    [
        (b"", "syntax", 0),
        (b"[1,]", "syntax", 3),
        ('["é" 1]'.encode(), "syntax", 6),
        (b'{"a":01}', "syntax", 6),
        (b'["\x01"]', "syntax", 2),
        (b"\xef\xbb\xbf1", "syntax", 0),
        (b'"\xff"', "encoding", 1),
        (b'"\xed\xa0\x80"', "encoding", 1),
        ('{"é":'.encode() + b"[" * 64 + b"]" * 64 + b"}", "depth", 6 + 63),
        (b"[" * 100_000, "depth", 64),
        (b'["\\"[",' + b"[" * 64, "depth", 7 + 63),
    ],
)
def test_text_that_does_not_parse_is_refused_with_its_position(data: bytes, code: str, position: int) -> None:
    with pytest.raises(JsonError) as caught:
        parse_json(data)
    assert (caught.value.code, caught.value.pointer, caught.value.position) == (code, None, position)


def test_what_lies_just_inside_the_limits_passes() -> None:
    assert parse_json(b"[9007199254740991,-9007199254740991,1e21,1e308,-0.0,1e-400]") == [
        MAX_INTEGER,
        -MAX_INTEGER,
        1e21,
        1e308,
        0,
        0,
    ]
    assert json.dumps(parse_json(b"[" * 64 + b"]" * 64)) == "[" * 64 + "]" * 64
    assert parse_json(b'"' + b"[" * 100 + b'"') == "[" * 100
    assert parse_json(b'["\\ud83d\\ude00", "\\\\ud800"]') == ["😀", "\\ud800"]


@pytest.mark.parametrize(
    "value",
    [float("inf"), float("nan"), MAX_INTEGER + 1, "\ud800", {"\ud800": 1, "b": 2}, {1: 2}, b"", {1, 2}],
)
def test_a_value_that_json_cannot_carry_has_no_canonical_form(value: object) -> None:
    with pytest.raises(JsonError) as caught:
        canonical_json(value)
    assert caught.value.code == "not_canonical"


def test_a_cycle_has_no_canonical_form() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(JsonError):
        canonical_json(cycle)


def alone(item: bytes) -> Any:
    """What an item of a list comes to when it comes alone: its value, or why it is refused."""
    try:
        return parse_json(item)
    except JsonError as error:
        return (error.code, error.pointer, str(error))


ITEMS = [
    b'{"a":1}',
    b'{"a":1,"a":2}',
    b'{"a":[9007199254740992]}',
    b'{"a":"\\ud800"}',
    b'"\\ud83d\\ude00"',
    b"NaN",
    b"null",
    b"[" * MAX_DEPTH + b"]" * MAX_DEPTH,
]


@given(st.lists(st.sampled_from(ITEMS)))
def test_each_item_of_a_list_is_judged_as_if_it_came_alone(items: list[bytes]) -> None:
    value, errors = parse_json_list(b'{"n":7,"items":[' + b",".join(items) + b"]}", "items")
    assert value["n"] == 7
    seen = [
        (errors[n].code, errors[n].pointer, str(errors[n])) if n in errors else item
        for n, item in enumerate(value["items"])
    ]
    assert seen == [alone(item) for item in items]
    assert all(value["items"][n] is None for n in errors)


@pytest.mark.parametrize(
    ("data", "code", "pointer"),
    [
        (b'{"items":[1],"items":[1]}', "duplicate_key", "/items"),
        (b'{"items":[1],"n":9007199254740992}', "number", "/n"),
        (b'{"items":{"a":NaN}}', "number", "/items/a"),
        (b'{"items":NaN}', "number", "/items"),
        (b"[NaN]", "number", "/0"),
        (b'{"items":[1],"\\ud800":1}', "surrogate", "/\N{REPLACEMENT CHARACTER}"),
        (b'{"items":[' + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1) + b"]}", "depth", None),
        (b'{"items":[1,]}', "syntax", None),
    ],
)
def test_what_is_not_inside_one_item_is_refused_whole(data: bytes, code: str, pointer: str | None) -> None:
    with pytest.raises(JsonError) as caught:
        parse_json_list(data, "items")
    assert (caught.value.code, caught.value.pointer) == (code, pointer)


def test_more_values_than_may_be_are_refused() -> None:
    for fits in (b'[1,"a,[,{",{"k":[]}]', b'{"a":1,"b":2,"c":3,"d":{ }}', b"[[[[[\n]]]]]"):
        assert parse_json(fits, 5) == parse_json(fits)
        value, errors = parse_json_list(b'{"items":[' + fits + b"," + fits + b"]}", "items", 5)
        assert (value["items"], errors) == ([parse_json(fits)] * 2, {})
        with pytest.raises(JsonError) as caught:
            parse_json(fits, 4)
        assert (caught.value.code, caught.value.pointer) == ("size", "")
        value, errors = parse_json_list(b'{"items":[' + fits + b",7]}", "items", 4)
        assert (value["items"], errors[0].code, str(errors[0])) == ([None, 7], "size", str(caught.value))
    for whole in (b"[1,2,3,4,5]", b'{"items":[1],"n":[1,2,3]}', b'{"items":{"a":[1,2,3]}}'):
        with pytest.raises(JsonError, match="more than 4 values"):
            parse_json_list(whole, "items", 4)
