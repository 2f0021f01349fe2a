-- Where an end point wants its party's letters pushed to. All times here are real: push does not follow the domain clock.
CREATE TABLE hub.subscription (
    id uuid PRIMARY KEY,
    end_point text NOT NULL,
    party text NOT NULL,
    url text NOT NULL,
    acknowledge text NOT NULL CHECK (acknowledge IN ('on_2xx', 'explicitly')),
    movements text[],                         -- null: all
    sign_v1 boolean NOT NULL,                 -- pushes also carry a `v1` signature
    delivery_window jsonb,                    -- a schedule; null: always
    rate_per_minute integer CHECK (rate_per_minute > 0),  -- what the target allowed; null: no limit
    state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'stopped')),
    reason text,                              -- why it was stopped
    created_at timestamptz NOT NULL,
    consented_at timestamptz NOT NULL,
    failures integer NOT NULL DEFAULT 0,      -- failed pushes since the last that worked: the circuit breaker
    ready_at timestamptz NOT NULL,            -- no push before: rate, Retry-After, open breaker
    UNIQUE (end_point, url)
);

CREATE INDEX subscription_party ON hub.subscription (party) WHERE state = 'active';

-- What pushing one letter has come to so far; gone when the letter is finished.
CREATE TABLE hub.push (
    delivery uuid PRIMARY KEY REFERENCES hub.delivery ON DELETE CASCADE,
    subscription uuid NOT NULL REFERENCES hub.subscription ON DELETE CASCADE,
    tries integer NOT NULL,
    next_at timestamptz NOT NULL,
    give_up_at timestamptz NOT NULL,
    in_flight_until timestamptz,              -- some process is sending it, or was killed while it did
    reason text                               -- of the last failure
);

CREATE INDEX push_subscription ON hub.push (subscription);

-- Movements that deliver in a window alone.
CREATE TABLE hub.delivery_window (
    movement text PRIMARY KEY,
    schedule jsonb NOT NULL
);
