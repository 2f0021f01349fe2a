-- Ledger entries of one event that one statement writes, in one row: a row with three index entries for each was half of
-- what the database did for a message. hub.ledger stays, for single entries; both take their numbers from one sequence,
-- so that an entry that follows from another one has the higher number, whichever way they are written.
CREATE TABLE hub.ledger_group (
    -- Below the numbers of all its entries.
    number bigint PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    tx xid8 NOT NULL DEFAULT pg_current_xact_id(),
    event text NOT NULL,
    -- One element of each for each entry, in the order in which they enter the tree.
    entries bigint[] NOT NULL,
    -- The hub's ids.
    messages uuid[] NOT NULL,
    -- Who did it: parties[party_of[n]].
    parties text[] NOT NULL,
    party_of integer[] NOT NULL,
    -- NULL: none has a reason.
    reasons text[],
    -- Of `accepted`, joined: 32 bytes for each body's SHA-256, and 64 for what the entry vouches for beside it
    -- (commonroom.hub.ledger_form), so that the sequencer need not read the messages again. Verifying does.
    digests bytea,
    facts bytea,
    CONSTRAINT whole CHECK (
        cardinality(messages) = cardinality(entries) AND cardinality(party_of) = cardinality(entries)
        AND array_position(messages, NULL) IS NULL AND array_position(party_of, NULL) IS NULL
        AND length(digests) = 32 * cardinality(entries) AND length(facts) = 64 * cardinality(entries)
        AND (event = 'accepted') = (digests IS NOT NULL AND facts IS NOT NULL)
    )
);

CREATE INDEX ledger_group_tx ON hub.ledger_group (tx);

-- Hashes hardly compress, and what can be cut out of a value without unpacking it is read sooner.
ALTER TABLE hub.ledger_group ALTER COLUMN digests SET STORAGE EXTERNAL;
ALTER TABLE hub.ledger_group ALTER COLUMN facts SET STORAGE EXTERNAL;

-- The leaves of a group, side by side in the tree from `position` on: 32 bytes each, joined.
CREATE TABLE hub.ledger_leaf_group (
    position bigint PRIMARY KEY CHECK (position >= 0),
    ledger_group bigint NOT NULL UNIQUE,
    hashes bytea NOT NULL CHECK (length(hashes) > 0 AND length(hashes) % 32 = 0)
);

ALTER TABLE hub.ledger_leaf_group ALTER COLUMN hashes SET STORAGE EXTERNAL;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON hub.ledger_group
    FOR EACH STATEMENT EXECUTE FUNCTION hub.append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON hub.ledger_leaf_group
    FOR EACH STATEMENT EXECUTE FUNCTION hub.append_only();

-- Where a message's entries are. An index over the messages of all groups would cost as much as the rows it replaces.
ALTER TABLE hub.message ADD COLUMN ledger_group bigint;
ALTER TABLE hub.delivery ADD COLUMN ledger_groups bigint[] NOT NULL DEFAULT '{}';

-- The entries of groups, one in a row.
CREATE VIEW hub.ledger_group_entry AS
SELECT g.number AS ledger_group, e.ordinal, e.entry, g.at, g.event, e.message AS message_id,
    g.parties[e.party_of] AS party, substring(g.digests FROM 32 * e.ordinal::integer - 31 FOR 32) AS digest, e.reason, g.tx
FROM hub.ledger_group g
CROSS JOIN LATERAL unnest(g.entries, g.messages, g.party_of, g.reasons)
    WITH ORDINALITY AS e(entry, message, party_of, reason, ordinal);

-- Every entry there is. For counting and for verifying: a message's own are found by what it points to.
CREATE VIEW hub.ledger_entry AS
SELECT entry, at, event, message, party, digest, reason, tx FROM hub.ledger
UNION ALL
SELECT e.entry, e.at, e.event, m.position, e.party, e.digest, e.reason, e.tx
FROM hub.ledger_group_entry e LEFT JOIN hub.message m ON m.id = e.message_id;

-- Where each entry stands in the tree.
CREATE VIEW hub.ledger_place AS
SELECT position, entry, hash FROM hub.ledger_leaf
UNION ALL
SELECT t.position + leaf.ordinal - 1, g.entries[leaf.ordinal], substring(t.hashes FROM 32 * leaf.ordinal - 31 FOR 32)
FROM hub.ledger_leaf_group t
CROSS JOIN LATERAL generate_series(1, (length(t.hashes) + 31) / 32) AS leaf(ordinal)
LEFT JOIN hub.ledger_group g ON g.number = t.ledger_group;

-- Reports are made by the statements that end deliveries (commonroom.hub.reports): a trigger that looks at each change of
-- a delivery had a copy made of every row that is leased.
DROP TRIGGER ended ON hub.delivery;
DROP FUNCTION hub.report_ends();
