"""Stamps log records, marks those whose body holds an @, discards those of one level and sends those of
another to an archive.

    [plugin.stamp]
    component = "stamp.wasm"
    config = { stamp = "tollgate", drop_level = "debug", archive_level = "error" }

A case of a variant is a class `Variant_Case`. A function whose WIT says `result` returns what is good and
raises `Err` with what is not; an `Err` that nobody catches is the plugin's failure.
"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.handler import Otherwise, Registration, Setup, Verdict, Verdict_Forward
from wit_world.imports import batch, host
from wit_world.imports.types import (
    Column, ConfigMistake, Error_BadConfig, Field, Level, Rows, Rows_All, Rows_Only, Signal, Target_Attribute,
    Target_BuiltIn, Test_Equals, Value_Boolean, Value_Text,
)

ALL = Rows_All()
LEVEL = Column(Level.RECORD, Target_Attribute("level"))
PROCESSED_BY = Column(Level.RECORD, Target_Attribute("processed_by"))
HAS_AT = Column(Level.RECORD, Target_Attribute("has_at"))
BODY = Column(Level.RECORD, Target_BuiltIn(Field.BODY))

SETTINGS = ("stamp", "drop_level", "archive_level")
config: dict[str, str] = {}


class Handler(exports.Handler):
    def configure(self, setup: Setup) -> Registration:
        global config
        config = json.loads(setup.config)
        for key, value in config.items():
            if key not in SETTINGS:
                raise mistake(key, "no such setting; there are stamp, drop_level and archive_level")
            if not isinstance(value, str) or value == "":
                raise mistake(key, "must be a text that is not empty")
        if "stamp" not in config:
            raise mistake("stamp", "must be a text that is not empty")
        destinations = ["archive"] if "archive_level" in config else []
        return Registration([Signal.LOGS], Otherwise.PASS, destinations, read_only=False)

    def process(self) -> Verdict:
        batch.set(PROCESSED_BY, Value_Text(config["stamp"]), ALL)

        marked = with_at()
        batch.set(HAS_AT, Value_Boolean(True), Rows_Only(marked))
        if marked:
            service = batch.get_cell(Level.RESOURCE, 0, Target_Attribute("service.name"))
            name = service.value if isinstance(service, Value_Text) else "an unnamed service"
            host.log(host.Severity.INFO, f"{len(marked)} bodies of {name} hold an @")
        host.count("has_at", len(marked))

        if "drop_level" in config:
            batch.discard(Level.RECORD, with_level(config["drop_level"]))
        if "archive_level" in config:
            batch.route(Level.RECORD, with_level(config["archive_level"]), ["archive"])
        return Verdict_Forward()


def mistake(key: str, message: str) -> Err:
    """A mistake at a key of the configuration. In a JSON pointer `~` and `/` are escaped."""
    pointer = "/" + key.replace("~", "~0").replace("/", "~1")
    return Err(Error_BadConfig(ConfigMistake(pointer, message)))


def with_level(wanted: str) -> Rows:
    """The records whose attribute `level` is this one."""
    return Rows_Only(batch.find(LEVEL, Test_Equals(Value_Text(wanted)), ALL))


def with_at() -> list[int]:
    """The records whose body holds an @.

    All bodies come in one buffer: cell `i` has its begin and its end at `offsets[2 * i]`; without one, both
    are 0xffffffff, and nothing lies between them.
    """
    cells = batch.read_text(BODY, ALL)
    pairs = zip(cells.offsets[::2], cells.offsets[1::2])
    return [row for row, (begin, end) in enumerate(pairs) if cells.data.find(b"@", begin, end) >= 0]
