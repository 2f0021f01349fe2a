"""Who is calling: end points with keys and tokens, people with passwords and sessions. What they may do is access."""

from commonroom.identity.end_points import (
    EndPoint,
    end_points_of,
    enrol,
    issue_enrolment_code,
    issue_enrolment_codes,
    revoke,
)
from commonroom.identity.people import add_person, person_of, sign_in, sign_out, suspend_person
from commonroom.identity.principals import PUBLIC, ROLES_OF_PEOPLE, Principal, Role
from commonroom.identity.tokens import Tokens

__all__ = [
    "PUBLIC",
    "ROLES_OF_PEOPLE",
    "EndPoint",
    "Principal",
    "Role",
    "Tokens",
    "add_person",
    "end_points_of",
    "enrol",
    "issue_enrolment_code",
    "issue_enrolment_codes",
    "person_of",
    "revoke",
    "sign_in",
    "sign_out",
    "suspend_person",
]
