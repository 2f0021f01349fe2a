"""The pages, by audience. A handler reads what it needs and makes a `Page`; it holds no rules of its own."""

from commonroom.portal.pages import (
    areas,
    extract_request,
    extracts,
    figures_api,
    find,
    home,
    learner_batches,
    learner_review,
    learners,
    lineage,
    movements,
    my_extracts,
    numbers,
    own,
    people,
    providers,
    reference,
    schools,
    traffic,
    trusts,
)

HANDLERS = [
    *home.HANDLERS,
    *find.HANDLERS,
    *schools.HANDLERS,
    *areas.HANDLERS,
    *trusts.HANDLERS,
    *figures_api.HANDLERS,
    *extracts.HANDLERS,
    *extract_request.HANDLERS,
    *my_extracts.HANDLERS,
    *reference.HANDLERS,
    *movements.HANDLERS,
    *people.HANDLERS,
    *own.HANDLERS,
    *providers.HANDLERS,
    *numbers.HANDLERS,
    *traffic.HANDLERS,
    *learners.HANDLERS,
    *lineage.HANDLERS,
    *learner_batches.HANDLERS,
    *learner_review.HANDLERS,
]

__all__ = ["HANDLERS"]
