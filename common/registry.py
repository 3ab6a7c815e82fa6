"""The registry by kind: which filters, teachers, judges, … there are, and how a recipe names one.

A kind is a class that registers itself where it stands. Its settings are its fields, and what it makes is a method:

    filters: Registry[Settings] = Registry("filter", tag="name", where=("stillroom.traces.filters",))

    @filters.register
    class Short(Settings):
        name: Literal["short"] = "short"
        most: int = 100

        def start(self, test: Sequence[Task]) -> Check: ...

    class Recipe(BaseModel):
        filter: Annotated[Settings, filters.field()]

    Recipe.model_validate({"filter": {"name": "short", "most": 20}})

A new kind is one new module in a package that `where` names; nothing else is edited. Other distributions add theirs
with an entry point of the group `stillroom.plugins`: a module to import, or a function to call.

Nothing is imported before somebody asks what kinds there are, and a recipe's field asks when it is validated, so a
kind may be registered long after the class with the field was made.
"""

from __future__ import annotations

import importlib
import pkgutil
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, Generic, Literal, TypeVar, cast, get_args, get_origin, overload

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError, ValidationInfo
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, PydanticKnownError, core_schema

from stillroom.common.text import did_you_mean
from stillroom.errors import InputError, PluginError

GROUP = "stillroom.plugins"
"""The entry points of other distributions."""

UNKNOWN, MISSING = "unknown_kind", "missing_kind"
"""Types of the errors that pydantic reports for a kind that is not there, or not named. Their message is complete."""

S = TypeVar("S")
K = TypeVar("K")

Bare = Callable[[Any], Mapping[str, Any] | None]

# One lock for all registries: loading one imports modules that look something up in another.
_lock = threading.RLock()


class _Once:
    """A piece of loading that is done once. What it imports may ask for it again meanwhile: that does nothing."""

    def __init__(self, load: Callable[[], object]) -> None:
        self._load = load
        self._done = self._running = False

    def __call__(self) -> None:
        if self._done:
            return
        with _lock:
            if self._done or self._running:
                return
            self._running = True
            try:
                self._load()
                self._done = True
            finally:
                self._running = False


class Registry(Mapping[str, type[S]], Generic[S]):
    """The kinds of one seam by name, in alphabetical order, so that no message depends on who was imported first.

    `what`: what one of them is called in messages. `tag`: the field that says which one is meant; its annotation in a
    kind's class, a `Literal`, is the kind's name. `where`: modules and packages (every module of which, but those
    whose name begins with an underscore) to import before the first look-up. `default`: the kind that is meant where
    the tag is left out; None: the tag has to be there. `bare`: the settings that a value means which is not a
    mapping, such as a function; None where it means nothing.
    """

    def __init__(
        self,
        what: str,
        *,
        tag: str,
        where: Sequence[str] = (),
        default: str | None = None,
        bare: Bare | None = None,
    ) -> None:
        self.what, self.tag, self.default, self.bare = what, tag, default, bare
        self._where = tuple(where)
        self._kinds: dict[str, type[S]] = {}
        self._load_shipped = _Once(self._import_shipped)

    @overload
    def register(self, kind: type[K]) -> type[K]: ...

    @overload
    def register(self, *, name: str) -> Callable[[type[K]], type[K]]: ...

    def register(self, kind: type[K] | None = None, *, name: str | None = None) -> Any:
        """Adds a kind: `@filters.register`, or `@recipes.register(name="traces")` for a class without the tag.

        Raises InputError where the name is taken, naming both classes, or where there is none.
        """
        if kind is None:
            return partial(self.register, name=name)
        if not kind.__module__.startswith("stillroom."):
            self._load_shipped()  # ours first, so that it is the other that is refused for a name of ours
        names: tuple[str, ...]
        if name is not None:
            names = (name,)
        else:
            field = getattr(kind, "model_fields", {}).get(self.tag)
            if field is None or get_origin(field.annotation) is not Literal:
                raise InputError(f'{_full_name(kind)} has no name: give it the field {self.tag}: Literal["its_name"]')
            names = tuple(map(str, get_args(field.annotation)))
        for each in names:
            known = self._kinds.get(each)
            # A module that is loaded again (importlib.reload, a notebook's cell) replaces what it had registered.
            if known is not None and _full_name(known) != _full_name(kind):
                raise InputError(
                    f"there are two {self.what}s {each!r}: {_full_name(known)} and {_full_name(kind)}: rename one"
                )
            self._kinds[each] = cast(type[S], kind)
        return kind

    def field(self, *, without: Collection[str] = ()) -> Kinds:
        """The annotation of a field that holds one of them: `Annotated[Settings, filters.field()]`. `without`: kinds
        that may not stand there."""
        return Kinds(self, frozenset(without))

    def unknown(self, name: object, among: Collection[str] | None = None, what: str = "") -> str:
        """The message for a name that is not there. `what`: what was to be named, where its place does not say it."""
        known = self.in_yaml if among is None else [name for name in self.in_yaml if name in among]
        hint = did_you_mean(str(name), known)
        return f"there is no {what and what + ' '}{name!r}; {hint}expected one of {', '.join(known)}"

    @property
    def in_yaml(self) -> list[str]:
        """The kinds that a file can name. Those that hold something of the program's (a function) say
        `in_yaml: ClassVar[bool] = False`."""
        return [name for name, kind in self.items() if getattr(kind, "in_yaml", True)]

    def __getitem__(self, name: str) -> type[S]:
        self._load()
        return self._kinds[name]

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(sorted(self._kinds))

    def __len__(self) -> int:
        self._load()
        return len(self._kinds)

    def _load(self) -> None:
        self._load_shipped()
        _load_plugins()

    def _import_shipped(self) -> None:
        """Imports the modules, and of a package every module that is not private."""
        for name in self._where:
            package = importlib.import_module(name)
            for found in pkgutil.iter_modules(getattr(package, "__path__", ())):
                if not found.name.startswith("_"):
                    importlib.import_module(f"{name}.{found.name}")


class Kinds:
    """What pydantic finds in the annotation of a field that holds one of a registry's kinds.

    The kind is looked up when a value is validated. Mistakes in its settings are reported where they stand
    (`teacher.sampling.top_p`); the kind's name is not part of the location.
    """

    def __init__(self, registry: Registry[Any], without: frozenset[str] = frozenset()) -> None:
        self.registry, self._without = registry, without

    def models(self) -> dict[str, type[BaseModel]]:
        """The kinds that may stand here, by name."""
        return {name: kind for name, kind in self.registry.items() if name not in self._without}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # Without a schema of what comes out, pydantic writes each value with the serializer of the value's class,
        # so that the fields of a subclass are kept.
        return core_schema.with_info_plain_validator_function(self._validated)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        named = [model for name, model in self.models().items() if name in self.registry.in_yaml]
        return {"oneOf": [handler(model.__pydantic_core_schema__) for model in named]}

    def _validated(self, value: Any, info: ValidationInfo) -> BaseModel:
        models, registry = self.models(), self.registry
        if isinstance(value, BaseModel) and isinstance(value, tuple(models.values())):
            return value
        if not isinstance(value, Mapping) and registry.bare is not None:
            value = registry.bare(value)
        if not isinstance(value, Mapping):
            raise PydanticKnownError("dict_type")
        name = value.get(registry.tag, registry.default)
        if name is None:
            among = ", ".join(name for name in registry.in_yaml if name in models)
            raise self._wrong_tag(MISSING, f"this key is missing: give one of {among}", value)
        if not isinstance(name, str) or name not in models:
            raise self._wrong_tag(UNKNOWN, registry.unknown(name, models), value)
        return models[name].model_validate({**value, registry.tag: name}, context=info.context)

    def _wrong_tag(self, kind: str, message: str, value: Any) -> ValidationError:
        """An error whose location ends with the tag."""
        # The message is a parameter, since braces in a template are replaced.
        error = PydanticCustomError(kind, "{message}", {"message": message})
        details = InitErrorDetails(type=error, loc=(self.registry.tag,), input=value)
        return ValidationError.from_exception_data(self.registry.what, [details], hide_input=True)


def _load_every_plugin() -> None:
    """Loads the entry points of other distributions. Raises PluginError naming one that is broken."""
    for point in sorted(entry_points(group=GROUP), key=lambda each: (each.name, each.value)):
        try:
            loaded = point.load()
            if not isinstance(loaded, ModuleType):
                loaded()
        except Exception as error:
            whose = f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unknown distribution"
            raise PluginError(
                f"the plug-in {point.name!r} ({point.value}) of {whose} cannot be loaded "
                f"({type(error).__name__}: {error}): update that distribution, or uninstall it"
            ) from error


_load_plugins = _Once(_load_every_plugin)


def _full_name(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
