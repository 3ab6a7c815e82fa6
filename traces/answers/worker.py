"""The checker's worker process: `python -m stillroom.traces.answers.worker MEMORY_MB`. It reads pairs and writes
reasons.

A job is `{"gold", "answer", "policies", "prove", "limit_s"}`, a reply `{"reason", "detail"}`; the rest is in
`stillroom.sampling.workers.child`. Formulas are untrusted, and a comparison has no business writing files.
"""

from __future__ import annotations

import sys
from typing import Any

from stillroom.errors import StillroomError
from stillroom.sampling.workers.child import CannotStart, Reply, serve
from stillroom.traces.answers.records import Reason


def warm() -> None:
    """Loads sympy."""
    from stillroom.traces.answers import symbolic

    try:
        symbolic.warm()
    except StillroomError as error:
        raise CannotStart(str(error)) from None


def answer(job: dict[str, Any]) -> Reply:
    """Compares one pair."""
    from stillroom.traces.answers import grade, symbolic
    from stillroom.traces.answers.policies import Policies

    confirm = symbolic.confirm if job["prove"] else symbolic.probe
    try:
        result = grade.rule(job["gold"], job["answer"], Policies.of(job["policies"]), confirm)
        assert result.reason is not None  # nothing is pending where it can be confirmed
        return Reply({"reason": result.reason.value, "detail": result.detail})
    except MemoryError:
        return Reply(_over_limit("out of memory"), sound=False)
    except RecursionError:
        return Reply(_over_limit("nested too deeply"))
    except Exception as error:  # noqa: BLE001 - no text may cost the others their worker
        return Reply(_over_limit(type(error).__name__))


def _over_limit(detail: str) -> dict[str, Any]:
    return {"reason": Reason.OVER_LIMIT.value, "detail": detail}


if __name__ == "__main__":
    sys.exit(serve(warm, answer, memory_mb=int(sys.argv[1])))
