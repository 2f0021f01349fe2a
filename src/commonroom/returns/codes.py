"""The codes of the problems that this room raises."""

from commonroom.problems import add_codes

WORKFLOW = "CR-195"
NO_RETURN = "CR-196"
WRONG_STATE = "CR-197"
NOT_YOURS = "CR-198"
NOT_READY = "CR-199"
CHANGED = "CR-200"
NO_FINDING = "CR-201"
NOTE = "CR-202"
CONTENT = "CR-203"
LOCAL_RULES = "CR-204"
FROZEN = "CR-205"
UPLOAD = "CR-206"
NOT_TOLD = "CR-207"
NOTHING = "CR-208"

add_codes(
    {
        WORKFLOW: "The workflow of returns contradicts itself",
        NO_RETURN: "There is no such return",
        WRONG_STATE: "The step does not fit the return's state",
        NOT_YOURS: "The step on the return is for others to take",
        NOT_READY: "The return is not ready for the step",
        CHANGED: "The return has changed in the meantime",
        NO_FINDING: "The return has no such finding",
        NOTE: "The note cannot be used",
        CONTENT: "The content of the return is not there or is damaged",
        LOCAL_RULES: "The authority's own rules cannot be used",
        FROZEN: "The frozen return is not what was authorised",
        UPLOAD: "The upload cannot be taken",
        NOT_TOLD: "The return cannot be told in the common language",
        NOTHING: "The return cannot be made from the record",
    }
)
