-- The transaction that wrote the entry. Transactions commit out of order; with this the sequencer finds exactly those
-- that have ended since it last looked, however long they took.
ALTER TABLE hub.ledger ADD COLUMN tx xid8 NOT NULL DEFAULT pg_current_xact_id();

CREATE INDEX ledger_tx ON hub.ledger (tx);

-- The Merkle tree over the ledger. `position` counts from 0 without gaps.
CREATE TABLE hub.ledger_leaf (
    position bigint PRIMARY KEY CHECK (position >= 0),
    entry bigint NOT NULL UNIQUE,
    hash bytea NOT NULL CHECK (length(hash) = 32)
);

-- Hashes of complete subtrees of 256, 65,536, ... leaves, so that a proof reads a thousand rows and never the log.
CREATE TABLE hub.ledger_node (
    level smallint,
    index bigint,
    hash bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (level, index)
);

-- Signed heads. `key` is the RFC 7638 thumbprint of a key in hub.ledger_key.
CREATE TABLE hub.ledger_head (
    size bigint PRIMARY KEY CHECK (size > 0),
    root bytea NOT NULL,
    time timestamptz NOT NULL,
    key text NOT NULL,
    signature bytea NOT NULL
);

CREATE TABLE hub.ledger_key (
    id text PRIMARY KEY,
    -- The public Ed25519 key as a JWK has it: base64url.
    x text NOT NULL
);

-- How far the sequencer is: all entries of transactions that `seen` shows as ended have their position. Transaction
-- numbers mean something in one database cluster alone; `cluster` says in which.
CREATE TABLE hub.ledger_sequencer (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    size bigint NOT NULL DEFAULT 0,
    peaks bytea[] NOT NULL DEFAULT '{}',
    seen pg_snapshot,
    cluster bigint
);

INSERT INTO hub.ledger_sequencer DEFAULT VALUES;

CREATE FUNCTION hub.append_only() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION 'hub.% is only ever appended to', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['ledger', 'ledger_leaf', 'ledger_node', 'ledger_head', 'ledger_key'] LOOP
        EXECUTE 'CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON hub.' || name
            || ' FOR EACH STATEMENT EXECUTE FUNCTION hub.append_only()';
    END LOOP;
END
$$;
