"""`commonroom returns`: open a collection, load versions, answer queries, submit, approve, authorise.

`--as` says who acts: a school's URN, an authority's number, or `collector`. The commands of a return's way stand in
`basic_commands`, those beside it in `further_commands`.
"""

from commonroom.returns import basic_commands, further_commands
from commonroom.returns.command_line import app

__all__ = ["app", "basic_commands", "further_commands"]
