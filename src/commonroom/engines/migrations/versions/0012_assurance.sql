-- Levels of protection in their order; 0 is also what somebody without evidence has.
CREATE FUNCTION hub.rank_of(level text) RETURNS smallint
LANGUAGE sql IMMUTABLE
AS $$ SELECT (array_position(ARRAY['public', 'internal', 'confidential', 'restricted'], level) - 1)::smallint $$;

-- Dated evidence of the level of protection that a party, or one of its end points, gives data. Kept for ever: evidence
-- is ended, never changed or taken away. No foreign key to party: evidence may be there before its party is published.
CREATE TABLE hub.evidence (
    id uuid PRIMARY KEY,
    party text NOT NULL,
    end_point text,
    level text NOT NULL CHECK (level IN ('public', 'internal', 'confidential', 'restricted')),
    kind text NOT NULL CHECK (length(kind) BETWEEN 3 AND 200),
    reference text NOT NULL CHECK (length(reference) BETWEEN 3 AND 500),
    -- Days in England, both included.
    valid_from date NOT NULL,
    valid_to date NOT NULL CHECK (valid_to >= valid_from),
    recorded_by text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- From this day on it counts no more.
    ended_on date,
    ended_by text,
    ended_at timestamptz,
    CHECK ((ended_on IS NULL) = (ended_by IS NULL) AND (ended_on IS NULL) = (ended_at IS NULL))
);

CREATE INDEX evidence_party ON hub.evidence (party);

CREATE FUNCTION hub.evidence_stands() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.ended_on IS NULL
        AND (to_jsonb(NEW) - ARRAY['ended_on', 'ended_by', 'ended_at'])
            = (to_jsonb(OLD) - ARRAY['ended_on', 'ended_by', 'ended_at'])
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'evidence is kept as it was recorded' USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE TRIGGER stands BEFORE UPDATE OR DELETE ON hub.evidence
FOR EACH ROW EXECUTE FUNCTION hub.evidence_stands();
CREATE TRIGGER stands_whole BEFORE TRUNCATE ON hub.evidence
FOR EACH STATEMENT EXECUTE FUNCTION hub.evidence_stands();

-- Hub processes keep evidence in memory with the directory.
CREATE TRIGGER inserted AFTER INSERT ON hub.evidence
REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION hub.routing_changed();
CREATE TRIGGER updated AFTER UPDATE ON hub.evidence
REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION hub.routing_changed();

CREATE VIEW hub.valid_evidence AS
SELECT e.*, hub.rank_of(e.level) AS rank
FROM hub.evidence e, (SELECT (engines.domain_now() AT TIME ZONE 'Europe/London')::date AS today) clock
WHERE clock.today BETWEEN e.valid_from AND e.valid_to AND (e.ended_on IS NULL OR clock.today < e.ended_on);

-- The best that a party has today. A party that is not here has nothing.
CREATE VIEW hub.assured_party AS
SELECT party, max(rank) AS rank FROM hub.valid_evidence GROUP BY party;

-- What one end point may be handed today: its party's level or its own, whichever is higher.
CREATE FUNCTION hub.level_of(whose text, which text) RETURNS smallint
LANGUAGE sql STABLE
AS $$
    SELECT coalesce(max(rank), 0::smallint) FROM hub.valid_evidence
    WHERE party = whose AND (end_point IS NULL OR end_point = which)
$$;

-- The level that whoever is handed this copy must have, fixed when the message was accepted. Copies that nobody has
-- judged need the highest.
ALTER TABLE hub.delivery ADD COLUMN needs smallint NOT NULL DEFAULT 3 CHECK (needs BETWEEN 0 AND 3);

-- Recipients that the message was not accepted for: [{recipient, reason}].
ALTER TABLE hub.message ADD COLUMN left_out jsonb;

-- Bodies are encrypted, each under a key of its own, which is here wrapped by the master key of this name.
ALTER TABLE hub.body
    ADD COLUMN master text,
    ADD COLUMN wrapped bytea,
    ADD CONSTRAINT sealed CHECK (body IS NULL OR (master IS NOT NULL AND wrapped IS NOT NULL)) NOT VALID;
