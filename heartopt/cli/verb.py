"""How a command's help shows its arguments: `INPUT...`, as they are named."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperCommand

from heartopt.cli.options import COMMON

# Some versions of Typer put a name that has its dots into braces or brackets, and give it dots again.
_DECORATED = re.compile(r"(?:\{(\w+\.\.\.)\}|\[(\[\w+\.\.\.\])\])\.\.\.")


class Verb(TyperCommand):
    """A command whose arguments are called what their `metavar` says, without Typer's braces and types."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        pieces = super().collect_usage_pieces(ctx)
        return [_DECORATED.sub(lambda match: match[1] or match[2], piece) for piece in pieces]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, then options under the heading of their panel, each with its help."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            if param.param_type_name == "argument":
                sections["Arguments"].append((param.metavar or record[0], record[1]))
            else:
                panel = getattr(param, "rich_help_panel", None) or (COMMON if param.name == "help" else "Options")
                sections.setdefault(panel, []).append(record)
        own = {title: rows for title, rows in sections.items() if title != COMMON}
        for title, rows in (*own.items(), (COMMON, sections.get(COMMON, []))):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
