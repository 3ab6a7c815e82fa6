"""`stillroom run` and `stillroom lint`, for every kind of recipe: traces, preferences, a loop, a chain, judges.

run("quickstart")                       # RunResult
run("writing_recorded")                 # PreferenceResult
run("llmbar_recorded")                  # CalibrationResult
run("self_distill")                     # LoopResult
lint("quickstart")                      # the rows of runs/quickstart, as they would be trained now

The lint looks at rows that a run has written, trains nothing, and leaves `lint.json` and `lint.html` next to them. A
recipe whose run has written no rows yet is refused: there is nothing to look at.
"""

from __future__ import annotations

from pathlib import Path

from stillroom.common.run_async import off_the_loop
from stillroom.pipeline.config.load import Overrides, RecipeLike, load_any
from stillroom.pipeline.run.call import Call, called
from stillroom.pipeline.run.facts import run_path
from stillroom.pipeline.run.flow import FlowResult, flow_of
from stillroom.pipeline.run.folder import RunFolder
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.stages.train import keep
from stillroom.students.lint.report import LintReport


@off_the_loop
def run(
    recipe: RecipeLike,
    *,
    set: Overrides = (),
    out: str | Path | None = None,
    pilot: int | None = None,
    trust: bool = False,
    retry: str | None = None,
    shards: int | None = None,
    ray: str | None = None,
    display: Display | None = None,
) -> FlowResult:
    """Runs a recipe, or goes on with it; what comes back depends on its kind.

    `recipe`: a path, or the name of a shipped recipe. `set`: overrides such as "keep.per_task=2". `out`: the run's
    folder, default `runs/<name>`. `pilot`: samples only that many tasks, and forecasts what all will take and bring
    (recipes of one run of traces only). `trust`: lets the code run that the recipe names, which is asked for once.
    `retry`: "failures" asks again what failed in earlier calls: replies of judges that could not be read, requests
    without an answer. `shards`: samples in that many processes, started by Ray on this machine, or on the cluster at
    `ray` (`auto`, or host:port). Raises InputError before anything is paid for, RunError after.
    """
    loaded, shown = load_any(recipe, set), display or Display()
    name = loaded.recipe.name
    flow, folder = flow_of(loaded.recipe), RunFolder(run_path(out, name), name)
    flow.allow_code(loaded, folder, trust=trust)
    with called(Call.of(retry=retry, shards=shards, ray=ray)):
        return flow.run(loaded, folder, shown) if pilot is None else flow.pilot(loaded, folder, shown, pilot)


def lint(recipe: RecipeLike, *, set: Overrides = (), out: str | Path | None = None) -> LintReport:
    """Looks at the rows that a run of the recipe has written, and writes what it finds into the run's folder.

    `recipe`: a path, or the name of a shipped recipe. `set`: overrides such as "student.max_length=512". `out`: the
    run's folder, default `runs/<name>`. Raises MissingFile where no rows are there yet, InputError for a recipe
    without a student.
    """
    loaded = load_any(recipe, set)
    path = run_path(out, loaded.recipe.name)
    report = flow_of(loaded.recipe).lint(loaded, path)
    keep(report, RunFolder(path, loaded.recipe.name))
    return report
