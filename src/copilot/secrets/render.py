"""Files rendered from several secrets: Jinja templates in a sandbox, where whatever is missing is an error.

A template has ``secret("aws://prod/db#password")`` (text), ``secret_json("aws://prod/db")`` (an object) and the names it was
given. Nothing it prints is escaped; use ``|tojson`` or ``|urlencode`` where the file's format needs it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from copilot.core.errors import BadSecretTemplate, CopilotError, MissingExtra
from copilot.core.secret_refs import parse_ref
from copilot.secrets.values import json_value, text_of

if TYPE_CHECKING:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    from copilot.core.ports import CancelToken
    from copilot.core.secret_ports import SecretRef
    from copilot.secrets.files import SecretFile
    from copilot.secrets.resolver import Resolver


@dataclass(frozen=True, slots=True)
class Template:
    """One file to be rendered.

    Attributes:
        name: what messages call it (its own path, usually).
        text: the template.
        file: where the result goes.
        names: references the template knows by name, as text or, for a JSON object, as an object.
    """

    name: str
    text: str
    file: SecretFile
    names: Mapping[str, SecretRef] = field(default_factory=dict, hash=False)

    def refs(self) -> list[SecretRef]:
        """Every reference the template is seen to use: given by name, or written out as a literal.

        Raises:
            BadSecretTemplate: it cannot be parsed.
            BadSecretRef: a literal is no reference.
            MissingExtra: Jinja is not installed.
        """
        return [*self.names.values(), *(parse_ref(text) for text in self._literals(self._environment()))]

    def render(self, resolver: Resolver, cancel: CancelToken) -> bytes:
        """The file's content; all references are read together first.

        Raises:
            BadSecretTemplate: it cannot be parsed, or asks for what is not there. Quotes the template's line, never a value.
        """
        environment = self._environment()
        values = resolver.resolve(self.refs(), cancel)

        def text(reference: str) -> str:
            ref = parse_ref(reference)
            return text_of(resolver.resolve([ref], cancel)[ref], ref, place=f"the template {self.name}")

        def parsed(reference: str) -> Any:  # noqa: ANN401 - JSON
            return json.loads(text(reference))

        environment.globals.update(secret=text, secret_json=parsed)
        known = {
            name: json_value(text_of(values[ref], ref, place=f"the template {self.name}")) for name, ref in self.names.items()
        }
        try:
            return environment.from_string(self.text).render(known).encode()
        except CopilotError:
            raise
        except Exception as error:  # noqa: BLE001 - anything a template does ends here
            # An exception of a template may carry a value (int(secret), a key that is one): it is not chained.
            raise self._failed(error) from None

    def _literals(self, environment: ImmutableSandboxedEnvironment) -> list[str]:
        from jinja2 import TemplateSyntaxError, nodes  # noqa: PLC0415 - imported when used

        try:
            tree = environment.parse(self.text)
        except TemplateSyntaxError as cause:
            raise BadSecretTemplate(
                f"the template {self.name} cannot be read at line {cause.lineno}",
                op="render",
                subject=self.name,
                hint=f"That line is: {self._line(cause.lineno)}",
            ) from cause
        found = []
        for call in tree.find_all(nodes.Call):
            if isinstance(call.node, nodes.Name) and call.node.name in {"secret", "secret_json"} and len(call.args) == 1:
                argument = call.args[0]
                if isinstance(argument, nodes.Const) and isinstance(argument.value, str):
                    found.append(argument.value)
        return found

    def _environment(self) -> ImmutableSandboxedEnvironment:
        try:
            from jinja2 import StrictUndefined  # noqa: PLC0415 - imported when used
            from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415 - as above
        except ModuleNotFoundError as cause:
            raise MissingExtra(
                "templates need the package jinja2", op="render", subject=self.name, hint="Install copilot[templates]."
            ) from cause
        environment = ImmutableSandboxedEnvironment(
            undefined=StrictUndefined,
            autoescape=False,
            keep_trailing_newline=True,
        )
        environment.filters["b64encode"] = lambda text: base64.b64encode(text.encode()).decode()
        environment.filters["b64decode"] = lambda text: base64.b64decode(text).decode()
        return environment

    def _failed(self, error: Exception) -> BadSecretTemplate:
        line = int(getattr(error, "lineno", None) or 0)  # an unknown filter is found when the template is compiled
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == "<template>":
                line = trace.tb_lineno
            trace = trace.tb_next
        return BadSecretTemplate(
            f"the template {self.name} asks for what is not there, or must not be had, at line {line}",
            op="render",
            subject=self.name,
            hint=f"That line is: {self._line(line)}",
        )

    def _line(self, number: int) -> str:
        lines = self.text.splitlines()
        return lines[number - 1].strip()[:200] if 0 < number <= len(lines) else ""
