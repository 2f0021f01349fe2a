"""The hub's problem codes. Codes are stable: they are never reused for another meaning."""

from commonroom.problems import add_codes

add_codes(
    {
        "CR-040": "The source is not the sender",
        "CR-041": "The party is not in the directory",
        "CR-042": "No movement lets this message travel",
        "CR-043": "The message must name its recipient",
        "CR-044": "The classification is above what the movement allows",
        "CR-045": "The id was used for another message",
        "CR-046": "The body is too large",
        "CR-047": "Nobody is to receive this message",
        "CR-048": "The hub cannot store messages at the moment",
        "CR-049": "The message has expired",
        "CR-050": "The request cannot be understood",
        "CR-051": "The movement file contradicts itself",
        "CR-052": "The message cannot be stored",
        "CR-160": "There is no such upload",
        "CR-161": "The upload is not what was announced",
        "CR-162": "The upload goes on elsewhere",
        "CR-163": "Too much is being uploaded",
        "CR-164": "There is no room for the body",
        "CR-168": "No standby confirms what is written",
        "CR-140": "The governance policy contradicts itself",
        "CR-141": "The step does not fit the movement's state",
        "CR-142": "The votes do not decide so",
        "CR-143": "The step is for others to take",
        "CR-144": "The proposal cannot be accepted",
        "CR-150": "The push target is not allowed",
        "CR-151": "The push target has not consented",
        "CR-152": "There is no such subscription",
        "CR-153": "There are too many subscriptions",
        "CR-154": "The delivery window cannot be used",
        "CR-155": "The push key cannot be changed now",
        "CR-130": "The ledger file cannot be read",
        "CR-131": "No signed head of the ledger yet",
        "CR-132": "There is no such head of the ledger",
        "CR-133": "The public key file cannot be used",
    }
)
