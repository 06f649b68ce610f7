"""A table as plain text, in rich's colours, as CSV and as HTML."""

from __future__ import annotations

import csv
import dataclasses
import html
import io
from collections.abc import Sequence

Cells = Sequence[str | int]

_STYLE = """
:root { color-scheme: light dark; }
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; }
table { border-collapse: collapse; }
th, td { padding: .25em .7em; border-bottom: 1px solid #8886; text-align: left; white-space: nowrap; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
tfoot td { font-weight: 600; border-bottom: 0; }
thead th { position: sticky; top: 0; background: Canvas; }
"""


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of texts and counts.

    Attributes:
      title: one line.
      columns: their names.
      rows: the cells; an int is a count.
      total: the last row.
      notes: lines below.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Cells]
    total: Cells
    notes: Sequence[str] = ()

    def _shown(self) -> list[list[str]]:
        return [[compact(c) if isinstance(c, int) else c for c in row] for row in (*self.rows, self.total)]

    def _numeric(self) -> list[bool]:
        return [isinstance(cell, int) for cell in self.total]

    def plain(self) -> str:
        """Columns of text; counts are rounded to three digits."""
        lines = [list(self.columns), *self._shown()]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        numeric = self._numeric()

        def written(line: list[str]) -> str:
            cells = zip(line, widths, numeric, strict=True)
            return "  ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in cells).rstrip()

        rule = "-" * (sum(widths) + 2 * len(widths) - 2)
        head, *body, total = map(written, lines)
        return "\n".join([self.title, rule, head, rule, *body, rule, total, *self.notes])

    def show(self) -> None:
        """Prints it."""
        try:
            from rich.console import Console
            from rich.table import Table as Rich
        except ImportError:
            print(self)
            return
        table = Rich(
            title=self.title, caption="\n".join(self.notes), title_justify="left", caption_justify="left"
        )
        for name, numeric in zip(self.columns, self._numeric(), strict=True):
            table.add_column(name, justify="right" if numeric else "left", no_wrap=True)
        *rows, total = self._shown()
        for row in rows:
            table.add_row(*row)
        table.add_section()
        table.add_row(*total, style="bold")
        # Cut columns say less than lines that the terminal folds.
        needed = Console(width=10_000).measure(table).maximum
        Console(width=max(Console().width, needed)).print(table)

    def __str__(self) -> str:
        """Plain."""
        return self.plain()

    def csv(self) -> str:
        """Exact numbers, without title, total and notes."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return out.getvalue()

    def html(self) -> str:
        """A page that needs nothing else; exact numbers."""
        numeric = self._numeric()

        def line(cells: Cells, tag: str) -> str:
            texts = (f"{c:,}" if isinstance(c, int) else html.escape(c) for c in cells)
            return "".join(
                f'<{tag} class="n">{t}</{tag}>' if n else f"<{tag}>{t}</{tag}>"
                for t, n in zip(texts, numeric, strict=True)
            )

        body = "\n".join(f"<tr>{line(row, 'td')}</tr>" for row in self.rows)
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width"><title>jaxconv summary</title>'
            f"<style>{_STYLE}</style></head><body><h1>{html.escape(self.title)}</h1>\n"
            f"<table><thead><tr>{line(self.columns, 'th')}</tr></thead>\n<tbody>{body}</tbody>\n"
            f"<tfoot><tr>{line(self.total, 'td')}</tr></tfoot></table>{notes}</body></html>\n"
        )


def compact(n: int) -> str:
    """Three digits and a unit.

    Example:
      >>> [compact(n) for n in (0, 999, 1_234, 12_345, 999_900, 4_100_000_000)]
      ['0', '999', '1.23k', '12.3k', '1.00M', '4.10G']
    """
    if n < 1000:
        return str(n)
    value = float(n)
    for unit in "kMGTPE":
        value /= 1000
        digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
        if value < 999.5:
            return f"{value:.{digits}f}{unit}"
    return f"{n:.2e}"
