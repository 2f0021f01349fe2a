"""The codes of the problems that identity raises."""

from commonroom.problems import add_codes

SIGN_IN_REFUSED = "CR-030"
TOKEN_REFUSED = "CR-031"  # noqa: S105 - a code, no secret
CODE_REFUSED = "CR-032"
KEY_REFUSED = "CR-033"
PERSON_REFUSED = "CR-034"
THROTTLED = "CR-035"
ACCOUNT_REFUSED = "CR-036"
NO_SUCH_END_POINT = "CR-037"
KEY_NOT_CHANGED = "CR-158"

add_codes(
    {
        SIGN_IN_REFUSED: "The end point cannot be signed in",
        TOKEN_REFUSED: "The access token is not valid",
        CODE_REFUSED: "The enrolment code cannot be used",
        KEY_REFUSED: "The public key cannot be used",
        PERSON_REFUSED: "The username or the password is wrong",
        THROTTLED: "Too many attempts to sign in",
        ACCOUNT_REFUSED: "The account cannot be made",
        NO_SUCH_END_POINT: "There is no such end point",
        KEY_NOT_CHANGED: "The end point's key cannot be changed",
    }
)
