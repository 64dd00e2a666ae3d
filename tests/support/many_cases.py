"""Runs a short test over many cases as one test: collecting and reporting a test costs more than most of them."""

from collections.abc import Callable, Iterable
from functools import update_wrapper
from typing import Any


def in_one_test(cases: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """Call the decorated test with each case (the parts of a tuple as arguments), also after one has failed.

    All failures are raised, each with a note of its case. The test can have no fixtures.
    """
    given = list(cases)

    def decorate(test: Callable[..., None]) -> Callable[[], None]:
        def run() -> None:
            failures = []
            for case in given:
                try:
                    test(*case) if isinstance(case, tuple) else test(case)
                except Exception as error:
                    error.add_note(f"case: {case!r:.500}")
                    failures.append(error)
            if len(failures) == 1:
                raise failures[0]
            if failures:
                raise ExceptionGroup(f"{len(failures)} of {len(given)} cases", failures)

        update_wrapper(run, test)
        del run.__wrapped__  # its parameters are no fixtures
        return run

    assert given, "no cases"
    return decorate
