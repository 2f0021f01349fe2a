"""Who is calling: end points with keys and tokens, people with passwords and sessions. What they may do is access."""

from commonroom.identity.end_point_keys import (
    add_key,
    encryption_keys,
    keys_of,
    keys_of_end_point,
    retire_key,
)
from commonroom.identity.end_points import (
    EndPoint,
    end_points_of,
    enrol,
    issue_enrolment_code,
    issue_enrolment_codes,
    revoke,
)
from commonroom.identity.ended_keys import EndedKeys
from commonroom.identity.people import (
    add_person,
    person_of,
    sign_in,
    sign_out,
    suspend_person,
    username_of,
)
from commonroom.identity.principals import PUBLIC, ROLES_OF_PEOPLE, Principal, Role
from commonroom.identity.tokens import Tokens

__all__ = [
    "PUBLIC",
    "ROLES_OF_PEOPLE",
    "EndPoint",
    "EndedKeys",
    "Principal",
    "Role",
    "Tokens",
    "add_key",
    "add_person",
    "encryption_keys",
    "end_points_of",
    "enrol",
    "issue_enrolment_code",
    "issue_enrolment_codes",
    "keys_of",
    "keys_of_end_point",
    "person_of",
    "retire_key",
    "revoke",
    "sign_in",
    "sign_out",
    "suspend_person",
    "username_of",
]
