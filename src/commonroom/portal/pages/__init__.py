"""The pages, by audience. A handler reads what it needs and makes a `Page`; it holds no rules of its own."""

from commonroom.portal.pages import areas, find, home, own, people, reference, schools, traffic

HANDLERS = [
    *home.HANDLERS,
    *find.HANDLERS,
    *schools.HANDLERS,
    *areas.HANDLERS,
    *reference.HANDLERS,
    *people.HANDLERS,
    *own.HANDLERS,
    *traffic.HANDLERS,
]

__all__ = ["HANDLERS"]
