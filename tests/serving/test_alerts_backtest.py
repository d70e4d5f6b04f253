"""POD, FAR and lead time: by hand, by brute force, and through the runtime that serves."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.adaptive import replay as replay_bands
from models.joint import exceedance, within
from serving.alerts import schemas
from serving.alerts.backtest import Score, backtest_due, raised_alerts, replay, score_node
from serving.alerts.rules import Rule, default_rule
from serving.held_windows import HeldWindows
from tests.fixtures.alarmed import City


def score(up: str, crossed: str, within: int = 2) -> Score:
    """One node, told in pictures: ``#`` up or crossed; ``?`` not issued, or not observed."""
    steps = {"#": 1.0, ".": 0.0, "?": np.nan}
    issued = np.array([c != "?" for c in up])
    held = np.array([c == "#" for c in up])
    return score_node(held, issued, np.array([steps[c] for c in crossed]), within)


@pytest.mark.parametrize(
    ("up", "crossed", "hits", "misses", "judged", "false", "leads"),
    [
        # raised at 2, the event begins at 5: no more lead than the rule looks ahead
        ("..######......", ".....##.......", 1, 0, 6, 3, (2,)),
        ("....####......", ".....##.......", 1, 0, 4, 2, (1,)),
        # raised in the very step that the event begins at: too late, but at 5 more was to come
        (".....###......", ".....##.......", 0, 1, 3, 2, ()),
        # ended before the event began, which came within its time
        ("..##..........", ".....##.......", 0, 1, 2, 1, ()),
        # nothing came
        ("..###.........", "..............", 0, 0, 3, 3, ()),
        # a gap inside a run does not part it; an issue whose leads it hides is not judged
        ("..########....", "....#??##.....", 1, 0, 7, 2, (2,)),
        # two events under one alert: the second one's lead counts from the last step of the first
        ("..##########..", "....##.#......", 2, 0, 10, 5, (2, 2)),
        # an event that stood at the first issue is nobody's
        ("......#####...", "##........#...", 1, 0, 5, 3, (2,)),
        # alerts whose time is not over, and those that nothing was observed in
        ("............##", "..............", 0, 0, 0, 0, ()),
        ("..##..........", "..????????....", 0, 0, 0, 0, ()),
        # no issue for longer than the rule looks ahead: nobody was warned
        ("..##???.......", ".......#......", 0, 1, 2, 2, ()),
        ("..##?.........", ".....#........", 1, 0, 2, 1, (2,)),
    ],
)
def test_a_series_made_by_hand(
    up: str, crossed: str, hits: int, misses: int, judged: int, false: int, leads: tuple[int, ...]
) -> None:
    issues = len(up) - up.count("?")
    expected = Score(hits, misses, judged, false, up.count("#"), issues, leads)
    assert score(up, crossed) == expected


def test_ratios_are_those_of_the_counts() -> None:
    told = (Score(3, 1, 8, 2, 10, 100, (2, 4, 12)) + Score(0, 0, 2, 2, 2, 20)).told(0.5)
    assert (told["events"], told["pod"], told["far"], told["up_share"]) == (4, 0.75, 0.4, 0.1)
    assert told["lead_time_hours_median"] == 2.0
    nothing = Score().told(1.0)
    for key in ("pod", "far", "up_share", "lead_time_hours_median"):
        assert nothing[key] is None


def brute(up: list[bool], crossed: list[float], within: int) -> Score:
    """The same counts, step by step, sharing no line with what is tested."""
    hits = misses = judged = false = 0
    leads = []
    state, end_before = "unknown", -1
    for t, now in enumerate(crossed):
        if np.isnan(now):
            continue
        if now and state == "calm" and t > 0:
            if up[t - 1]:
                hits += 1
                raised = t - 1
                while raised > 0 and up[raised - 1]:
                    raised -= 1
                leads.append(min(within, t - max(raised, end_before)))
            else:
                misses += 1
        if now:
            end_before = t
        state = "crossed" if now else "calm"
    for t, alarmed in enumerate(up):
        ahead = crossed[t + 1 : t + 1 + within]
        known = [v for v in ahead if not np.isnan(v)]
        if alarmed and len(ahead) == within and known:
            judged += 1
            false += not any(known)
    return Score(hits, misses, judged, false, sum(up), len(up), tuple(leads))


@given(st.data(), st.integers(1, 4))
def test_an_independent_count_agrees(data: st.DataObject, within: int) -> None:
    size = data.draw(st.integers(2, 40))
    up = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    cells = st.sampled_from([0.0, 0.0, 1.0, np.nan])
    crossed = data.draw(st.lists(cells, min_size=size, max_size=size))
    crossed[0] = 0.0
    found = score_node(np.array(up), np.ones(size, bool), np.array(crossed), within)
    assert found == brute(up, crossed, within)


def test_the_replay_is_what_the_release_would_have_said(lived: City) -> None:
    """Against the bands and probabilities that other code makes of the same issues."""
    runtime = lived.catalogue.runtime("tiny")
    rule = default_rule(runtime)
    assert rule is not None
    release = runtime.release
    _, latest = lived.store.state("tiny")
    assert latest is not None
    read = HeldWindows(runtime, lived.store).builder
    made = replay(runtime, [rule], read, latest)
    assert made is not None
    issues = len(made.probability[rule.id])
    assert issues == 49
    assert made.first == np.datetime64(lived.tiny.times(lived.first, lived.first + 1)[0][:-1])
    builder = read(latest, issues - 1)
    origins = np.arange(len(builder.values) - issues, len(builder.values))
    window = builder.batch(origins, with_target=True)
    assert window.target is not None
    spec, limits = release.spec, release.graph.thresholds
    issued = replay_bands(
        runtime.predict(window), window.target, origins, spec.quantiles, spec.nonnegative
    )
    nodes = rule.watched(release.graph)
    for i in range(issues):
        part = exceedance(issued[i][:, nodes], spec.quantiles, limits[nodes], spec.nonnegative)
        expected = within(part, runtime.template[:, :, nodes])[rule.within - 1, :, 1]
        np.testing.assert_allclose(made.probability[rule.id][i], expected, atol=1e-5)
    # the first issue has learned nothing yet: it is the API's answer with the release's own bands
    first = lived.get(
        "/v1/forecasts/tiny",
        init_time=lived.tiny.times(lived.first, lived.first + 1)[0],
        bands="released",
        nodes="a,b,d",
    )
    told = [f["exceedance"]["threshold_2"]["within_lead"][5] for f in first["features"]]
    np.testing.assert_allclose(made.probability[rule.id][0], told, atol=1e-4)


def test_each_rule_shows_how_it_would_have_done(changeable: City) -> None:
    assert backtest_due(changeable.catalogue, changeable.engine.held) == 1
    assert backtest_due(changeable.catalogue, changeable.engine.held) == 0
    (rule,) = changeable.get("/v1/alerts/rules")["rules"]
    schemas.Rule.model_validate(rule)
    found = rule["backtest"]
    assert (found["from"], found["to"]) == (
        changeable.tiny.times(changeable.first, changeable.first + 1)[0],
        changeable.tiny.times(changeable.first + 48, changeable.first + 49)[0],
    )
    assert found["issues"] == 49
    assert found["events"] == found["hits"] + found["misses"] > 0
    assert found["pod"] == round(found["hits"] / found["events"], 4)
    assert found["far"] == round(found["false_alarms"] / found["issues_up"], 4)
    assert 0 < found["up_share"] < 1
    assert f"{found['events']} events are too few to say" in found["note"]
    assert "observed values stood in" in found["note"]


def test_a_backtest_is_made_again_when_a_quarter_more_has_come(city: City) -> None:
    held = city.engine.held

    def replayed(hours: int) -> int | None:
        if hours:
            city.feed(city.first + 1, city.first + 1 + hours)
        made = backtest_due(city.catalogue, held)
        (rule,) = city.get("/v1/alerts/rules")["rules"]
        return rule["backtest"]["issues"] if made else None

    assert [replayed(hours) for hours in (0, 1, 4, 8, 9, 10, 11)] == [None, 2, 5, 9, None, 11, None]


def test_bands_between_issue_hours_are_those_of_the_issue_before(
    lived: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release that was tested every six hours is replayed at every hour, as it is served."""
    runtime = lived.catalogue.runtime("tiny")
    monkeypatch.setitem(runtime.release.manifest["data"], "issue_every", 6 * 3600)
    used = []
    forecast = runtime.forecast

    def watched(builder, window, origin, moved):
        used.append((builder.times(np.array([origin + 1]))[0], moved.copy()))
        return forecast(builder, window, origin, moved)

    monkeypatch.setattr(runtime, "forecast", watched)
    rule, (_, latest) = default_rule(runtime), lived.store.state("tiny")
    assert rule is not None
    assert latest is not None
    made = replay(runtime, [rule], HeldWindows(runtime, lived.store).builder, latest)
    assert made is not None
    assert len(made.probability[rule.id]) == len(used) == 49
    changed = [
        after.astype("datetime64[h]").astype(int) % 6
        for (_, before), (after, moved) in itertools.pairwise(used)
        if not np.array_equal(before, moved)
    ]
    assert set(changed) == {0}
    assert len(changed) > 4


def test_no_rule_looks_good_by_being_up_all_the_time() -> None:
    """It warns of every event, and its false alarms are all that no event follows."""
    crossed = np.zeros(1000)
    for begin in range(50, 1000, 100):
        crossed[begin : begin + 3] = 1
    rule = Rule("r", "tiny", 2, 6)
    told = {}
    for name, probability in (("always", 1.0), ("never", 0.0)):
        up = raised_alerts(rule, np.full((1000, 1), probability))[:, 0]
        told[name] = score_node(up, np.ones(1000, bool), crossed, 6).told(1.0)
    good = np.array([crossed[t + 1 : t + 7].any() for t in range(1000)])
    told["good"] = score_node(good, np.ones(1000, bool), crossed, 6).told(1.0)
    assert [told[name]["pod"] for name in told] == [1.0, 0.0, 1.0]
    assert told["good"]["far"] == 0.0
    assert told["never"]["far"] is None
    assert told["always"]["far"] == pytest.approx(0.92, abs=0.005)  # 8 of 100 steps see an event
    assert [told[name]["up_share"] for name in told] == [1.0, 0.0, 0.08]
    assert told["always"]["lead_time_hours_median"] == 6.0
