"""Flags, environment and files come to one configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot import config
from copilot.config.loading import size_bytes, string_to_string
from copilot.core.errors import BadConfig, BadFlag
from copilot.stores.settings import AzureSettings, GcsSettings, LocalSettings, MemorySettings, RedisSettings, S3Settings

STOW = [
    "auth_type=accesskey",
    "access_key_id=AK",
    "secret_key=s3cr/et+key==",
    "region=eu-1",
    "endpoint=http://h:1",
    "disable_ssl=true",
]


def test_stow_flags_become_the_s3_settings() -> None:
    settings = config.load({"storage.stow.config": STOW, "storage.stow.kind": ["s3"], "storage.type": ["stow"]}, {}).stores.s3
    assert settings == S3Settings(
        endpoint="http://h:1", disable_ssl=True, region="eu-1", access_key_id="AK", secret_access_key="s3cr/et+key=="
    )


@pytest.mark.parametrize("name", ["token", "session_token"])
def test_a_session_s_token_has_stow_s_name_or_the_documentation_s(name: str) -> None:
    flags = {"storage.stow.config": [*STOW, f"{name}=t0k"], "storage.stow.kind": ["s3"], "storage.type": ["stow"]}
    assert config.load(flags, {}).stores.s3.session_token == "t0k"


@pytest.mark.parametrize("kind", ["s3", "minio", "stow"])
def test_every_s3_type_reads_the_stow_map(kind: str) -> None:
    assert config.load({"storage.stow.config": STOW, "storage.type": [kind]}, {}).stores.s3.access_key_id == "AK"


def test_iam_means_the_clouds_own_chain_even_with_keys() -> None:
    settings = config.load({"storage.stow.config": ["auth_type=iam", "access_key_id=AK", "secret_key=SK"]}, {}).stores.s3
    assert settings.access_key_id is None
    assert settings.secret_access_key is None


def write(directory: Path, **files: str) -> str:
    for name, text in files.items():
        (directory / f"{name}.yaml").write_text(text)
    return str(directory / "*.yaml")


def test_files_are_merged_in_name_order_and_the_later_wins(tmp_path: Path) -> None:
    pattern = write(
        tmp_path,
        b="storage: {stow: {config: {secret_key: right}}}",
        a="storage:\n  stow:\n    kind: s3\n    config: {access_key_id: AK, secret_key: wrong, endpoint: 'http://h:1'}\n",
    )
    (tmp_path / "z.txt").write_text("storage: {stow: {config: {secret_key: ignored}}}")
    loaded = config.load({"config": [pattern]}, {})
    assert (loaded.stores.s3.access_key_id, loaded.stores.s3.secret_access_key) == ("AK", "right")
    assert [Path(file).name for file in loaded.files] == ["a.yaml", "b.yaml"]


def test_stow_config_flags_replace_the_whole_map_of_the_files(tmp_path: Path) -> None:
    pattern = write(tmp_path, a="storage: {stow: {kind: s3, config: {endpoint: 'http://file:1', region: eu-9}}}")
    loaded = config.load({"config": [pattern], "storage.stow.config": ["access_key_id=AK", "secret_key=SK"]}, {})
    assert loaded.stores.s3.endpoint is None
    assert loaded.stores.s3.region is None


def test_schemes_have_settings_of_their_own(tmp_path: Path) -> None:
    pattern = write(
        tmp_path,
        a="""
storage:
  schemes:
    gs: {kind: google, config: {project_id: p, json: '{}', scopes: 'a,b'}}
    abfs: {config: {account: acc, key: a2V5}}
    minio: {kind: s3, config: {endpoint: 'http://m:9', access_key_id: m, secret_key: n}}
    redis: {redis: {addr: 'r:6379', db: 2}}
""",
    )
    schemes = config.load({"config": [pattern]}, {}).stores.schemes
    assert schemes["gs"] == GcsSettings(project_id="p", service_account_json="{}", scopes=("a", "b"))
    assert schemes["abfs"] == AzureSettings(account="acc", key="a2V5")
    assert schemes["minio"] == S3Settings(endpoint="http://m:9", access_key_id="m", secret_access_key="n")
    assert schemes["redis"] == RedisSettings(addr="r:6379", db=2)


def test_flyte_1_connection_is_taken(tmp_path: Path) -> None:
    connection = "{endpoint: 'http://c:1', access-key: a, secret-key: b, region: r, disable-ssl: true}"
    pattern = write(tmp_path, a=f"storage: {{type: minio, connection: {connection}}}")
    assert config.load({"config": [pattern]}, {}).stores.s3 == S3Settings(
        endpoint="http://c:1", access_key_id="a", secret_access_key="b", region="r", disable_ssl=True
    )


@pytest.mark.parametrize(
    "text", ["storage: {type: mem}", "storage: {type: redis, redis: {addr: 'r:1'}}", "storage: {type: local}"]
)
def test_other_types_are_understood(tmp_path: Path, text: str) -> None:
    stores = config.load({"config": [write(tmp_path, a=text)]}, {}).stores
    assert (stores.schemes.get("s3") == MemorySettings()) == ("mem" in text)
    assert (stores.redis.addr == "r:1") == ("redis" in text)


def test_a_local_store_may_have_a_root(tmp_path: Path) -> None:
    pattern = write(tmp_path, a="storage: {type: local, stow: {kind: local, config: {path: /data}}}")
    assert config.load({"config": [pattern]}, {}).stores.schemes["file"] == LocalSettings(root="/data")


@pytest.mark.parametrize(
    ("text", "named", "near"),
    [
        ("storage: {contianer: x}", "storage.contianer", "container"),
        ("storage: {stow: {knid: s3}}", "storage.stow.knid", "kind"),
        ("storage: {redis: {adr: x}}", "storage.redis.adr", "addr"),
        ("storage: {schemes: {gs: {knd: google}}}", "storage.schemes.gs.knd", "kind"),
        ("storage: {type: minoi}", "storage.type", "minio"),
        ("storage: {stow: {kind: googel, config: {json: '{}'}}}", "storage.stow", "google"),
    ],
)
def test_an_unknown_key_is_an_error_that_names_the_nearest(tmp_path: Path, text: str, named: str, near: str) -> None:
    with pytest.raises(BadConfig) as caught:
        config.load({"config": [write(tmp_path, a=text)]}, {})
    assert named in caught.value.message
    assert near in caught.value.hint


def test_keys_are_read_without_regard_to_case_and_other_sections_are_left_alone(tmp_path: Path) -> None:
    text = "logger: {level: 5}\nplugins: {x: 1}\n"
    text += "Storage: {Limits: {maxDownloadMBs: 0}, defaultHttpClient: {timeout: 1s}, Container: b}"
    assert config.load({"config": [write(tmp_path, a=text)]}, {}).container == "b"


@pytest.mark.parametrize("text", ["storage: [", "- a", "storage: 5", "\tx: 1"])
def test_a_file_that_is_no_mapping_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadConfig) as caught:
        config.load({"config": [write(tmp_path, a=text)]}, {})
    assert "configuration file" in caught.value.message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("storage: &a {schemes: *a}", "nested without end"),
        ("storage: {stow: {config: {access_key_id: 2026-02-30}}}", "not YAML"),
        ("storage: [", "not YAML, line"),
    ],
)
def test_a_file_that_cannot_be_read_to_its_end_is_one_sentence(tmp_path: Path, text: str, part: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(BadConfig, match=part):
        config.load({"config": [str(tmp_path / "a.yaml")]}, {})


def test_a_missing_file_is_an_error_under_our_name_and_a_warning_under_the_references(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.yaml")
    with pytest.raises(BadConfig):
        config.load({"config": [missing]}, {})
    assert missing in config.load({"config": [missing]}, {}, drop_in=True).warnings[0]


def test_our_flags_win_over_variables_and_those_over_flytes_configuration() -> None:
    flags = {"storage.stow.config": ["endpoint=http://stow", "region=r1"], "endpoint": ["http://flag", "gs=http://g"]}
    loaded = config.load(flags, {"COPILOT_ENDPOINT": "http://variable", "COPILOT_REGION": "r2", "COPILOT_ANONYMOUS": "true"})
    assert (loaded.stores.s3.endpoint, loaded.stores.gcs.endpoint, loaded.stores.s3.region) == ("http://flag", "http://g", "r2")
    assert loaded.stores.s3.anonymous
    assert loaded.stores.azure.anonymous


def test_the_references_own_variables_are_read() -> None:
    environ = {
        "STORAGE.CONTAINER": "b",
        "STORAGE.STOW.KIND": "google",
        "STORAGE.CACHE.MAX_SIZE_MBS": "1",
        "STORAGE.NONSENSE": "x",
    }
    assert config.load({}, environ).container == "b"


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        ({"engine": ["fsspc"]}, "fsspec"),
        ({"log-level": ["inf"]}, "info"),
        ({"failure-exit-code": ["0"]}, "1 to 255"),
        ({"max-workers": ["none"]}, "whole number"),
        ({"memory": ["much"]}, "64MiB"),
        ({"endpoint": ["ftp=x"]}, "s3=URL"),
    ],
)
def test_a_wrong_value_of_a_flag_says_what_it_takes(flags: dict[str, list[str]], part: str) -> None:
    with pytest.raises(BadFlag) as caught:
        config.load(flags, {})
    assert part in caught.value.sentence()


def test_a_bad_stow_pair_is_refused_without_repeating_it() -> None:
    with pytest.raises(BadFlag) as caught:
        string_to_string(["sup3rsecret"], "--storage.stow.config")
    assert "sup3rsecret" not in caught.value.sentence()


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("a=1", {"a": "1"}),
        ("a=1,b=2", {"a": "1", "b": "2"}),
        ("secret=x,y", {"secret": "x,y"}),
        ('a="1,2",b=3', {"a": '"1', "b": "3"}),
        ("k=v==", {"k": "v=="}),
        ('"k=v"', {"k": "v"}),
    ],
)
def test_pairs_are_split_as_the_reference_splits_them(text: str, pairs: dict[str, str]) -> None:
    if text.startswith('a="'):
        with pytest.raises(BadFlag):
            string_to_string([text], "f")
    else:
        assert string_to_string([text], "f") == pairs


def test_the_reference_fails_with_137_and_we_with_our_own_table() -> None:
    assert config.load({}, {}, drop_in=True).failure_exit_code == 137
    assert config.load({}, {}).failure_exit_code is None
    assert config.load({"failure-exit-code": ["9"]}, {}, drop_in=True).failure_exit_code == 9


@pytest.mark.parametrize(
    ("text", "expected"), [("64MiB", 64 << 20), ("1g", 1 << 30), ("512K", 512 << 10), ("77", 77), ("", None)]
)
def test_sizes_are_read(text: str, expected: int | None) -> None:
    assert size_bytes(text, "--memory") == expected


SECRETS = ["s3cr/et+key==", "red1s-pass", "azurekey", "hdr-token"]


def test_the_printable_configuration_shows_no_secret_and_the_redactor_gets_each(tmp_path: Path) -> None:
    pattern = write(
        tmp_path,
        a="storage: {schemes: {abfs: {config: {account: a, key: azurekey}}}, redis: {addr: 'h:1', password: red1s-pass}}",
    )
    loaded = config.load({"storage.stow.config": STOW, "config": [pattern]}, {"AWS_SESSION_TOKEN": "hdr-token"})
    shown = str(config.printable(loaded)) + repr(loaded)
    assert not [secret for secret in SECRETS if secret in shown]
    assert "AK" in shown
    assert {secret.decode() for secret in config.secret_values(loaded)} == set(SECRETS)


@given(
    st.dictionaries(
        st.sampled_from(["engine", "log-level", "memory", "config", "endpoint", "storage.type"]), st.lists(st.text())
    )
)
def test_any_flag_values_load_or_are_refused_with_a_sentence(flags: dict[str, list[str]]) -> None:
    flags.pop("config", None)
    try:
        config.load(flags, {})
    except (BadFlag, BadConfig) as refused:
        assert refused.sentence()  # noqa: PT017 - both ends are right


def test_reading_twice_can_be_done_without() -> None:
    assert config.load({}, {}).read_twice
    assert not config.load({}, {"COPILOT_READ_TWICE": "false"}).read_twice
