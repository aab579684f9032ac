"""Values of a stack file and what the real Pulumi passes to the program for each (`pulumi config --json`, 3.259)."""

__all__ = ["ACCEPTED_BY_PULUMI", "BLOCKS", "REJECTED_BY_PULUMI", "SCALARS"]

SCALARS: dict[str, tuple[str, str]] = {
    "5": ("5", "[5]"),
    "-5": ("-5", "[-5]"),
    "+5": ("5", "[5]"),
    "010": ("8", "[8]"),
    "0o10": ("8", "[8]"),
    "0x1F": ("31", "[31]"),
    "0b101": ("5", "[5]"),
    "08": ("8", "[8]"),
    "1_000": ("1000", "[1000]"),
    "12:30": ("12:30", '["12:30"]'),
    "1e3": ("1000", "[1000]"),
    "1e6": ("1000000", "[1000000]"),
    "1e20": ("100000000000000000000", "[100000000000000000000]"),
    "1e21": ("1e+21", "[1e+21]"),
    "1.5e-7": ("1.5e-7", "[1.5e-7]"),
    "1e-6": ("0.000001", "[0.000001]"),
    "1e999": ("1e999", '["1e999"]'),
    ".5": ("0.5", "[0.5]"),
    "-.5": ("-0.5", "[-0.5]"),
    "5.": ("5", "[5]"),
    "8.40": ("8.4", "[8.4]"),
    "8.0": ("8", "[8]"),
    "1.10": ("1.1", "[1.1]"),
    "0.30000000000000004": ("0.30000000000000004", "[0.30000000000000004]"),
    "-0.0": ("0", "[0]"),
    "9007199254740993": ("9007199254740993", "[9007199254740993]"),
    "9223372036854775807": ("9223372036854775807", "[9223372036854775807]"),
    "9223372036854775808": ("9223372036854775808", "[9223372036854776000]"),
    "18446744073709551615": ("18446744073709551615", "[18446744073709552000]"),
    "18446744073709551616": ("18446744073709552000", "[18446744073709552000]"),
    "-9223372036854775809": ("-9223372036854776000", "[-9223372036854776000]"),
    "0xFFFFFFFFFFFFFFFF": ("18446744073709551615", "[18446744073709552000]"),
    "true": ("true", "[true]"),
    "True": ("true", "[true]"),
    "FALSE": ("false", "[false]"),
    "tRUE": ("tRUE", '["tRUE"]'),
    "yes": ("yes", '["yes"]'),
    "no": ("no", '["no"]'),
    "on": ("on", '["on"]'),
    "off": ("off", '["off"]'),
    "y": ("y", '["y"]'),
    "null": ("", "[null]"),
    "Null": ("", "[null]"),
    "~": ("", "[null]"),
    '""': ("", '[""]'),
    "''": ("", '[""]'),
    "2026-01-01": ("2026-01-01 00:00:00 +0000 UTC", '["2026-01-01 00:00:00 +0000 UTC"]'),
    "2026-1-2": ("2026-01-02 00:00:00 +0000 UTC", '["2026-01-02 00:00:00 +0000 UTC"]'),
    "2026-02-30": ("2026-02-30", '["2026-02-30"]'),
    "2026-01-01T10:20:30Z": ("2026-01-01 10:20:30 +0000 UTC", '["2026-01-01 10:20:30 +0000 UTC"]'),
    "2026-01-01t10:20:30.50-05:00": ("2026-01-01 10:20:30.5 -0500 -0500", '["2026-01-01 10:20:30.5 -0500 -0500"]'),
    "2026-01-01 10:20:30": ("2026-01-01 10:20:30 +0000 UTC", '["2026-01-01 10:20:30 +0000 UTC"]'),
    "2026-01-01T10:20:30": ("2026-01-01T10:20:30", '["2026-01-01T10:20:30"]'),
    "'5'": ("5", '["5"]'),
    '"true"': ("true", '["true"]'),
    "'8.40'": ("8.40", '["8.40"]'),
    "'2026-01-01'": ("2026-01-01", '["2026-01-01"]'),
    "50Gi": ("50Gi", '["50Gi"]'),
    "500m": ("500m", '["500m"]'),
    "1.2.3": ("1.2.3", '["1.2.3"]'),
    "10.0.0.1": ("10.0.0.1", '["10.0.0.1"]'),
    "a:b": ("a:b", '["a:b"]'),
    "<<": ("<<", '["\\u003c\\u003c"]'),
    '"<a> & \\u00e9\\u2028"': ("<a> & é\u2028", '["\\u003ca\\u003e \\u0026 é\\u2028"]'),
    '"two\\nlines\\n"': ("two\nlines\n", '["two\\nlines\\n"]'),
    '"\\nlines"': ("lines", '["lines"]'),
    '"\\nline "': ("\nline ", '["\\nline "]'),
    "!!str 5": ("5", '["5"]'),
    '!!int "5"': ("5", "[5]"),
    "!!float 5": ("5", "[5]"),
    "!!binary aGk=": ("hi", '["hi"]'),
    "!custom 5": ("5", '["5"]'),
    "{}": ("{}", "[{}]"),
    "[]": ("[]", "[[]]"),
    "{a: }": ('{"a":null}', '[{"a":null}]'),
    "{b: 1, a: [2.50, ~]}": ('{"a":[2.5,null],"b":1}', '[{"a":[2.5,null],"b":1}]'),
    "{5: a, true: b, ~: c, 1.5: d}": (
        '{"1.5":"d","5":"a","\\u003cnil\\u003e":"c","true":"b"}',
        '[{"1.5":"d","5":"a","\\u003cnil\\u003e":"c","true":"b"}]',
    ),
    "{secure: 5}": ('{"secure":5}', '[{"secure":5}]'),
    "{secure: v1:x, b: 1}": ('{"b":1,"secure":"v1:x"}', '[{"b":1,"secure":"v1:x"}]'),
}
"""By YAML on one line: the value of a key, and the value of a key with a list of this one item."""

BLOCKS: dict[str, tuple[str, str]] = {
    "literal block": ("|\n    a\n\n     b\n", "a\n\n b\n"),
    "folded block": (">-\n    a\n    b\n\n    c\n", "a b\nc"),
    "block with an empty first line": ("|\n\n    a\n", "a\n"),
    "plain text of two lines": ("a\n    b\n", "a b"),
    "anchor and alias": ("\n    a: &x [1, 2]\n    b: *x\n", '{"a":[1,2],"b":[1,2]}'),
    "anchor used twice": ("\n    a: &x 1\n    b: &x 2\n    c: *x\n", '{"a":1,"b":2,"c":2}'),
    "merged map": (
        "\n    base: &base {kind: dedicated, version: '8.4'}\n    main: {<<: *base, version: '9.0'}\n",
        '{"base":{"kind":"dedicated","version":"8.4"},"main":{"kind":"dedicated","version":"9.0"}}',
    ),
    "merged list of maps": (
        "\n    one: &one {a: 1, b: 1}\n    two: &two {b: 2, c: 2}\n    all: {<<: [*one, *two], d: 4}\n",
        '{"all":{"a":1,"b":1,"c":2,"d":4},"one":{"a":1,"b":1},"two":{"b":2,"c":2}}',
    ),
    "merge in a merge": (
        "\n    one: &one {a: 1, b: 1}\n    two: &two {<<: *one, b: 2}\n    all: {<<: *two, c: 3}\n",
        '{"all":{"a":1,"b":2,"c":3},"one":{"a":1,"b":1},"two":{"a":1,"b":2}}',
    ),
    "merge key in quotes": ("{'<<': {a: 1}}\n", '{"a":1}'),
    "tab after a colon": ("\n    a:\t1\n", '{"a":1}'),
}
"""By description: YAML on several lines, and the value of a key that has it."""

REJECTED_BY_PULUMI: dict[str, tuple[str, list[str]]] = {
    "tab at the start of a line": (
        "config:\n\ta: b\n",
        ["line 2, column 1: invalid YAML: tab used for indentation; use spaces"],
    ),
    "tab after a value": (
        "config:\n  a: b\n\tc: d\n",
        ["line 3, column 1: invalid YAML: tab used for indentation; use spaces"],
    ),
    "tab in block text": (
        "config:\n  a: |\n\tb\n",
        ["line 3, column 1: invalid YAML: tab used for indentation; use spaces"],
    ),
    "two colons": (
        "config:\n  a: b: c\n",
        ["line 2, column 7: invalid YAML: a second ': ' on one line; put the value in quotes"],
    ),
    "key below a value": (
        "config:\n  a: b\n    c: d\n",
        ["line 3, column 6: invalid YAML: a key cannot start here; check its indentation and the line above"],
    ),
    "no space after a colon": (
        "config:\n  a:b\n  c: d\n",
        ["line 3, column 4: invalid YAML: a key cannot start here; check its indentation and the line above"],
    ),
    "key without a colon": (
        "config:\n  a: 1\n  bcd\n  e: 2\n",
        ["line 3, column 3: invalid YAML: the key has no ':'; write 'key: value'"],
    ),
    "open brace": (
        "config:\n  a: {b: c\n  d: e\n",
        ["line 3, column 4: invalid YAML: the '{' on line 2 is not closed; add ',' or '}'"],
    ),
    "open bracket": (
        "config:\n  a: [b\n",
        ["line 3, column 1: invalid YAML: the '[' on line 2 is not closed; add ',' or ']'"],
    ),
    "open double quote": (
        'config:\n  a: "b\n  c: d\n',
        ["line 2, column 6: invalid YAML: the quote is not closed; add the closing quote"],
    ),
    "open single quote": (
        "config:\n  a: 'b",
        ["line 2, column 6: invalid YAML: the quote is not closed; add the closing quote"],
    ),
    "document mark in quotes": (
        'config:\n  a: "\n---\n',
        ["line 2, column 6: invalid YAML: the quote is not closed; add the closing quote"],
    ),
    "text after a quote": (
        'config:\n  a: "b" c\n',
        ["line 2, column 10: invalid YAML: unexpected text after the value; put the whole value in quotes"],
    ),
    "apostrophe in single quotes": (
        "config:\n  a: 'it's'\n",
        ["line 2, column 10: invalid YAML: unexpected text after the value; put the whole value in quotes"],
    ),
    "extra brace": (
        "config:\n  a: {b: c}}\n",
        ["line 2, column 12: invalid YAML: unexpected text after the value; put the whole value in quotes"],
    ),
    "indentation of a map": (
        "config:\n    a: 1\n  b: 2\n",
        ["line 3, column 3: invalid YAML: wrong indentation; indent all keys of a map by the same number of spaces"],
    ),
    "indentation of a list": (
        "config:\n  a:\n    - b\n   - c\n",
        ["line 4, column 4: invalid YAML: wrong indentation; indent all keys of a map by the same number of spaces"],
    ),
    "indentation after a list": (
        "config:\n  a:\n    - b\n    c: d\n",
        ["line 4, column 5: invalid YAML: wrong indentation; start each list item with '- ' in the same column"],
    ),
    "list after a key": (
        "config:\n  a: - b\n",
        ["line 2, column 6: invalid YAML: a list cannot start here; start it on its own line"],
    ),
    "question mark": (
        "config:\n  a: ? b\n",
        ["line 2, column 6: invalid YAML: a value cannot start with '? '; put the value in quotes"],
    ),
    "question mark in braces": ("config:\n  a: {b: c? d}\n", ["line 2: invalid YAML: put a value with '? ' in quotes"]),
    "value with @": (
        "config:\n  a: @b\n",
        ["line 2, column 6: invalid YAML: a value cannot start with '@'; put the value in quotes"],
    ),
    "value with a backtick": (
        "config:\n  a: `b`\n",
        ["line 2, column 6: invalid YAML: a value cannot start with '`'; put the value in quotes"],
    ),
    "value with %": (
        "config:\n  a: %b\n",
        ["line 2, column 6: invalid YAML: a value cannot start with '%'; put the value in quotes"],
    ),
    "value with *": (
        "config:\n  a: */5 * * * *\n",
        ["line 2, column 6: invalid YAML: a value cannot start with '*'; put the value in quotes"],
    ),
    "value with &": (
        "config:\n  a: & b\n",
        ["line 2, column 6: invalid YAML: a value cannot start with '&'; put the value in quotes"],
    ),
    "unknown alias": (
        "config:\n  a: *b\n",
        ["line 2: invalid YAML: no anchor has this name; put a value that starts with '*' in quotes"],
    ),
    "value with !": (
        "config:\n  a: !b!c d\n",
        ["line 2, column 6: invalid YAML: a value cannot start with '!'; put the value in quotes"],
    ),
    "directive": (
        "%b\nconfig: {a: 1}\n",
        ["line 1, column 1: invalid YAML: a line cannot start with '%'; put the value in quotes"],
    ),
    "comma without a value": (
        "config:\n  a: [,]\n",
        ["line 2, column 7: invalid YAML: a value is missing; remove the comma or bracket, or use quotes"],
    ),
    "escape": (
        'config:\n  a: "C:\\path"\n',
        ["line 2, column 9: invalid YAML: unknown escape in double quotes; use single quotes"],
    ),
    "text after a pipe": (
        "config:\n  a: |b\n    c\n",
        ["line 2, column 7: invalid YAML: unexpected text after '|' or '>'; start the text on the next line"],
    ),
    "alias of itself": (
        "config:\n  a: &b [*b]\n",
        ["line 2: the alias refers to a value that contains the alias; remove it"],
    ),
    "braces as a key": (
        "config:\n  a: {{b}}\n",
        ["line 2: a map or a list cannot be a key; put a value that starts with '{' or '[' in quotes"],
    ),
    "merge of text": (
        "config:\n  a: {<<: b}\n",
        ["line 2: '<<' accepts only a map or a list of maps, such as '<<: *name'"],
    ),
    "type of a tag": (
        "config:\n  a: !!int b\n",
        ["line 2: invalid YAML: the value does not have the type of its tag '!!int'"],
    ),
    "no base64": (
        "config:\n  a: !!binary b\n",
        ["line 2: invalid YAML: the value is not base64, which its tag '!!binary' requires"],
    ),
    "duplicate keys": (
        "config:\n  a: {b: 1,\n    c: 2,\n    b: 3,\n    'b': 4}\n  d: 5\n  a: 6\nconfig: {}\n",
        [
            "line 4: duplicate key 'b' (first on line 2); remove one",
            "line 5: duplicate key 'b' (first on line 2); remove one",
            "line 7: duplicate key 'a' (first on line 2); remove one",
            "line 8: duplicate key 'config' (first on line 1); remove one",
        ],
    ),
    "control character": ("config:\n  a: \x01\n", ["line 2, column 6: invalid YAML: remove the control character"]),
    "key with three parts": (
        "config:\n  a:b:c: 1\n",
        ["line 2: a configuration key has more than one ':'; write <namespace>:<name>"],
    ),
    "number as a key": ("config:\n  5: 1\n", ["line 2: a configuration key is not text; write <namespace>:<name>"]),
    "number as a key of the file": ("5: 1\nconfig: {a: 1}\n", ["line 1: the key '5' is not text; remove it"]),
    "number that is infinite": (
        "config:\n  a: {b: .inf, c: .nan}\n",
        ["line 2: Pulumi does not support the numbers .inf and .nan"],
    ),
    "tab at the start of text of two lines": (
        'config:\n  a: "\\tb\\nc"\n',
        ["line 2: Pulumi cannot read text of several lines that starts with a tab; use spaces"],
    ),
    "text": ("config\n", ["the file must be a map of keys and values, with the key 'config'"]),
    "list": ("- config\n", ["the file must be a map of keys and values, with the key 'config'"]),
    "list as config": (
        "config: [a]\n",
        ["line 1: 'config' must be a map of keys such as 'database-groups:applications'"],
    ),
    "text as config": (
        "config: a\n",
        ["line 1: 'config' must be a map of keys such as 'database-groups:applications'"],
    ),
}
"""By description: a file that Pulumi rejects too, and the errors that the reader reports."""

ACCEPTED_BY_PULUMI: dict[str, tuple[str, list[str]]] = {
    "empty file": ("", ["the file is empty; add the map 'config' with the keys of the stack"]),
    "comment": ("# a\n", ["the file is empty; add the map 'config' with the keys of the stack"]),
    "no config": ("encryptionsalt: v1:a\n", ["the map 'config' is missing; add it with the keys of the stack"]),
    "misspelt config": ("confg:\n  a: 1\n", ["line 1: the map 'config' is missing; rename 'confg' to 'config'"]),
    "empty config": ("config:\n", ["line 1: 'config' is empty; add keys such as 'database-groups:applications'"]),
    "empty map as config": (
        "config: {}\n",
        ["line 1: 'config' is empty; add keys such as 'database-groups:applications'"],
    ),
    "two documents": (
        "config:\n  a: 1\n---\nconfig:\n  a: 2\n",
        ["line 3: a second YAML document starts here, and Pulumi reads only the first one; remove the line '---'"],
    ),
    "dedent below the first key": (
        "  config:\n    a: 1\nencryptionsalt: v1:a\n",
        ["line 3, column 1: invalid YAML: the text is outside of the map above; indent it like the first key"],
    ),
    "prefixed and bare key": (
        "config:\n  a: 1\n  database-groups:a: 2\n",
        ["line 3: duplicate key 'database-groups:a' (first on line 2, with another prefix); remove one"],
    ),
    "old form of a key": (
        "config:\n  database-groups:config:a: 1\n  a: 2\n",
        ["line 3: duplicate key 'database-groups:a' (first on line 2, with another prefix); remove one"],
    ),
    "colon without a space": (
        "config:\n  a: {b:}\n",
        ["line 2, column 8: invalid YAML: write a space after ':', or put the value in quotes"],
    ),
    "two forms of a number as keys": (
        "config:\n  a: {1: b, 0x1: c}\n",
        ["line 2: duplicate key '1' (first on line 2); remove one"],
    ),
    "null as a key": ("config:\n  ~: 1\n", ["line 2: a configuration key is not text; write <namespace>:<name>"]),
    "deep nesting": ("config:\n  a: " + "[" * 101 + "]" * 101, ["line 2: more than 100 levels of nesting"]),
}
"""By description: a file that only the reader rejects, and its errors. Pulumi ignores a part of such a file."""
