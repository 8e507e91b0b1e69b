"""A table that sheds its least important columns when narrow, keeps its cursor across updates, and knows vim keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.coordinate import Coordinate
from textual.widgets import DataTable

Row = TypeVar("Row")
_CELL_PADDING = 1


@dataclass(frozen=True)
class Column(Generic[Row]):
    """One column: how wide it must be, how soon it is shed (highest ``rank`` first), and what a row shows in it."""

    key: str
    label: str
    width: int
    cell: Callable[[Row], str | Text]
    rank: int = 0
    right: bool = False
    grow: bool = False
    """Takes the room that is left."""


def fit_columns(columns: Sequence[Column[Row]], width: int) -> list[tuple[Column[Row], int]]:
    """The columns that fit into ``width`` cells, in order, each with its width; rank 0 always stays."""
    kept = list(columns)

    def needed() -> int:
        return sum(column.width + 2 * _CELL_PADDING for column in kept)

    while needed() > width and any(column.rank for column in kept):
        kept.remove(max(kept, key=lambda column: column.rank))
    room = max(0, width - needed())
    growing = [column for column in kept if column.grow]
    return [(column, column.width + (room // len(growing) if column.grow else 0)) for column in kept]


def distinct(keys: Sequence[str]) -> list[str]:
    """The same keys, the later of two equal ones numbered: what peers send may repeat itself."""
    counted: dict[str, int] = {}
    found: list[str] = []
    for key in keys:
        counted[key] = counted.get(key, 0) + 1
        found.append(key if counted[key] == 1 else f"{key}\0{counted[key]}")
    return found


class NodeTable(DataTable[Text], Generic[Row]):
    """Rows of values behind a row cursor; every cell is plain text, whatever the strings hold."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", "Down", show=False, id="table.down"),
        Binding("k", "cursor_up", "Up", show=False, id="table.up"),
        Binding("g", "scroll_top", "Top", show=False, id="table.top"),
        Binding("G", "scroll_bottom", "Bottom", show=False, id="table.bottom"),
    ]

    def __init__(
        self,
        columns: Sequence[Column[Row]],
        row_key: Callable[[Row], str],
        *,
        id: str | None = None,  # noqa: A002 - Textual's own name
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes, cursor_type="row", zebra_stripes=False, cell_padding=_CELL_PADDING)
        self.specs = tuple(columns)
        self.row_key = row_key
        self.rows_shown: tuple[Row, ...] = ()
        self._fitted: list[tuple[Column[Row], int]] = []
        self._drawn: list[list[str]] = []

    def on_resize(self, _event: events.Resize) -> None:
        """Choose the columns again."""
        self._draw(force=fit_columns(self.specs, self._room()) != self._fitted)

    def show_rows(self, rows: Sequence[Row]) -> None:
        """Show these rows; the cursor stays on the row it was on."""
        self.rows_shown = tuple(rows)
        self._draw(force=False)

    @property
    def selected(self) -> Row | None:
        """The row under the cursor."""
        if 0 <= self.cursor_row < len(self.rows_shown):
            return self.rows_shown[self.cursor_row]
        return None

    def _room(self) -> int:
        return self.scrollable_content_region.width or self.size.width

    def _draw(self, *, force: bool) -> None:
        if not self._room():
            return
        keys = distinct([self.row_key(row) for row in self.rows_shown])
        same_rows = keys == [row.value for row in self.rows] and self._fitted and not force
        if same_rows:
            self._update_cells()
            return
        previous = self.selected_key
        self._fitted = fit_columns(self.specs, self._room())
        self.clear(columns=True)
        for column, width in self._fitted:
            label = Text(column.label, justify="right" if column.right else "left")
            self.add_column(label, width=width, key=column.key)
        for row, key in zip(self.rows_shown, keys, strict=True):
            self.add_row(*(self._cell(column, row) for column, _ in self._fitted), key=key)
        self._drawn = [self._texts(row) for row in self.rows_shown]
        if previous in keys:
            self.move_cursor(row=keys.index(previous), animate=False)

    @property
    def selected_key(self) -> str | None:
        """The key of the row under the cursor, as drawn last."""
        if not self.is_valid_row_index(self.cursor_row):
            return None
        return self.coordinate_to_cell_key(Coordinate(self.cursor_row, 0)).row_key.value

    def _update_cells(self) -> None:
        for index, row in enumerate(self.rows_shown):
            texts = self._texts(row)
            if texts == self._drawn[index]:
                continue
            for position, (column, _) in enumerate(self._fitted):
                self.update_cell_at(Coordinate(index, position), self._cell(column, row))
            self._drawn[index] = texts

    def _texts(self, row: Row) -> list[str]:
        return [cell.markup if isinstance(cell := column.cell(row), Text) else cell for column, _ in self._fitted]

    @staticmethod
    def _cell(column: Column[Row], row: Row) -> Text:
        value = column.cell(row)
        cell = value.copy() if isinstance(value, Text) else Text(value)
        cell.justify = "right" if column.right else "left"
        cell.no_wrap = True
        cell.overflow = "ellipsis"
        return cell
