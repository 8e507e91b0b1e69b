"""The table, in a host app of its own."""

from hypothesis import given, settings
from hypothesis import strategies as st
from textual.app import App

from screens.widgets.table import Column, NodeTable, distinct, fit_columns

COLUMNS = (
    Column("name", "name", 10, lambda row: row[0], grow=True),
    Column("much", "much", 8, lambda row: str(row[1]), rank=1, right=True),
    Column("more", "more", 20, lambda row: "more", rank=2),
)


class Host(App):
    def __init__(self):
        super().__init__()
        self.table = NodeTable(COLUMNS, lambda row: row[0])

    def compose(self):
        yield self.table


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 300))
def test_the_least_important_columns_go_first_and_the_rest_fills_the_width(width):
    fitted = fit_columns(COLUMNS, width)
    keys = [column.key for column, _ in fitted]
    assert keys in (["name"], ["name", "much"], ["name", "much", "more"])
    if width >= 12:
        assert sum(cells + 2 for _, cells in fitted) == width


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(max_size=3), max_size=20))
def test_repeated_keys_become_distinct(keys):
    assert len(set(distinct(keys))) == len(keys) or any("\0" in key for key in keys)


async def test_the_cursor_stays_on_its_row_when_others_come_and_go():
    host = Host()
    async with host.run_test(size=(60, 12)) as pilot:
        host.table.show_rows([("a", 1), ("b", 2), ("c", 3)])
        host.table.focus()
        await pilot.press("j", "j")
        assert host.table.selected == ("c", 3)
        host.table.show_rows([("new", 0), ("a", 1), ("b", 2), ("c", 30)])
        await pilot.pause()
        assert host.table.selected == ("c", 30)
        host.table.show_rows([("a", 1), ("b", 20)])
        await pilot.pause()
        assert host.table.selected in {("a", 1), ("b", 20)}
        host.table.show_rows([])
        assert host.table.selected is None


async def test_a_changed_cell_is_drawn_in_place():
    host = Host()
    async with host.run_test(size=(60, 12)) as pilot:
        host.table.show_rows([("a", 1)])
        host.table.show_rows([("a", 2)])
        await pilot.pause()
        assert host.table.get_cell("a", "much").plain == "2"


async def test_a_narrow_table_shows_fewer_columns_and_a_wide_one_all():
    host = Host()
    async with host.run_test(size=(60, 12)) as pilot:
        host.table.show_rows([("a", 1)])
        assert len(host.table.ordered_columns) == 3
        await pilot.resize_terminal(26, 12)
        await pilot.pause()
        assert [column.key.value for column in host.table.ordered_columns] == ["name", "much"]
        assert host.table.selected == ("a", 1)
