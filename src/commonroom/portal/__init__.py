"""The portal: pages for everyone and for those who sign in; every page also as JSON, its tables as CSV.

Nothing is computed here: figures come from the warehouse, schools from the register, messages from the hub.
"""

from commonroom.portal.samples import SamplePerson, add_sample_people

__all__ = ["SamplePerson", "add_sample_people"]
