"""The problem codes of this room."""

from commonroom.problems import add_codes

add_codes({"CR-110": "The access policy cannot be used", "CR-111": "You may not see this"})
