"""A Flyte task finds its secret where it looks, with each of Flyte's managers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flyteidl2.core.security_pb2 import Secret

from copilot.core.errors import BadSecretRef
from copilot.core.flyte_secrets import FlyteSecrets, map_secret, storage_name
from copilot.core.secret_ports import SecretRef

ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret"


def _file(manager: str, **fields: str) -> tuple[tuple[str, ...], dict[str, str]]:
    delivery = map_secret(Secret(mount_requirement=Secret.FILE, **fields), FlyteSecrets(manager=manager))
    assert delivery.variables == ()
    return delivery.files, delivery.constants


@pytest.mark.parametrize(
    ("manager", "fields", "files"),
    [
        ("embedded", {"key": "MyKey"}, ("/etc/flyte/secrets/MyKey", "/etc/flyte/secrets/mykey")),
        ("embedded", {"key": "k", "group": "G"}, ("/etc/flyte/secrets/k", "/etc/flyte/secrets/G/k")),
        ("k8s", {"key": "Key", "group": "Group"}, ("/etc/flyte/secrets/group/key",)),
        ("aws", {"key": "Db-AbC", "group": ARN}, (f"/etc/flyte/secrets/{ARN}/db-abc",)),
        ("gcp", {"group": "projects/P/secrets/s", "group_version": "3"}, ("/etc/flyte/secrets/projects/p/secrets/s/3",)),
        ("azure", {"group": "https://v.vault.azure.net/secrets/Name"}, ("/etc/flyte/secrets/name",)),
        ("azure", {"group": "https://v.vault.azure.net/secrets/N", "group_version": "A1"}, ("/etc/flyte/secrets/n/a1",)),
        ("vault", {"key": "Key", "group": "secret/data/App"}, ("/etc/flyte/secrets/secret/data/App/Key",)),
    ],
)
def test_a_file_is_where_the_manager_puts_it(manager: str, fields: dict[str, str], files: tuple[str, ...]) -> None:
    paths, constants = _file(manager, **fields)
    assert paths == files
    assert constants == {"FLYTE_SECRETS_DEFAULT_DIR": "/etc/flyte/secrets", "FLYTE_SECRETS_FILE_PREFIX": ""}


@pytest.mark.parametrize(
    ("manager", "fields", "names"),
    [
        ("embedded", {"key": "my_key"}, ("_UNION_MY_KEY",)),
        ("embedded", {"key": "my_key", "env_var": "TOKEN"}, ("TOKEN",)),
        ("k8s", {"key": "k", "group": "g", "env_var": "TOKEN"}, ("_UNION_G_K", "TOKEN")),
        ("k8s", {"key": "k"}, ("_UNION__K",)),
        ("aws", {"key": "password", "group": "prod/db"}, ("_UNION_PROD_DB_PASSWORD",)),
        ("azure", {"key": "k", "group": "https://v.vault.azure.net/secrets/my-name"}, ("_UNION_MY_NAME_K",)),
        ("vault", {"key": "k", "group": "secret/data/a"}, ("_UNION_SECRET_DATA_A_K",)),
        ("global", {"key": "k", "group": "g", "env_var": "IGNORED"}, ("_UNION_G_K",)),
    ],
)
def test_a_variable_has_the_name_the_manager_gives_it(manager: str, fields: dict[str, str], names: tuple[str, ...]) -> None:
    delivery = map_secret(Secret(mount_requirement=Secret.ENV_VAR, **fields), FlyteSecrets(manager=manager))
    assert delivery.variables == names
    assert delivery.files == ()
    assert delivery.constants == {"FLYTE_SECRETS_ENV_PREFIX": "_UNION_"}


def test_any_is_a_variable_for_the_embedded_manager_and_a_file_for_the_others() -> None:
    secret = Secret(key="k", group="g")
    assert map_secret(secret, FlyteSecrets()).variables == ("_UNION_K",)
    assert map_secret(secret, FlyteSecrets(manager="k8s")).files == ("/etc/flyte/secrets/g/k",)


def test_a_file_with_a_variable_of_its_own_is_pointed_to() -> None:
    _, constants = _file("k8s", key="Key", group="Group", env_var="WHERE")
    assert constants["WHERE"] == "/etc/flyte/secrets/group/key"
    files, constants = _file("embedded", key="Key", env_var="WHERE")
    assert constants["WHERE"] == "/etc/flyte/secrets/key"
    assert constants["WHERE"] in files


def test_the_prefix_and_the_directory_are_the_platforms() -> None:
    platform = FlyteSecrets(manager="k8s", env_prefix="_FSEC_", directory="/run/s")
    assert map_secret(Secret(key="k", group="g", mount_requirement=Secret.ENV_VAR), platform).variables == ("_FSEC_G_K",)
    assert map_secret(Secret(key="k", group="g", mount_requirement=Secret.FILE), platform).files == ("/run/s/g/k",)


def test_an_embedded_secret_is_looked_for_from_the_narrowest_scope_to_the_widest() -> None:
    platform = FlyteSecrets(domain="development", project="flytesnacks", embedded_in="aws")
    names = [ref.name for ref in map_secret(Secret(key="k"), platform).candidates]
    assert names == [
        storage_name("flyte", "development", "flytesnacks", "k"),
        storage_name("flyte", "development", "", "k"),
        storage_name("flyte", "", "", "k"),
    ]


def test_an_embedded_secret_has_each_stores_spelling() -> None:
    platform = FlyteSecrets(org="org", domain="dev-0", project="p", embedded_in="k8s")
    (kubernetes, *_) = map_secret(Secret(key="my_key"), platform).candidates
    # md5 of u__org__org__domain__dev-0__project__p__key__my_key, taken with md5sum.
    assert kubernetes == SecretRef(
        "k8s", "flyte/fbf096271738511fe956a9206066ce40", "u__org__org__domain__dev-0__project__p__key__my_key"
    )
    (azure, *_) = map_secret(Secret(key="my_key"), replace(platform, embedded_in="azure", azure_vault="kv")).candidates
    assert azure.name == "kv/1-org-dev0100-p-NV4V623FPE"
    (google, *_) = map_secret(Secret(key="my_key"), replace(platform, embedded_in="gcp", gcp_project="g")).candidates
    assert google.name == "g/u__org__org__domain__dev-0__project__p__key__my_key"


def test_each_manager_reads_its_own_reference() -> None:
    def ref(manager: str, **fields: str) -> SecretRef:
        return map_secret(Secret(**fields), FlyteSecrets(manager=manager)).candidates[0]

    assert ref("aws", group=ARN, key="db-AbC") == SecretRef("aws", f"{ARN}:db-AbC")
    assert ref("aws", group="prod/db", key="password") == SecretRef("aws", "prod/db", "password")
    assert ref("gcp", group="projects/p/secrets/s") == SecretRef("gcp", "projects/p/secrets/s", None, "latest")
    assert ref("azure", group="https://v/secrets/s/") == SecretRef("azure", "https://v/secrets/s")
    assert ref("vault", group="secret/data/a", key="k").options == {"engine": "api-kv2"}
    assert ref("vault", group="database/creds/a", key="k", group_version="db").options == {"engine": "api"}
    assert ref("k8s", key="k") == SecretRef("k8s", "8ce4b16b22b58894aa86c421e8759df3", "k")


@pytest.mark.parametrize(
    ("manager", "fields"),
    [
        ("embedded", {}),
        ("k8s", {"group": "g"}),
        ("aws", {"key": "k"}),
        ("gcp", {"key": "k"}),
        ("azure", {}),
        ("vault", {"key": "k"}),
        ("global", {"key": "k"}),
        ("nobody", {"key": "k"}),
        ("k8s", {"group": "..", "key": "k"}),
        ("embedded", {"key": "../x"}),
    ],
)
def test_what_cannot_be_mapped_says_so(manager: str, fields: dict[str, str]) -> None:
    with pytest.raises(BadSecretRef):
        map_secret(Secret(mount_requirement=Secret.FILE, **fields), FlyteSecrets(manager=manager))
