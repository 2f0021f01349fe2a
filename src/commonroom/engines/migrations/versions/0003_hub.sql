CREATE SCHEMA hub;

-- Directory: who is connected, under which other names, and who is what to whom. Opaque to the hub.
CREATE TABLE hub.party (
    urn text PRIMARY KEY,
    name text NOT NULL,
    kinds text[] NOT NULL
);

CREATE TABLE hub.party_alias (
    alias text PRIMARY KEY,
    party text NOT NULL REFERENCES hub.party
);

CREATE INDEX party_alias_party ON hub.party_alias (party);

-- "For `party`, `other` is `role`". Without a party the role is the same for everyone.
CREATE TABLE hub.relation (
    party text REFERENCES hub.party,
    role text NOT NULL,
    other text NOT NULL REFERENCES hub.party,
    UNIQUE NULLS NOT DISTINCT (party, role, other)
);

CREATE INDEX relation_other ON hub.relation (other, role);

-- Movements: the agreements under which messages travel. No active movement, no route.
CREATE TABLE hub.movement (
    id text PRIMARY KEY,
    version integer NOT NULL DEFAULT 1,
    title text NOT NULL,
    sender_kind text,
    sender_party text,
    recipients text[] NOT NULL,
    types text[] NOT NULL,
    purpose text NOT NULL,
    legal_basis text NOT NULL,
    content text NOT NULL,
    frequency text NOT NULL,
    classification text NOT NULL CHECK (classification IN ('public', 'internal', 'confidential', 'restricted')),
    retention_days integer NOT NULL CHECK (retention_days > 0),
    active_from date NOT NULL,
    active_to date,
    loaded_at timestamptz NOT NULL,
    CHECK ((sender_kind IS NULL) <> (sender_party IS NULL))
);

-- The day on which agreements run is the domain clock's day in England.
CREATE VIEW hub.active_movement AS
SELECT m.*
FROM hub.movement m, (SELECT (engines.domain_now() AT TIME ZONE 'Europe/London')::date AS today) clock
WHERE clock.today >= m.active_from AND (m.active_to IS NULL OR clock.today <= m.active_to);

-- Hub processes keep directory and movements in memory; this number tells them that their copy is old.
CREATE TABLE hub.routing (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version bigint NOT NULL DEFAULT 1
);

INSERT INTO hub.routing DEFAULT VALUES;

CREATE FUNCTION hub.routing_changed() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF EXISTS (SELECT FROM changed) THEN
        UPDATE hub.routing SET version = version + 1;
    END IF;
    RETURN NULL;
END
$$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['party', 'party_alias', 'relation', 'movement'] LOOP
        EXECUTE 'CREATE TRIGGER inserted AFTER INSERT ON hub.' || name
            || ' REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION hub.routing_changed()';
        EXECUTE 'CREATE TRIGGER updated AFTER UPDATE ON hub.' || name
            || ' REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION hub.routing_changed()';
        EXECUTE 'CREATE TRIGGER deleted AFTER DELETE ON hub.' || name
            || ' REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION hub.routing_changed()';
    END LOOP;
END
$$;

-- Accepted messages. `position` is the hub's order of acceptance; `source` is the sending party.
CREATE TABLE hub.message (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL UNIQUE,
    source text NOT NULL,
    ce_id text NOT NULL,
    type text NOT NULL,
    envelope jsonb NOT NULL,
    digest bytea NOT NULL,
    size integer NOT NULL,
    end_point text NOT NULL,
    accepted_at timestamptz NOT NULL,
    retain_until timestamptz NOT NULL,
    UNIQUE (source, ce_id)
);

CREATE INDEX message_source ON hub.message (source, position DESC);

-- Letters apart from envelopes, so that tracking never touches them. They are incompressible more often than not.
CREATE TABLE hub.body (
    message bigint PRIMARY KEY REFERENCES hub.message ON DELETE CASCADE,
    body bytea NOT NULL
);

ALTER TABLE hub.body ALTER COLUMN body SET STORAGE EXTERNAL;

-- One row for each recipient. No foreign keys to party or movement: routing has just read them, and a key check would
-- lock the warehouse's one party row in every transaction.
CREATE TABLE hub.delivery (
    id uuid PRIMARY KEY,
    message bigint NOT NULL REFERENCES hub.message ON DELETE CASCADE,
    recipient text NOT NULL,
    movement text NOT NULL,
    state text NOT NULL DEFAULT 'offered'
        CHECK (state IN ('offered', 'leased', 'acknowledged', 'refused', 'expired', 'undeliverable')),
    attempt integer NOT NULL DEFAULT 0,
    lease_holder text,
    -- Real time: leases do not follow the domain clock.
    lease_until timestamptz,
    -- Domain time after which the message is of no use to the recipient.
    expires_at timestamptz,
    -- Domain time of the terminal state.
    finished_at timestamptz,
    reason text,
    UNIQUE (message, recipient)
) WITH (fillfactor = 80);

-- A mailbox is what is not finished, in order of acceptance.
CREATE INDEX delivery_mailbox ON hub.delivery (recipient, message) WHERE finished_at IS NULL;
CREATE INDEX delivery_recipient ON hub.delivery (recipient, message DESC);
CREATE INDEX delivery_expiry ON hub.delivery (expires_at) WHERE finished_at IS NULL AND expires_at IS NOT NULL;

-- What happened, in order. Only ever appended to.
CREATE TABLE hub.ledger (
    entry bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    event text NOT NULL,
    message bigint NOT NULL,
    party text NOT NULL,
    digest bytea,
    reason text
);

CREATE INDEX ledger_message ON hub.ledger (message);

-- When each end point last used the hub, in real time; written every few seconds, not with every request.
CREATE TABLE hub.end_point_seen (
    end_point text PRIMARY KEY,
    party text NOT NULL,
    seen_at timestamptz NOT NULL
);
