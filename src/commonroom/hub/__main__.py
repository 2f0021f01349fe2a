"""`python -m commonroom.hub`: one hub process, with the settings of COMMONROOM_DATA."""

from commonroom import settings
from commonroom.hub.server import run

if __name__ == "__main__":
    run(settings.load())
