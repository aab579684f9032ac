"""The reader of stack files: values as Pulumi reads them, positions, errors and warnings."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks.__main__ import main
from stacks.config_keys import list_key_warnings
from stacks.stack_file import HIDDEN, StackFile, StackFileError, list_stacks, load_stack_file
from tests.stack_file_values import ACCEPTED_BY_PULUMI, BLOCKS, REJECTED_BY_PULUMI, SCALARS

PASSWORD, CIPHERTEXT = "S!e!c!r!e!t!9", "v1:C!i!p!h!e!r!8:="
"""Secrets of which every part of two characters and more contains a '!'."""
EXAMPLE = f"""\
encryptionsalt: v1:abc
config:
  kubernetes:context: dev
  environment: production
  database-groups:applications:
    shop:
      databases:
        mysql:
          main: &main {{server: {{kind: external, host: db.example.org, password: {{secure: "{CIPHERTEXT}"}}}}}}
          other:
            <<: *main
            primary: false
        redis:
          cache:
            server: local
  aws:profile: {{secure: "{CIPHERTEXT}"}}
  database-groups:externalServers:
    main:
      engine: mysql
      administrator:
        username: root
        password: {PASSWORD}
      hosts: [a.example.org,
              b.example.org]
"""
SECURE = ("applications", "shop", "databases", "mysql", "main", "server", "password")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stacks" / "Pulumi.test.yaml"


def read(path: Path, content: str | bytes) -> StackFile:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_stack_file(path)


def errors(path: Path, content: str | bytes) -> list[str]:
    with pytest.raises(StackFileError) as raised:
        read(path, content)
    assert str(raised.value).splitlines()[1:] == [f"  {finding}" for finding in raised.value.findings]
    return [str(finding) for finding in raised.value.findings]


def value(path: Path, content: str) -> Any:
    """The value of the key `k`."""
    return read(path, content).config["database-groups:k"]


@pytest.mark.parametrize("text", SCALARS, ids=repr)
def test_scalar_is_the_text_that_pulumi_passes(path: Path, text: str) -> None:
    file = read(path, f"config:\n  k: {text}\n  list: [{text}]\n")
    assert (file.config["database-groups:k"], file.config["database-groups:list"]) == SCALARS[text]


@pytest.mark.parametrize("description", BLOCKS)
def test_block_is_the_text_that_pulumi_passes(path: Path, description: str) -> None:
    text, expected = BLOCKS[description]
    assert value(path, f"config:\n  k: {text}") == expected


@pytest.mark.parametrize("description", REJECTED_BY_PULUMI)
def test_invalid_file_has_all_errors_with_lines_and_remedies(path: Path, description: str) -> None:
    text, expected = REJECTED_BY_PULUMI[description]
    assert errors(path, text) == expected


@pytest.mark.parametrize("description", ACCEPTED_BY_PULUMI)
def test_file_that_pulumi_reads_in_part_is_an_error(path: Path, description: str) -> None:
    text, expected = ACCEPTED_BY_PULUMI[description]
    assert errors(path, text) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encoding_that_pulumi_accepts_is_read(path: Path, encoding: str) -> None:
    assert read(path, "config:\n  k: é\n".encode(encoding)).config == {"database-groups:k": "é"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "config:\n  k: é\n".encode("latin-1"),
            "line 2, column 6: invalid YAML: the file is not UTF-8; save it as UTF-8",
        ),
        ("config:\n\tk: é\n".encode("utf-16"), "line 2, column 1: invalid YAML: tab used for indentation; use spaces"),
        ("config:\r\n\tk: é\r\n".encode(), "line 2, column 1: invalid YAML: tab used for indentation; use spaces"),
    ],
    ids=["latin-1", "utf-16", "line breaks of Windows"],
)
def test_error_has_its_line_in_every_encoding(path: Path, content: bytes, expected: str) -> None:
    assert errors(path, content) == [expected]


def test_repeated_aliases_are_rejected_before_they_fill_the_memory(path: Path) -> None:
    aliases = [f"  a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 9)}]" for number in range(1, 10)]
    assert errors(path, "\n".join(["config:", "  a0: &a0 [x]", *aliases, ""])) == [
        "line 2: aliases repeat too many values"
    ]


def test_file_has_full_keys_and_no_secret(path: Path) -> None:
    file = read(path, EXAMPLE)
    assert set(file.config) == {
        "kubernetes:context",
        "database-groups:environment",
        "database-groups:applications",
        "database-groups:externalServers",
        "aws:profile",
    }
    assert file.config["aws:profile"] == HIDDEN
    groups = json.loads(file.config["database-groups:applications"])["shop"]["databases"]["mysql"]
    assert [groups[name]["server"]["password"] for name in ("main", "other")] == [HIDDEN, HIDDEN]
    assert CIPHERTEXT not in str(file)
    assert file.encrypted_keys == {"database-groups:applications", "aws:profile"}
    assert file.encrypted_paths == {SECURE, (*SECURE[:4], "other", *SECURE[5:]), ("aws:profile",)}
    assert file.warnings == ()


@pytest.mark.parametrize(
    ("location", "line"),
    [
        ((), 2),
        (("kubernetes:context",), 3),
        (("environment",), 4),
        (("applications", "shop"), 6),
        (SECURE, 9),
        ((*SECURE[:4], "other"), 10),
        ((*SECURE[:4], "other", "server", "password"), 9),
        ((*SECURE[:4], "other", "primary"), 12),
        (("applications", "shop", "databases", "redis", "cache", "server", "kind"), 15),
        (("externalServers", "main", "hosts", 0), 23),
        (("externalServers", "main", "hosts", 1), 24),
        (("externalServers", "main", "hosts", 2), 23),
        (("preflight",), 2),
    ],
    ids=str,
)
def test_location_has_a_line(path: Path, location: tuple[str | int, ...], line: int) -> None:
    assert read(path, EXAMPLE).find_line(location) == line


def test_missing_file_names_the_existing_stacks(path: Path) -> None:
    read(path, EXAMPLE)
    with pytest.raises(StackFileError) as raised:
        load_stack_file(path.with_name("Pulumi.tset.yaml"))
    assert str(raised.value) == (
        "stacks/Pulumi.tset.yaml has 1 error:\n  the file does not exist; existing stacks: test"
    )
    assert list_stacks(path.parent) == ["test"]
    assert list_stacks(path.parent / "none") == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (EXAMPLE, (0, "")),
        (
            "config:\n  a: 1\n  a: 2\n",
            (
                1,
                "error: stacks/Pulumi.test.yaml has 1 error:\n"
                "  line 3: duplicate key 'a' (first on line 2); remove one\n",
            ),
        ),
    ],
    ids=["valid", "duplicate key"],
)
def test_command_reports_what_pulumi_cannot_read(
    path: Path,
    content: str,
    expected: tuple[int, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path.parent.mkdir()
    path.write_text(content)
    monkeypatch.setattr("stacks.deployed_stack.STACK_FOLDER", path.parent)
    assert (main(["validate", "acme/test"]), capsys.readouterr().err) == expected


def test_folder_in_the_place_of_the_file_is_an_error(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(StackFileError, match="the file cannot be read: Is a directory"):
        load_stack_file(path)


@pytest.mark.parametrize(
    ("key", "warning"),
    [
        (
            "databasegroups:environment",
            "unknown configuration namespace 'databasegroups'; did you mean 'database-groups'?",
        ),
        (
            "Database-Groups:environment",
            "unknown configuration namespace 'Database-Groups'; did you mean 'database-groups'?",
        ),
        ("kubernets:context", "unknown configuration namespace 'kubernets'; did you mean 'kubernetes'?"),
        ("kubernetes:contxt", "unknown key 'kubernetes:contxt'; did you mean kubernetes:context?"),
        (
            "kubernetes:enable_secret_mutable",
            "unknown key 'kubernetes:enable_secret_mutable'; did you mean kubernetes:enableSecretMutable?",
        ),
        *((key, None) for key in ("aws:region", "postgresql:host", "pulumi:tags", "kubernetes-cert-manager:x")),
        *((f"kubernetes:{name}", None) for name in ("context", "kubeconfig", "helmReleaseSettings", "version")),
        ("database-groups:environment", None),
    ],
)
def test_misspelt_configuration_key_is_a_warning(path: Path, key: str, warning: str | None) -> None:
    assert list_key_warnings([key]) == ({key: warning} if warning else {})
    file = read(path, f"config:\n  {key}: x\n")
    assert [str(found) for found in file.warnings] == ([f"line 2: {warning}"] if warning else [])


def test_unknown_key_without_a_similar_one_lists_the_known_keys() -> None:
    (message,) = list_key_warnings(["kubernetes:zzz"]).values()
    assert "known keys: alwaysRender, cluster, " in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "config: {k: 1}\ndatabase-groups:applications: {}\n",
            "line 2: Pulumi ignores 'database-groups:applications' outside of 'config'; indent it below 'config'",
        ),
        (
            "environment: [shared]\nconfig: {k: 1}\n",
            "line 1: values from Pulumi ESC environments are not known before an update",
        ),
    ],
)
def test_key_outside_of_the_configuration_is_a_warning(path: Path, text: str, expected: str) -> None:
    assert [str(warning) for warning in read(path, text).warnings] == [expected]


def test_anchor_outside_of_the_configuration_is_no_warning(path: Path) -> None:
    file = read(path, "defaults: &defaults {kind: dedicated}\nconfig:\n  k: {<<: *defaults}\n")
    assert (file.config, file.warnings) == ({"database-groups:k": '{"kind":"dedicated"}'}, ())


TOKENS = st.sampled_from(
    [
        *"\n\t :{}[]'\"|>&*#-~!%@`,?<=\x00\x01\x85\ufeff",
        "\n  ",
        ": ",
        "- ",
        "---\n",
        "<<: ",
        "*main",
        ".inf",
        "? ",
        "\r",
    ]
)
EDITS = st.lists(
    st.tuples(st.integers(0, len(EXAMPLE)), st.integers(0, 30), TOKENS | st.text(max_size=3)), min_size=1, max_size=4
)


def messages(path: Path, content: bytes) -> str:
    """Everything that the reader reports about a file."""
    try:
        file = read(path, content)
    except StackFileError as error:
        return str(error)
    assert all(HIDDEN in file.config[key] for key in file.encrypted_keys)
    return "\n".join(map(str, file.warnings))


@given(edits=EDITS)
def test_edited_file_is_read_or_rejected_without_a_secret(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int, str]]
) -> None:
    text = EXAMPLE
    for start, length, inserted in edits:
        text = text[:start] + inserted + text[start + length :]
    reported = messages(tmp_path_factory.getbasetemp() / "stacks" / "Pulumi.edited.yaml", text.encode(errors="replace"))
    secrets = (PASSWORD, CIPHERTEXT.removeprefix("v1:"))
    assert [
        part
        for secret in secrets
        for part in map("".join, zip(secret, secret[1:], secret[2:], strict=False))
        if part in reported
    ] == []


@given(content=st.binary() | st.text().map(lambda text: f"config:\n  k: {text}".encode(errors="replace")))
def test_any_content_is_read_or_rejected(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    messages(tmp_path_factory.getbasetemp() / "stacks" / "Pulumi.any.yaml", content)
