"""The settings of the task sources under one roof; each kind's stand in the module of the source."""

from stillroom.traces.tasks.gym import GymTasks
from stillroom.traces.tasks.hub import HubTasks
from stillroom.traces.tasks.jsonl import JsonlTasks
from stillroom.traces.tasks.registry import CommonTasks, Name, TaskSettings

__all__ = ["CommonTasks", "GymTasks", "HubTasks", "JsonlTasks", "Name", "TaskSettings"]
