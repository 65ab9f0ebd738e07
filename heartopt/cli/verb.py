"""How a command's help shows its arguments: `INPUT...`, as they are named."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperCommand

# Some versions of Typer put a name that has its dots into braces or brackets, and give it dots again.
_DECORATED = re.compile(r"(?:\{(\w+\.\.\.)\}|\[(\[\w+\.\.\.\])\])\.\.\.")


class Verb(TyperCommand):
    """A command whose arguments are called what their `metavar` says, without Typer's braces and types."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        pieces = super().collect_usage_pieces(ctx)
        return [_DECORATED.sub(lambda match: match[1] or match[2], piece) for piece in pieces]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, then options, each with its help."""
        rows: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                kind = param.param_type_name
                rows[kind].append((param.metavar or record[0], record[1]) if kind == "argument" else record)
        for title, kind in (("Arguments", "argument"), ("Options", "option")):
            if rows[kind]:
                with formatter.section(title):
                    formatter.write_dl(rows[kind])
