"""Push over HTTP: subscriptions of the end point that calls, and the public keys of pushes."""

from __future__ import annotations

from litestar import delete, get, post
from litestar.params import FromPath, JSONBody

from commonroom.hub import openapi, push_keys, subscriptions
from commonroom.hub.callers import Call, caller_of, office_of
from commonroom.hub.push import real_now
from commonroom.hub.push_keys import PublicKey
from commonroom.hub.subscriptions import SubscribeRequest, Subscription
from commonroom.hub.targets import check_url, networks, open_caller
from commonroom.settings import Settings


class SubscriptionAnswer(Subscription, frozen=True, kw_only=True):
    """A subscription with what its pushes are verified with."""

    keys: list[PublicKey]  # v1a, newest first
    secrets: list[str]  # v1, newest first; only for symmetric subscriptions


@post("/subscriptions", status_code=201, security=openapi.SIGNED_IN)
async def post_subscription(request: Call, data: JSONBody[SubscribeRequest]) -> SubscriptionAnswer:
    """Have your party's letters pushed to a URL whose owner consents. The same URL again replaces the subscription."""
    caller, office = caller_of(request), office_of(request)
    allowed = networks(office.settings.push_allow_networks)
    check_url(data.url, allowed)
    async with open_caller(allowed) as target:
        rate = await subscriptions.ask_consent(target, office.settings, data.url)
    async with office.pool.acquire() as connection:
        made = await subscriptions.subscribe(
            connection, data, caller.party or "", caller.id, rate, real_now()
        )
        await office.windows.look(connection)  # its window holds before the first push
    office.doorbell.ring([caller.party or ""])
    return _answer(office.settings, made)


@get("/subscriptions", security=openapi.SIGNED_IN)
async def get_subscriptions(request: Call) -> list[SubscriptionAnswer]:
    """Your own subscriptions, with their state."""
    settings = office_of(request).settings
    return [_answer(settings, subscription) for subscription in await _own(request)]


@get("/subscriptions/{subscription:str}", security=openapi.SIGNED_IN)
async def get_subscription(request: Call, subscription: FromPath[str]) -> SubscriptionAnswer:
    """One of your own subscriptions."""
    for found in await _own(request):
        if found.id == subscription:
            return _answer(office_of(request).settings, found)
    raise subscriptions.no_subscription()


@delete("/subscriptions/{subscription:str}", status_code=204, security=openapi.SIGNED_IN)
async def delete_subscription(request: Call, subscription: FromPath[str]) -> None:
    """Push there no more; letters wait in the mailbox again."""
    caller = caller_of(request)
    async with office_of(request).pool.acquire() as connection:
        await subscriptions.unsubscribe(connection, subscription, caller.id)


@get("/push/keys")
async def get_push_keys(request: Call) -> list[PublicKey]:
    """The public keys that sign pushes now, newest first; two for a while after a rotation. For everybody."""
    return push_keys.load_push_keys(office_of(request).settings, real_now()).public()


async def _own(request: Call) -> list[Subscription]:
    caller = caller_of(request)
    async with office_of(request).pool.acquire() as connection:
        return await subscriptions.subscriptions_of(connection, caller.id)


def _answer(settings: Settings, subscription: Subscription) -> SubscriptionAnswer:
    keys = push_keys.load_push_keys(settings, real_now())
    members = {name: getattr(subscription, name) for name in Subscription.__struct_fields__}
    secrets = keys.secrets(subscription.id) if subscription.sign_v1 else []
    return SubscriptionAnswer(**members, keys=keys.public(), secrets=secrets)


HANDLERS = (post_subscription, get_subscriptions, get_subscription, delete_subscription, get_push_keys)
