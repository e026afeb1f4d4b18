"""What the coverage benchmark calls accounted for, whole, and a failure."""

from benchmarks.counter import Count
from benchmarks.coverage import Found, Row, failures, page, record


def row(in_sites, listed, *, macs=100, outer=10, off_by=0, seconds=1.0):
    counted = Count(macs=macs, outer=outer, integer=0, kernels={"mm": macs})
    found = Found(in_sites=in_sites, listed=listed, off_by=off_by, sqnr_db=float("inf"))
    return Row(name="net", family="text", counted=counted, found=found, seconds=seconds)


def broken(*, refused):
    counted = Count(macs=1, outer=0, integer=0, kernels={"mm": 1})
    return Row(name="net", family="text", counted=counted, found=None, seconds=1.0, error="no", refused=refused)


def test_sites_and_what_is_listed_are_all():
    whole = row(100, {"mm: nothing to reduce": 10})
    assert (whole.accounted, whole.whole) == (True, True)
    listed = row(60, {"einsum: not split": 40, "mm: nothing to reduce": 10})
    assert (listed.accounted, listed.whole) == (True, False)
    lost = row(60, {})
    assert (lost.accounted, lost.whole) == (False, False)


def test_a_product_counted_twice_is_not_accounted_for():
    assert not row(110, {"mm: not split": 10}).accounted


def test_failures():
    good = row(100, {"mm: nothing to reduce": 10})
    assert failures([good]) == []
    assert failures([row(60, {})] + [good] * 99) == ["net: 60 in sites + 0 listed is not the 110 that were counted"]
    assert failures([row(110, {}, off_by=2)] + [good] * 99) == ["net: off by 2"]
    assert failures([row(110, {}, seconds=21)] + [good] * 99) == ["net: 21 s"]
    assert failures([broken(refused=False)] + [good] * 99) == ["net: traceback: no"]
    assert failures([broken(refused=True)] + [good] * 99) == ["net: refused: no"]
    assert failures([row(60, {"einsum: not split": 50})] * 4 + [good] * 96) == [
        "96.0% of the networks are wholly in sites, at least 97% are expected"
    ]


def test_page_and_record():
    text = page([row(100, {"mm: nothing to reduce": 10}), broken(refused=False)])
    assert "- accounted for: 1 of 2\n" in text
    assert "| net | 100 | 100 | 10 | 10 | yes | yes | 0 | inf | 1.0 |  |" in text
    assert record(row(110, {}))["found"]["sqnr_db"] is None
