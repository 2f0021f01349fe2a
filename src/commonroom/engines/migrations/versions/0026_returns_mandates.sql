-- A school lets its authority speak for it: for one collection or for all, from a day to a day. Without a mandate the
-- centre takes the school's records from the school alone.
CREATE TABLE returns.mandate (
    id uuid PRIMARY KEY,
    party text NOT NULL,
    -- Who may speak for it.
    agent text NOT NULL,
    -- None for every collection.
    collection text,
    from_day date NOT NULL,
    -- The last day; none while it goes on.
    to_day date,
    reason text NOT NULL DEFAULT '',
    who text NOT NULL,
    given_at timestamptz NOT NULL,
    CHECK (party <> agent),
    CHECK (to_day IS NULL OR to_day >= from_day - 1)
);

CREATE INDEX mandate_by_party ON returns.mandate (party, agent);

-- Who speaks in the message that tells a version: who loaded it, where that is not the collector.
ALTER TABLE returns.version ADD COLUMN sender text;

UPDATE returns.version v SET sender = r.party FROM returns.return r WHERE r.id = v.return;

ALTER TABLE returns.version ALTER COLUMN sender SET NOT NULL;

-- What a version made from the record was made for, where that is not the collection's own: it is made again the same.
ALTER TABLE returns.version
    ADD COLUMN reference_date date,
    ADD COLUMN first_day date,
    ADD COLUMN last_day date;
