"""Tasks: rows with a prompt and a known answer, read from a file, a dataset or a generator.

`load_tasks` reads, checks and splits. It refuses rows that are not tasks before anything is sampled, and holds out a
test split that never reaches the teacher.

    settings = JsonlTasks(source="jsonl", path="problems.jsonl", prompt="question", reference="answer", test=100)
    tasks = load_tasks(settings, base=Path("."), seed=7)
    tasks.train, tasks.test, tasks.left_out
"""

from stillroom.traces.tasks.gym import GymTasks
from stillroom.traces.tasks.hub import HubTasks
from stillroom.traces.tasks.jsonl import JsonlTasks
from stillroom.traces.tasks.load import load_tasks
from stillroom.traces.tasks.problems import Problem
from stillroom.traces.tasks.registry import LeftOut, TaskSet, TaskSettings

__all__ = ["GymTasks", "HubTasks", "JsonlTasks", "LeftOut", "Problem", "TaskSet", "TaskSettings", "load_tasks"]
