-- Named sets of days for schedules, published by those who know them. Opaque to the hub.
CREATE TABLE hub.calendar (
    name text NOT NULL,
    day date NOT NULL,
    PRIMARY KEY (name, day)
);

-- A row of hub.movement is now one version of a movement, from its proposal on. Its text never changes once it is
-- there; only its state does. Whether an approved version runs is a matter of dates: see the views.
DROP VIEW hub.active_movement;

ALTER TABLE hub.movement
    DROP CONSTRAINT movement_pkey,
    ADD PRIMARY KEY (id, version),
    ALTER COLUMN frequency TYPE jsonb USING '{"how": "on_change"}',
    ADD COLUMN state text NOT NULL DEFAULT 'approved'
        CHECK (state IN ('proposed', 'under review', 'approved', 'rejected', 'withdrawn')),
    -- Who agreed to it: the operator at set-up, or the governance group.
    ADD COLUMN origin text NOT NULL DEFAULT 'operator' CHECK (origin IN ('operator', 'group')),
    -- The answers to the review's questions; none for what the operator loaded.
    ADD COLUMN criteria jsonb,
    -- The member's id, the organisation's urn, or the operator's name.
    ADD COLUMN proposer text NOT NULL DEFAULT 'operator',
    ADD COLUMN proposer_party text;

-- One proposal at a time for a movement.
CREATE UNIQUE INDEX movement_open ON hub.movement (id) WHERE state IN ('proposed', 'under review');

-- Movements stopped for now, whatever their versions. A row is there while the suspension lasts.
CREATE TABLE hub.movement_suspension (
    movement text PRIMARY KEY,
    since timestamptz NOT NULL
);

-- Every step of every movement, for ever.
CREATE TABLE hub.movement_step (
    entry bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    movement text NOT NULL,
    version integer NOT NULL,
    step text NOT NULL CHECK (step IN (
        'loaded', 'proposed', 'amendment proposed', 'review began', 'approved', 'rejected', 'suspended', 'resumed',
        'withdrawn'
    )),
    -- Domain time: agreements run by its days.
    at timestamptz NOT NULL,
    role text NOT NULL CHECK (role IN ('operator', 'member', 'organisation')),
    who text NOT NULL,
    -- What the public reads: the operator, the governance group, or the organisation's name.
    public_who text NOT NULL,
    reason text NOT NULL
);

CREATE INDEX movement_step_movement ON hub.movement_step (movement, entry);

-- Votes. A member who votes again has changed the vote: the newest counts, the earlier ones stay on record.
CREATE TABLE hub.movement_vote (
    entry bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    movement text NOT NULL,
    version integer NOT NULL,
    member text NOT NULL,
    member_name text NOT NULL,
    kind text NOT NULL,
    front_line boolean NOT NULL,
    -- Whether the member is, or speaks for, whoever proposed the version.
    of_proposer boolean NOT NULL,
    -- Whether the member agreed to be named to the public.
    named boolean NOT NULL,
    vote text NOT NULL CHECK (vote IN ('for', 'against', 'abstain')),
    reason text NOT NULL,
    at timestamptz NOT NULL,
    FOREIGN KEY (movement, version) REFERENCES hub.movement (id, version)
);

CREATE INDEX movement_vote_movement ON hub.movement_vote (movement, version, member, entry DESC);

CREATE FUNCTION hub.kept_for_ever() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION 'what happened to movements is kept for ever';
END
$$;

CREATE TRIGGER kept BEFORE UPDATE OR DELETE OR TRUNCATE ON hub.movement_step
FOR EACH STATEMENT EXECUTE FUNCTION hub.kept_for_ever();

CREATE TRIGGER kept BEFORE UPDATE OR DELETE OR TRUNCATE ON hub.movement_vote
FOR EACH STATEMENT EXECUTE FUNCTION hub.kept_for_ever();

CREATE TRIGGER inserted AFTER INSERT ON hub.movement_suspension
REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION hub.routing_changed();

CREATE TRIGGER deleted AFTER DELETE ON hub.movement_suspension
REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION hub.routing_changed();

-- The approved versions, each ending before the next one begins: on no day has a movement two.
CREATE VIEW hub.approved_movement AS
SELECT m.id, m.version, m.title, m.sender_kind, m.sender_party, m.recipients, m.types, m.purpose, m.legal_basis,
    m.content, m.frequency, m.classification, m.retention_days, m.active_from,
    LEAST(m.active_to, later.begins - 1) AS active_to,
    m.loaded_at
FROM hub.movement m
CROSS JOIN LATERAL (
    SELECT min(n.active_from) AS begins FROM hub.movement n
    WHERE n.id = m.id AND n.version > m.version AND n.state = 'approved'
) later
WHERE m.state = 'approved';

-- What may route on its days: approved and not suspended.
CREATE VIEW hub.routing_movement AS
SELECT a.* FROM hub.approved_movement a
WHERE NOT EXISTS (SELECT FROM hub.movement_suspension s WHERE s.movement = a.id);

-- The day on which agreements run is the domain clock's day in England.
CREATE VIEW hub.active_movement AS
SELECT r.*
FROM hub.routing_movement r, (SELECT (engines.domain_now() AT TIME ZONE 'Europe/London')::date AS today) clock
WHERE clock.today >= r.active_from AND (r.active_to IS NULL OR clock.today <= r.active_to);

-- One row a movement for those who ask by its id: the version that runs, or else the newest approved one.
CREATE VIEW hub.current_movement AS
SELECT DISTINCT ON (a.id) a.*, running.version IS NOT NULL AS active
FROM hub.approved_movement a
LEFT JOIN hub.active_movement running ON running.id = a.id AND running.version = a.version
ORDER BY a.id, running.version NULLS LAST, a.version DESC;
