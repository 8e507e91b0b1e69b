from node.values import Phase, RejectionView
from screens.why_no_jobs import NORMAL, is_worth_showing, why_no_jobs_content
from tests.screens.fake_node import snapshot


def rejection(**changes) -> RejectionView:
    values = {"reason": "engine_busy", "count": 2, "fix": "Raise the slots.", "group": "slots", "title": "Line full."}
    return RejectionView(**(values | changes))


def test_each_reason_says_how_often_why_and_what_to_do():
    text = why_no_jobs_content((rejection(), rejection(reason="offline_relay", unit="seconds", count=125))).plain
    assert "2 x  slots: Line full." in text
    assert "2:05 min" in text
    assert text.count("→ Raise the slots.") == 2


def test_earlier_days_stand_behind_todays_count():
    assert "–  slots: Line full. (5 this week)" in why_no_jobs_content((rejection(count=0, week_count=5),)).plain
    assert "this week" not in why_no_jobs_content((rejection(week_count=2),)).plain


def test_nothing_missed_says_what_is_normal():
    assert why_no_jobs_content(()).plain == NORMAL
    assert is_worth_showing(snapshot(rejections=(), phase=Phase.IDLE))
    assert not is_worth_showing(snapshot(rejections=(), phase=Phase.OFF))
    assert is_worth_showing(snapshot(rejections=(rejection(),), phase=Phase.OFF))


def test_what_a_peer_may_have_said_can_t_paint():
    assert "\x1b" not in why_no_jobs_content((rejection(title="\x1b[31mred", fix="", group="\x1b]0;x"),)).plain
