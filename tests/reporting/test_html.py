"""The page as HTML: hostile text is inert and cut wherever it enters, nothing is loaded, and the size is bounded."""

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.monitoring.rejects import RejectedRow
from scoreline.pipeline.reporting.build import make_page
from scoreline.pipeline.reporting.html import MAX_TEXT, render
from scoreline.pipeline.reporting.run_facts import FailedInput, RunFacts
from scoreline.schemas.run import DeviceRecord, ShardRecord

from reported_runs import entry, facts, manifest, profile, with_text

HOSTILE = {
    "tags": "</title></style><script>alert(1)</script><img src=x onerror=alert(2)>",
    "quotes": "\" onload='alert(1)' x=\"'",
    "template": "{{ 7 * 7 }}{% raw %}${7}",
    "right to left": "\u202egnp.exe\u2066\u200f\u2028",
    "controls": "\x00\x1b[31m\n\r\t\x7f\ufeff",
    "entities": "&lt;b&gt; &#x3c; &amp",
    "address": "javascript:alert(1) https://example.org/x.png url(//example.org)",
    "long": "x" * 10_000,
    "long and wide": "\u202e𝕏" * 5_000,
}
#: Characters that are not text: controls, marks of the writing direction, surrogates.
INVISIBLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


class Structure(HTMLParser):
    """The elements of a page with the names of their attributes, and its texts."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, ...]] = []
        self.texts: list[str] = []
        self.values: list[str] = []
        self._in_style = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, *(name for name, _ in attrs)))
        self.values += [value or "" for _, value in attrs]
        self._in_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self.elements.append((f"/{tag}",))
        self._in_style = False

    def handle_comment(self, data: str) -> None:
        self.elements.append(("comment", data))

    def handle_data(self, data: str) -> None:
        if not self._in_style:
            self.texts.append(data)


def everything() -> RunFacts:
    """Facts with text in every place: labels, shards, devices, ignored files, an output that a shell must quote."""
    known = facts()
    assert known.profile is not None
    columns = known.profile.columns
    labels = columns[2].model_copy(update={"role": "output"})
    shard = ShardRecord(
        shard="1/2", run_id="s", started="2026-11-27T07:00:00", ended="2026-11-27T07:00:01", device="cpu", rows_in=1,
        wall_s=1.0,
    )  # fmt: skip
    device = DeviceRecord(device="cuda:0", card="a card", busy_s=1.0, busy_share=0.5)
    more = manifest(shards=[shard], devices=[device], ignored=2, first_ignored=["a.txt"], orphaned_parts=1)
    return replace(
        known,
        output="my outputs",
        manifest=more,
        profile=known.profile.model_copy(update={"columns": [*columns[:2], labels, columns[3]]}),
        later=(entry("later", exit_code=65, error="no column 'x'"),),
    )


def pages(text: str) -> Iterator[tuple[str, RunFacts, RunFacts]]:
    """Facts with every section and every kind of end, with harmless text, and the same with this text before or behind
    every name, so that names stay different."""
    for name, known in {
        "all": everything(),
        "failed": replace(facts(), manifest=facts().manifest.model_copy(update={"status": "failed", "error": "why"})),
        "nothing": facts(manifest=None, profile=None, earlier=(), groups=(), failed=()),
    }.items():
        yield name, with_text(known, lambda old: f"{old}~"), with_text(known, lambda old: f"{old}{text}~")
        yield name, with_text(known, lambda old: f"~{old}"), with_text(known, lambda old: f"~{text}{old}")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text(name: str) -> None:
    """The page has the same elements and attributes as with harmless text; texts are visible and cut."""
    entered = False
    for where, harmless, hostile in pages(HOSTILE[name]):
        expected, html = Structure(render(make_page(harmless))), render(make_page(hostile))
        found = Structure(html)
        assert found.elements == expected.elements, where
        assert not INVISIBLE.search(html), where
        assert max(map(len, [*found.texts, *found.values])) <= MAX_TEXT
        assert len(html) < 100_000
        entered = entered or found.texts != expected.texts
    assert entered


@settings(max_examples=15)
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    """Whatever the characters."""
    _, harmless, hostile = next(pages(text))
    found = Structure(render(make_page(hostile)))
    assert found.elements == Structure(render(make_page(harmless))).elements


def test_nothing_is_loaded_or_run() -> None:
    """No script, no link, no address, no style but the sheet, which the policy names by its digest."""
    html = render(make_page(facts()))
    tags = {element[0] for element in Structure(html).elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "a", "form", "base"}
    attributes = {name for element in Structure(html).elements for name in element[1:]}
    assert not attributes & {"style", "src", "href", "srcset"}
    assert not [name for name in attributes if name.startswith("on")]
    style = html.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in html
    assert "url(" not in style
    assert "@import" not in style
    assert "://" not in html


def test_the_size_is_bounded() -> None:
    """A thousand features with drift, ten thousand inputs that could not be read, a thousand reasons: the worst are
    shown, the others counted."""
    known = facts()
    assert known.profile is not None
    age = known.profile.columns[0]
    long = "a name of a column or of a file that is rather long, as they are in practice, number"
    columns = [age.model_copy(update={"name": f"{long} {number}"}) for number in range(1000)]
    worst = known.profile.worst_partitions[0]
    inputs = [
        worst.model_copy(
            update={
                "partition": f"{long} {number}.parquet", "red": 1000,
                "psi": {f"{long} {number * 7 + one}": 3.0 + one for one in range(30)},
            }
        )
        for number in range(50)
    ]  # fmt: skip
    profile = known.profile.model_copy(
        update={"columns": [*columns, *known.profile.columns[3:]], "worst_partitions": inputs, "partitions": 10_000}
    )
    row = RejectedRow(source=long * 9, row=7, stage="check", column=long * 9, reason=long * 9, value=long * 9)
    group = replace(known.groups[0], column=long, reason=long, examples=(row, row))
    failed = tuple(FailedInput(source=f"{number}", error=f"{long} {number}") for number in range(10_000))
    html = render(make_page(replace(known, profile=profile, groups=(group,) * 1000, failed=failed)))
    assert 100_000 < len(html.encode()) < 300_000
    for text in ("940 features with less drift not shown", "9,960 other inputs not shown", "and 988 more reasons"):
        assert text in html
    assert "10,000 of 3 inputs could not be read to the end" in html


def test_the_legend_names_what_is_drawn() -> None:
    """The run before only if there was one."""
    both = Structure(render(make_page(facts(profile=profile()))))
    alone = Structure(render(make_page(facts(profile=profile(before=False)))))
    assert ["run before" in one.texts for one in (both, alone)] == [True, False]
