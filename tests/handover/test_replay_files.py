"""``sessions replay`` as psql, as a page that stands alone and as an asciicast, of what a gateway
recorded.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.handover.house import HOSTILE, SECRET_EMAIL, SECRET_SSN, Handed
from tests.handover.test_export import ACTIVE
from tests.support.browser import DESKTOP, PHONE, shoot
from tests.support.npm import npm_packages


def test_as_psql(handed: Handed) -> None:
    shown = handed.run(
        "sessions", "replay", handed.session, "--as-psql", "--instant", "--rows", 2
    ).stdout
    assert not ACTIVE.search(shown) and SECRET_SSN not in shown and SECRET_EMAIL not in shown
    assert "shop=> SELECT id, email, ssn FROM customers ORDER BY id LIMIT 3;\n" in shown
    assert "-- masked: public.customers.email, public.customers.ssn\n id |" in shown
    assert re.search(
        r"\n----\+-+\+-+\n  1 \| \w\*\*\*@\S+ +\| \*+\d{4}\n  2 \| .*\n-- 1 more rows .*\n\(3"
        r" rows\)\n",
        shown,
    )
    assert re.search(
        r"WHERE email = \$1;\n-- \$1 = .*\n-- sent as: SELECT name FROM \(SELECT .*\[redacted\].*"
        r" WHERE email = \$1\n",
        shown,
    ), "what policy made of a condition on a masked column"
    assert "\nUPDATE 1\n" in shown
    assert (
        "shop=> DROP TABLE orders;\n-- refused: SP1002 no-ddl: no schema changes\nERROR:  [SP1002]"
        in shown
    )
    assert "ERROR:  division by zero\n" in shown
    assert "\\e]0;owned\\x07" in shown and "\nshop-> CEF:0|forged|line' AS said" in shown


def test_asciicast(handed: Handed, tmp_path: Path) -> None:
    file = tmp_path / "session.cast"
    handed.run("sessions", "replay", handed.session, "--asciicast", file, "--max-pause", 2)
    assert file.stat().st_mode & 0o777 == 0o600
    head, *events = map(json.loads, file.read_text().splitlines())
    assert (head["version"], head["idle_time_limit"]) == (2, 2.0) and handed.session in head[
        "title"
    ]
    times = [at for at, _, _ in events]
    assert times == sorted(times) and {kind for _, kind, _ in events} == {"o"}
    text = "".join(data for _, _, data in events)
    assert not ACTIVE.search(text.replace("\r\n", "\n")), (
        "what was recorded does not act on whoever plays it"
    )
    plain = handed.run("sessions", "replay", handed.session, "--as-psql", "--instant").stdout
    assert text.replace("\r\n", "\n") == plain


def test_a_real_player_plays_it(handed: Handed, chromium: Any, tmp_path: Path) -> None:
    """asciinema's own player shows what was recorded, and nothing that it says acts."""
    place = npm_packages("asciinema-player", {"asciinema-player": "3.18.0"})
    bundle = place / "node_modules/asciinema-player/dist/bundle"
    cast = tmp_path / "session.cast"
    handed.run("sessions", "replay", handed.session, "--asciicast", cast, "--max-pause", 1)
    page = chromium.new_context(**DESKTOP).new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
    page.set_content("<title>before</title><div id=player></div>")
    page.add_style_tag(path=bundle / "asciinema-player.css")
    page.add_script_tag(path=bundle / "asciinema-player.min.js")
    page.evaluate(
        """text => {
            const place = document.getElementById("player")
            const player = AsciinemaPlayer.create({data: text}, place, {speed: 4})
            player.addEventListener("ended", () => { window.over = true })
            player.play()
        }""",
        cast.read_text(),
    )
    page.wait_for_function("window.over")
    shoot(page, "asciicast")
    last = "".join(page.locator("#player .ap-term-text").inner_text().split())
    assert "shop=>DROPTABLEorders;--refused:SP1002" in last, "lines, which the terminal breaks"
    assert "--thesessionended" in last and page.title() == "before" and problems == []


@pytest.fixture
def page_file(handed: Handed, tmp_path: Path) -> Path:
    file = tmp_path / "session.html"
    handed.run("sessions", "replay", handed.session, "--html", file)
    return file


def opened(chromium: Any, file: Path, problems: list[str], **options: Any) -> Any:
    """The file in a window; what it asks for and what goes wrong in it are problems."""
    page = chromium.new_context(**options).new_page()
    page.on(
        "console",
        lambda said: problems.append(said.text) if said.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
    page.on(
        "request", lambda asked: problems.append(asked.url) if asked.url != file.as_uri() else None
    )
    page.goto(file.as_uri())
    return page


def test_the_page_stands_alone(handed: Handed, page_file: Path, chromium: Any) -> None:
    problems: list[str] = []
    page = opened(chromium, page_file, problems, **DESKTOP)
    text = page.locator("main").inner_text()
    assert (
        not ACTIVE.search(text.replace("\t", " "))
        and "<script>alert('sql')</script><img src=x" in text
    )
    assert "forged" in text and page.locator("main img, ol script, ol b").count() == 0
    shoot(page, "replay-page")
    page.get_by_role("button", name="Refusals (3)").click()
    here = page.locator(".scene.here")
    assert "DROP TABLE orders" in here.inner_text()
    page.get_by_role("button", name="Refusals (3)").click()
    assert "SP1104" in here.inner_text()
    page.get_by_role("button", name="Masked columns (1)").click()
    assert "public.customers.ssn" in here.inner_text()
    page.get_by_role("button", name="Changed by policy").click()
    here.get_by_text("Sent to the database as").click()
    assert "FROM (SELECT" in here.inner_text()
    assert page.get_by_role("button", name="Approvals (0)").is_disabled()
    shoot(page, "replay-page-jump")
    phone = opened(chromium, page_file, problems, **PHONE)
    assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert problems == []


def test_the_policy_of_the_page_stops_what_is_not_its_own(
    page_file: Path, chromium: Any, tmp_path: Path
) -> None:
    source = page_file.read_text()
    assert SECRET_SSN not in source and SECRET_EMAIL not in source and HOSTILE not in source
    broken = tmp_path / "broken.html"
    broken.write_text(
        source.replace(
            "</main>",
            "<script>document.title = 'owned'</script><img src='http://127.0.0.1:9/x'></main>",
        )
    )
    problems: list[str] = []
    page = opened(chromium, broken, problems)
    assert page.title().startswith("Session ses_")
    assert any("script" in problem for problem in problems) and any(
        "127.0.0.1:9" in problem for problem in problems
    )


def test_an_approval_is_a_place_to_jump_to(handed: Handed, tmp_path: Path) -> None:
    (held,) = [
        line["session"]
        for line in handed.lines("--verdict", "allow")
        if line["sql"] == "DELETE FROM orders WHERE id = 0"
    ]
    file = tmp_path / "held.html"
    handed.run("sessions", "replay", held, "--html", file)
    assert 'class="scene remark decided"' in file.read_text()


def test_a_file_that_cannot_be_written_is_said(handed: Handed, tmp_path: Path) -> None:
    for option in ("--html", "--asciicast"):
        done = handed.run(
            "sessions", "replay", handed.session, option, tmp_path / "none" / "x", code=2
        )
        assert "cannot write" in done.stderr
    assert list(tmp_path.iterdir()) == []
