"""The report: complete, the same as JSON, and harmless whatever the headers hold."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harvest.audit.report import Report, report_html, report_json, trend_of
from harvest.audit.rules import State
from harvest.errors import ExitCode
from tests.support.browser import Elements, dom_of, listener, needs_chromium, screenshot
from tests.support.reports import outcome, point, report

OWN_TAGS = {
    *("html", "head", "meta", "title", "link", "style", "body", "main", "section", "header"),
    *("footer", "h1", "h2", "h3", "p", "div", "span", "details", "summary", "pre", "code"),
    *("table", "thead", "tbody", "tr", "th", "td", "svg", "text", "rect", "line", "polyline"),
    "circle",
}


def hostile(url: str) -> tuple[str, ...]:
    """Return tag values that people have put into headers, or might."""
    return (
        "<script>document.title='owned';document.body.dataset.owned=1</script>",
        f"<img src='{url}/img' onerror=\"document.title='owned'\">",
        f"\"><svg onload=\"document.title='owned';fetch('{url}/svg')\">",
        f"</style></title><script>fetch('{url}/script')</script>",
        f"' onmouseover='document.title=1' style='background:url({url}/css)",
        f"<link rel=stylesheet href={url}/link><iframe src='{url}/frame'></iframe>",
        f"<meta http-equiv=refresh content='0;url={url}/meta'><base href='{url}/'>",
        "javascript:document.title='owned'",
        "{{ 7 * 7 }}{% include 'report.css' %}",
        f'=HYPERLINK("{url}/formula","x")',
        "\u202egnp.exe \u2066\x1b[31m\x00\x07",
        "]]><!--",
        "x" * 5000,
    )


def hostile_page(url: str) -> Report:
    values = hostile(url)
    first = tuple((value, None) for value in values)
    rules = (outcome(columns=values[:2], first=first), *report("|".join(values)).rules)
    return report("|".join(values), rules=rules)


def test_nothing_that_is_not_ours_becomes_an_element() -> None:
    page = report_html(hostile_page("http://127.0.0.1:9"))
    found = Elements(page)
    assert found.tags <= OWN_TAGS
    assert not any(name.startswith("on") for name in found.attributes)
    assert "style" not in found.attributes
    links = {value for name, value in found.values if name in ("href", "src", "action")}
    assert links == {"data:,"}  # the icon, which is empty


def test_what_would_turn_or_hide_text_is_visible() -> None:
    text = "".join(Elements(report_html(hostile_page("http://x"))).text)
    assert r"\u202egnp.exe \u2066\x1b[31m\x00\x07" in text
    assert "\u202e" not in text
    assert "\x1b" not in text


def test_the_page_forbids_scripts_and_requests() -> None:
    page = report_html(report())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "script-src" not in policy[1]
    assert "unsafe-inline" not in policy[1]
    assert "http" not in re.sub(r'xmlns="http://www.w3.org/2000/svg"|http-equiv', "", page)


@needs_chromium
def test_hostile_values_do_nothing_in_a_browser(tmp_path: Path) -> None:
    with listener() as (url, asked):
        page = tmp_path / "report.html"
        page.write_text(report_html(hostile_page(url)), encoding="utf-8")
        found = Elements(dom_of(page, tmp_path / "profile"))
        assert "Cohort audit 20260102T060000Z" in "".join(found.text)
        assert found.tags <= OWN_TAGS
        assert "data-owned" not in found.attributes
        assert asked == []
        # the same values, put into a page as they are, would have done all that
        careless = tmp_path / "careless.html"
        careless.write_text(f"<body>{hostile(url)[0]}{hostile(url)[1]}", encoding="utf-8")
        assert "data-owned" in Elements(dom_of(careless, tmp_path / "profile")).attributes
        assert asked == ["/img"]


@needs_chromium
@pytest.mark.parametrize("width", [1200, 360])
def test_the_page_fits_its_window(tmp_path: Path, width: int) -> None:
    """Wide tables scroll in their own boxes: a page with a probe of its width tells."""
    probe = "<script>parent.postMessage(document.documentElement.scrollWidth, '*')</script>"
    html = report_html(hostile_page("http://x")).replace("</main>", f"</main>{probe}")
    page = tmp_path / "report.html"
    page.write_text(re.sub(r"<meta http-equiv[^>]*>", "", html), encoding="utf-8")
    # headless windows are not narrower than 500 pixels: the page is put into a frame
    around = tmp_path / "around.html"
    around.write_text(
        f"<iframe id=f src=report.html width={width} height=900></iframe><script>"
        "addEventListener('message',e=>document.body.dataset.told=e.data)</script>",
        encoding="utf-8",
    )
    dom = dom_of(around, tmp_path / "profile")
    told = re.search(r'data-told="(\d+)"', dom)
    assert told is not None
    assert int(told[1]) <= width
    assert screenshot(page, tmp_path / "profile", width, 800).startswith(b"\x89PNG")


def test_the_json_says_the_same() -> None:
    made = report("value")
    content = json.loads(json.dumps(report_json(made)))
    assert content["report_version"] == 1
    assert content["diff"]["instances"]["moved"] == 9
    assert content["rules"][0]["first"] == [["value", None], [None, "value"]]
    assert content["exit_code"] == 2
    assert trend_of(content) == made.trend
    later = {**content, "trend": [{**each, "bytes_read": 7} for each in content["trend"]]}
    assert trend_of(later) == made.trend


def test_everything_is_in_the_page() -> None:
    text = " ".join(" ".join(Elements(report_html(report("value"))).text).split())
    for expected in (
        "2026-01-02 06:00:00 UTC",
        "2 rules of severity error broken",
        "1,002 instances",
        "972 rows carried over",
        "30 objects read 30 requests, 1.0 MB",
        "2 snapshots",
        "series 1 2 3 4 instances 5 6 7 8 9 10",
        "11 gained, 12 lost, 13 replaced",
        "could not be checked",
        "✓ fine",
    ):
        assert expected in text, expected


def test_verdicts() -> None:
    def verdict(**values: object) -> str:
        page = report_html(report(**values))  # type: ignore[arg-type]
        found = re.search(r'<div class="verdict (\w+)">([^<]*)<', page)
        assert found is not None
        return f"{found[1]}: {found[2]}"

    fine = outcome(state=State.KEPT)
    assert verdict(rules=(fine,), exit_code=ExitCode.COMPLETE) == "good: All rules hold"
    warned = (fine, outcome(severity="warning"), outcome(severity="info"))
    assert verdict(rules=warned, exit_code=ExitCode.COMPLETE) == (
        "warning: No error; 1 rule of severity warning and 1 rule of severity info broken"
    )
    assert verdict(rules=(fine,)).startswith("error: More objects could not be read than")


def test_a_first_report_has_one_point_and_no_diff() -> None:
    page = report_html(report(diff=None, previous=None, trend=(point(2),)))
    assert "This is the first snapshot" in page
    assert "1 snapshot<" in page
