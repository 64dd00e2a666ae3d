"""A chart of a day tells its scale, what the value was when, and when people were told of an incident."""

from zapline.http.console.framework.sparkline import WIDTH, draw_chart

DAY, STEP = 86_400.0, 600.0


def test_a_chart_tells_its_scale_and_what_the_value_was_when() -> None:
    points = [(at, 2.0 if 7200 <= at < 9000 else 0.0) for at in map(float, range(0, 18_000, 600))]
    del points[5]  # a step without a sample
    chart = draw_chart(points, 0.0, DAY, STEP, limit=1.0)
    told = [(band.start, band.end, band.value) for band in chart.bands]
    assert told == [
        (0.0, 3000.0, 0.0),
        (3600.0, 7200.0, 0.0),
        (7200.0, 9000.0, 2.0),
        (9000.0, 18_000.0, 0.0),
    ]
    assert chart.top == chart.highest == 2.0
    assert draw_chart([], 0.0, DAY, STEP, limit=1.0).top == 1.25
    assert draw_chart([], 0.0, DAY, STEP).bands == ()
    assert all(0 <= band.x <= band.x + band.width <= WIDTH for band in chart.bands)


def test_incidents_are_marked_as_far_as_they_lie_within_the_day() -> None:
    incidents = [(-9000.0, -100.0), (-100.0, 600.0), (40_000.0, 40_001.0), (80_000.0, None)]
    marks = draw_chart([], 0.0, DAY, STEP, incidents=incidents).incidents
    assert [(mark.start, mark.end) for mark in marks] == [(0.0, 600.0), (40_000.0, 40_001.0), (80_000.0, DAY)]
    assert min(mark.width for mark in marks) >= 1.5, "a short one can be pointed at"
