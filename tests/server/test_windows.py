"""A login outside of the windows of the rules that are for somebody says when to come."""

from __future__ import annotations

import datetime
from collections.abc import Callable

import psycopg
import pytest

from sallyport.policy.model import DAYS
from tests.support.gateway import Gateway
from tests.support.postgres import Server


def test_a_login_outside_of_a_window_says_so(
    make_gateway: Callable[..., Gateway], postgres: Server
) -> None:
    closed = DAYS[(datetime.datetime.now(datetime.UTC).weekday() + 3) % 7]
    rule = f"allow: [read], window: {{days: [{closed}], from: '08:00', to: '18:00'}}"
    gateway = make_gateway(
        targets={"shop": postgres}, policy=f"version: 1\nrules: [{{name: office hours, {rule}}}]\n"
    )
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(gateway.dsn())
    said = str(caught.value)
    assert '[SP1603] you may not use target "shop" at this time' in said
    assert f'Rule "office hours" allows you in {closed} 08:00-18:00 UTC.' in said


def test_who_has_no_rule_is_not_told_of_windows(
    make_gateway: Callable[..., Gateway], postgres: Server
) -> None:
    rule = "allow: [read], subjects: {groups: [others]}, window: {from: '08:00', to: '08:01'}"
    gateway = make_gateway(
        targets={"shop": postgres}, policy=f"version: 1\nrules: [{{name: r, {rule}}}]\n"
    )
    with pytest.raises(psycopg.OperationalError, match='target "shop" does not exist'):
        psycopg.connect(gateway.dsn())
