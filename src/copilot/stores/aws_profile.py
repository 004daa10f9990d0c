"""AWS's shared files, ``~/.aws/credentials`` and ``~/.aws/config``, as their reference describes them.

Source of the format: https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html. Static keys and ``credential_process``
are read here; single sign-on and assumed roles go through boto3 where the ``aws`` extra is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from copilot.core.errors import BadConfig, BadCredentials, MissingExtra

if TYPE_CHECKING:
    from obstore.store import S3Credential

Provider = Callable[[], "S3Credential"]
PROCESS_LIMIT_S = 60
_BOTO3_KEYS = frozenset({"sso_session", "sso_start_url", "role_arn", "login_session"})


@dataclass(frozen=True, slots=True)
class Profile:
    """One section of the shared files; all None where there is none."""

    region: str | None = None
    endpoint: str | None = None
    provider: Provider | None = None


def load_profile(wanted: str | None, environ: Mapping[str, str]) -> Profile:
    """The profile asked for, else ``AWS_PROFILE``, else ``default``.

    Raises:
        BadConfig: a profile was asked for and is in neither file, or a file is no such file.
        MissingExtra: it needs boto3, which is not installed.
    """
    name = wanted or environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE")
    home = environ.get("HOME", "")
    paths = [
        Path(environ.get(variable) or f"{home}/.aws/{default}").expanduser()
        for variable, default in (("AWS_SHARED_CREDENTIALS_FILE", "credentials"), ("AWS_CONFIG_FILE", "config"))
    ]
    present = [path for path in paths if path.is_file()]
    if not present:
        if name:
            raise _no_such_profile(name)
        return Profile()
    section = _section(paths, name or "default")
    if section is None:
        if name:
            raise _no_such_profile(name)
        return Profile()
    return Profile(section.get("region"), section.get("endpoint_url"), _provider(section, name or "default", environ))


def _section(paths: list[Path], name: str) -> dict[str, str] | None:
    import configparser  # noqa: PLC0415 - only where there are files

    found: dict[str, str] | None = None
    # The credentials file comes last: what it says wins.
    for path, title in ((paths[1], name if name == "default" else f"profile {name}"), (paths[0], name)):
        parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=("#", ";"))
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            raise BadConfig(
                f"{path} is no AWS configuration file", op="open", subject=str(path), hint="Mend or move it."
            ) from error
        except OSError as error:
            raise BadConfig(f"{path} cannot be read: {error.strerror}", op="open", subject=str(path)) from error
        if parser.has_section(title):
            found = {**(found or {}), **dict(parser.items(title))}
    return found


def _provider(section: Mapping[str, str], name: str, environ: Mapping[str, str]) -> Provider | None:
    if section.keys() & _BOTO3_KEYS:
        return _through_boto3(name, section.get("region") or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION"))
    if section.get("aws_access_key_id") and section.get("aws_secret_access_key"):
        static: S3Credential = {
            "access_key_id": section["aws_access_key_id"],
            "secret_access_key": section["aws_secret_access_key"],
            "token": section.get("aws_session_token") or None,
            "expires_at": None,
        }
        return lambda: static
    if section.get("credential_process"):
        command = section["credential_process"]
        return lambda: _run(command, name, environ)
    return None


def _run(command: str, name: str, environ: Mapping[str, str]) -> S3Credential:
    """Source of the format: https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html."""
    import json  # noqa: PLC0415 - only where a program is asked
    import shlex  # noqa: PLC0415
    import subprocess  # noqa: PLC0415
    from datetime import datetime  # noqa: PLC0415

    try:
        done = subprocess.run(
            shlex.split(command),
            capture_output=True,
            check=True,
            timeout=PROCESS_LIMIT_S,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
        )
        answer = json.loads(done.stdout)
        expires = answer.get("Expiration")
        return {
            "access_key_id": answer["AccessKeyId"],
            "secret_access_key": answer["SecretAccessKey"],
            "token": answer.get("SessionToken"),
            "expires_at": datetime.fromisoformat(expires) if expires else None,
        }
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, AttributeError) as error:
        raise BadCredentials(
            f"The credential_process of the AWS profile {name!r} gave no credentials ({type(error).__name__})",
            op="open",
            subject=name,
            hint="Run the command of the profile by hand.",
        ) from error


def _through_boto3(name: str, region: str | None) -> Provider:
    try:
        import boto3  # noqa: PLC0415 - 300 ms, only for the profiles that need it
        from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra(
            f"The AWS profile {name!r} needs boto3", op="open", subject=name, hint="pip install 'copilot[aws]'"
        ) from error
    made: list[Provider] = []

    def ask() -> S3Credential:
        try:
            if not made:
                session = boto3.Session(profile_name=name, region_name=region or "us-east-1")
                made.append(Boto3CredentialProvider(session))
            return made[0]()
        except Exception as error:
            raise BadCredentials(
                f"The AWS profile {name!r} gave no credentials ({type(error).__name__})",
                op="open",
                subject=name,
                hint="Try it with the aws command, and log in again where it says so.",
            ) from error

    return ask


def _no_such_profile(name: str) -> BadConfig:
    return BadConfig(
        f"There is no AWS profile {name!r}", op="open", subject=name, hint="Check ~/.aws/config, or unset AWS_PROFILE."
    )
