"""The problem codes of the learner register."""

from commonroom.problems import add_codes

add_codes(
    {
        "CR-210": "The key of learner numbers cannot be used",
        "CR-211": "The look-up in the learner register cannot be made",
        "CR-212": "The learners cannot be merged or parted",
        "CR-213": "The case cannot be decided",
    }
)
