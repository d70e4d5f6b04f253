"""POD, FAR and lead time: by hand, by brute force, and through the runtime that serves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.adaptive import replay as replay_bands
from models.joint import exceedance, within
from serving.alerts import schemas
from serving.alerts.backtest import Score, backtest_missing, raised_alerts, replay, score_node
from serving.alerts.rules import Rule, default_rule
from serving.held_windows import HeldWindows
from tests.fixtures.alarmed import City


def score(up: str, crossed: str, stride: int = 1, within: int = 2) -> Score:
    """One node, told in pictures: ``#`` up or crossed, ``?`` unknown."""
    steps = {"#": 1.0, ".": 0.0, "?": np.nan}
    return score_node(
        np.array([c == "#" for c in up]), np.array([steps[c] for c in crossed]), stride, within
    )


@pytest.mark.parametrize(
    ("up", "crossed", "expected"),
    [
        # raised at 2, the event begins at 5: three steps of lead
        ("..######......", ".....##.......", Score(1, 0, 0, (3,))),
        # raised in the very step that the event begins at: too late, but no false alarm
        (".....###......", ".....##.......", Score(0, 1, 0)),
        # ended before the event began, which came within its time
        ("..##..........", ".....##.......", Score(0, 1, 0)),
        # nothing came
        ("..###.........", "..............", Score(0, 0, 1)),
        # a gap inside a run does not part it; one alert, one event
        ("..########....", "....#??##.....", Score(1, 0, 0, (2,))),
        # two events under one alert: the second one's lead counts from the last step of the first
        ("..##########..", "....##...##...", Score(2, 0, 0, (2, 4))),
        # an event that stood at the first issue is nobody's
        ("......#####...", "##........#...", Score(1, 0, 0, (4,))),
        # an alert whose time is not over, and one that nothing was observed in
        ("............##", "..............", Score()),
        ("..##..........", "..????????....", Score()),
        ("...###........", "?????????.....", Score()),
    ],
)
def test_a_series_made_by_hand(up: str, crossed: str, expected: Score) -> None:
    assert score(up, crossed) == expected


def test_issues_every_third_step() -> None:
    # issues at 0, 3, 6, 9, 12; up after those of 3 and 6; the event begins at 8
    assert score(".##..", "........##....", stride=3) == Score(1, 0, 0, (5,))
    assert score("..#..", "....#.........", stride=3) == Score(0, 1, 1)


def test_wilks_ratios() -> None:
    told = (Score(3, 1, 2, (2, 4, 12)) + Score(0, 0, 1)).told(0.5)
    assert (told["events"], told["pod"], told["far"]) == (4, 0.75, 0.5)
    assert told["lead_time_hours_median"] == 2.0
    nothing = Score().told(1.0)
    assert nothing["pod"] is nothing["far"] is nothing["lead_time_hours_median"] is None


def brute(up: list[bool], crossed: list[float], within: int) -> tuple[int, int, int, list[int]]:
    """The same counts, step by step, sharing no line with what is tested."""
    hits = misses = false = 0
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
                leads.append(t - max(raised, end_before))
            else:
                misses += 1
        if now:
            end_before = t
        state = "crossed" if now else "calm"
    t = 0
    while t < len(up):
        if up[t]:
            begin = t
            while t < len(up) and up[t]:
                t += 1
            time = crossed[begin : t + within]
            known = [v for v in time if not np.isnan(v)]
            false += len(time) == t + within - begin and bool(known) and not any(known)
        t += 1
    return hits, misses, false, leads


@given(st.data(), st.integers(1, 4))
def test_an_independent_count_agrees(data: st.DataObject, within: int) -> None:
    size = data.draw(st.integers(2, 40))
    up = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    cells = st.sampled_from([0.0, 0.0, 1.0, np.nan])
    crossed = data.draw(st.lists(cells, min_size=size, max_size=size))
    crossed[0] = 0.0
    found = score_node(np.array(up), np.array(crossed), 1, within)
    hits, misses, false, leads = brute(up, crossed, within)
    assert found == Score(hits, misses, false, tuple(leads))


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
    assert backtest_missing(changeable.catalogue, changeable.engine.held) == 1
    assert backtest_missing(changeable.catalogue, changeable.engine.held) == 0
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
    assert f"{found['events']} events are too few to say" in found["note"]
    assert "observed values stood in" in found["note"]


def test_a_rule_that_is_up_all_the_time_hits_everything_and_one_that_never_is_nothing() -> None:
    rng = np.random.default_rng(0)
    crossed = (rng.random(200) < 0.2).astype(float)
    crossed[0] = 0
    rule = Rule("r", "tiny", 2, 6)
    always = raised_alerts(rule, np.ones((200, 1)))
    never = raised_alerts(rule, np.zeros((200, 1)))
    every = score_node(always[:, 0], crossed, 1, 6)
    none = score_node(never[:, 0], crossed, 1, 6)
    assert every.misses == none.hits == 0
    assert every.hits == none.misses > 10
