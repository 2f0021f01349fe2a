"""The hub: a post office. It reads envelopes and never letters, and knows nothing of what may be in them.

The web parts (`hub.api`, `hub.server`) are imported by those who serve; everything here works on a connection.
"""

from commonroom.hub import assurance, directory, movements, tracking
from commonroom.hub.calendars import calendar_days, publish_calendar
from commonroom.hub.directory import (
    Alias,
    Party,
    Relation,
    aliases_of,
    publish,
    resolve_alias,
    resolve_aliases,
)
from commonroom.hub.movements import ListedMovement, LoadedMovements, Movement, list_movements, load_movements
from commonroom.hub.tracking import (
    DeliveryStory,
    MessageStory,
    SeenEndPoint,
    Traffic,
    messages_of,
    traffic,
    unfinished,
)

__all__ = [
    "Alias",
    "DeliveryStory",
    "ListedMovement",
    "LoadedMovements",
    "MessageStory",
    "Movement",
    "Party",
    "Relation",
    "SeenEndPoint",
    "Traffic",
    "aliases_of",
    "assurance",
    "calendar_days",
    "directory",
    "list_movements",
    "load_movements",
    "messages_of",
    "movements",
    "publish",
    "publish_calendar",
    "resolve_alias",
    "resolve_aliases",
    "tracking",
    "traffic",
    "unfinished",
]
