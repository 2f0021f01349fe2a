-- One key of a learner for all rooms. A learner is here from the first time a UPN is met; he is a person of the register
-- (below, by the same id) once he has a number. `same_as`: found to be that learner; the key itself stays good.
ALTER TABLE learners.learner ADD COLUMN same_as uuid REFERENCES learners.learner;

INSERT INTO learners.learner (id, recorded_at)
SELECT learner_id, engines.domain_now() FROM warehouse.learner_key
ON CONFLICT (id) DO NOTHING;

-- Facts carry the warehouse's key: where both rooms gave one to a UPN, that is the one that stays.
UPDATE learners.learner l
SET same_as = k.learner_id
FROM learners.identifier i
JOIN warehouse.learner_key k ON k.upn = i.value
WHERE i.scheme = 'upn' AND i.learner = l.id AND k.learner_id <> l.id;

INSERT INTO learners.identifier (scheme, value, learner, recorded_at)
SELECT 'upn', upn, learner_id, engines.domain_now() FROM warehouse.learner_key
ON CONFLICT (scheme, value) DO UPDATE SET learner = excluded.learner;

DROP TABLE warehouse.learner_key;

-- The learner that a key stands for now.
CREATE FUNCTION learners.current(learner uuid) RETURNS uuid
LANGUAGE sql STABLE
RETURN (
    WITH RECURSIVE step (id, same_as) AS (
        SELECT l.id, l.same_as FROM learners.learner l WHERE l.id = current.learner
        UNION ALL
        SELECT l.id, l.same_as FROM step JOIN learners.learner l ON l.id = step.same_as
    )
    SELECT step.id FROM step WHERE step.same_as IS NULL
);

-- The counter behind the numbers; which of them it becomes is the key's secret.
CREATE SEQUENCE learners.uln_counter AS bigint MINVALUE 0 START 0 MAXVALUE 899999999 NO CYCLE;

-- Which key gave the numbers of this database. With another one a number could be met twice.
CREATE TABLE learners.numbering (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    fingerprint bytea NOT NULL,
    first_used_at timestamptz NOT NULL
);

-- What was said about a learner, as it was sent, for ever: registrations, and changes addressed to a number.
CREATE TABLE learners.registration (
    id uuid PRIMARY KEY,
    entry bigint GENERATED ALWAYS AS IDENTITY,
    kind text NOT NULL CHECK (kind IN ('registration', 'change')),
    party text NOT NULL,
    person text,
    purpose text NOT NULL,
    sent json NOT NULL,
    at timestamptz NOT NULL
);

-- Whom it is about. The newest link of a registration counts; a merge and its undoing write new ones.
CREATE TABLE learners.identity_link (
    entry bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    registration uuid NOT NULL,
    person uuid NOT NULL,
    decided_by text NOT NULL,
    weight real,
    parts json,
    model text,
    guard text,
    -- Set while the registration is here because of a merge.
    merge uuid,
    at timestamptz NOT NULL
);

CREATE INDEX identity_link_by_registration ON learners.identity_link (registration);
CREATE INDEX identity_link_by_person ON learners.identity_link (person);
CREATE INDEX identity_link_by_merge ON learners.identity_link (merge) WHERE merge IS NOT NULL;

-- What the registrations linked to a person say together: written anew from them whenever a link changes.
CREATE TABLE learners.person (
    id uuid PRIMARY KEY,
    uln text NOT NULL,
    -- The numbers that are linked to that one, as in learners.uln.
    linked text [] NOT NULL DEFAULT '{}',
    version integer NOT NULL,
    -- As the matcher sees a person: current details, former names, postcodes and UPNs.
    known json NOT NULL,
    -- The other current items, and the histories of names, postcodes and UPNs with dates.
    more json NOT NULL,
    -- The parties whose registrations are linked.
    registered_by text [] NOT NULL,
    blocks bigint [] NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE INDEX person_by_update ON learners.person (updated_at);

-- Every number ever given. One that is linked stands for the active one of its person.
CREATE TABLE learners.uln (
    number text PRIMARY KEY CHECK (number ~ '^[1-9][0-9]{9}$' AND number <> '9999999999'),
    person uuid NOT NULL,
    status text NOT NULL CHECK (status IN ('active', 'linked')),
    issued_at timestamptz NOT NULL
);

CREATE INDEX uln_by_person ON learners.uln (person);

-- Persons by the hashes of their block keys. Two keys of one hash only cost a comparison.
CREATE TABLE learners.block (
    key bigint NOT NULL,
    person uuid NOT NULL,
    PRIMARY KEY (key, person)
);

-- What clerks decided about exactly these details (by fingerprint): this person, or not.
CREATE TABLE learners.marker (
    fingerprint bytea NOT NULL,
    person uuid NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('same', 'different')),
    review uuid NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (fingerprint, person)
);

-- Pairs of persons that are two: never asked about again. The smaller id stands first.
CREATE TABLE learners.apart (
    one uuid NOT NULL,
    other uuid NOT NULL CHECK (one < other),
    review uuid NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (one, other)
);

-- What a clerk is to decide.
CREATE TABLE learners.review (
    id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('registration', 'pair', 'challenge')),
    registration uuid,
    person uuid,
    party text NOT NULL,
    sent json NOT NULL,
    candidates json NOT NULL,
    guard text,
    model text NOT NULL,
    -- Of the details sent: the same ones sent again wait for the same case.
    fingerprint bytea,
    clerks smallint NOT NULL,
    note text NOT NULL DEFAULT '',
    -- Verdicts up to this entry were about other candidates.
    asked_after bigint NOT NULL DEFAULT 0,
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    outcome text,
    decided_person uuid
);

CREATE INDEX review_open ON learners.review (opened_at, id) WHERE closed_at IS NULL;
CREATE INDEX review_by_fingerprint ON learners.review (fingerprint) WHERE closed_at IS NULL;
CREATE UNIQUE INDEX review_by_registration ON learners.review (registration) WHERE registration IS NOT NULL;
CREATE INDEX review_by_person ON learners.review (person) WHERE person IS NOT NULL AND closed_at IS NULL;

-- Verdicts are labels too: from them the weights are learned anew.
CREATE TABLE learners.verdict (
    entry bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    review uuid NOT NULL REFERENCES learners.review,
    clerk text NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('same', 'different', 'cannot_tell')),
    person uuid,
    at timestamptz NOT NULL
);

CREATE INDEX verdict_by_review ON learners.verdict (review);

CREATE TABLE learners.merge (
    id uuid PRIMARY KEY,
    master uuid NOT NULL,
    linked uuid NOT NULL,
    -- The numbers that stood for `linked` and now stand for `master`; the first was its active one.
    numbers text [] NOT NULL,
    decided_by text NOT NULL,
    at timestamptz NOT NULL
);

CREATE INDEX merge_by_linked ON learners.merge (linked);

CREATE TABLE learners.unmerge (
    merge uuid PRIMARY KEY REFERENCES learners.merge,
    decided_by text NOT NULL,
    at timestamptz NOT NULL
);

-- Every look-up and every change: who, why, what kind, what came of it. `learner` is our id, and all it says of him.
CREATE TABLE learners.look_up (
    entry bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT engines.domain_now(),
    party text NOT NULL,
    person text,
    role text NOT NULL,
    purpose text NOT NULL,
    action text NOT NULL,
    outcome text NOT NULL,
    learner uuid
);

CREATE INDEX look_up_by_time ON learners.look_up (at);
CREATE INDEX look_up_by_learner ON learners.look_up (learner, at) WHERE learner IS NOT NULL;

-- A caller that looks more than its kind does, or finds suspiciously much or little.
CREATE TABLE learners.alarm (
    party text NOT NULL,
    kind text NOT NULL,
    since timestamptz NOT NULL,
    role text NOT NULL,
    look_ups bigint NOT NULL,
    found bigint NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (party, kind, since)
);

-- Whose a learner is, for access: each party that registered him, with the authority of that party. One that has none,
-- such as an authority itself, stands for itself.
CREATE VIEW learners.registered AS
SELECT p.id AS learner, registered.party, coalesce(r.other, registered.party) AS authority
FROM learners.person p
CROSS JOIN LATERAL unnest(p.registered_by) AS registered (party)
LEFT JOIN hub.relation r ON r.party = registered.party AND r.role = 'its local authority';

CREATE FUNCTION learners.kept_for_ever() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION 'what was said and decided about learners is kept for ever';
END
$$;

CREATE TRIGGER kept BEFORE UPDATE OR DELETE OR TRUNCATE ON learners.registration
FOR EACH STATEMENT EXECUTE FUNCTION learners.kept_for_ever();

CREATE TRIGGER kept BEFORE UPDATE OR DELETE OR TRUNCATE ON learners.identity_link
FOR EACH STATEMENT EXECUTE FUNCTION learners.kept_for_ever();

CREATE TRIGGER kept BEFORE UPDATE OR DELETE OR TRUNCATE ON learners.verdict
FOR EACH STATEMENT EXECUTE FUNCTION learners.kept_for_ever();

CREATE TRIGGER kept BEFORE UPDATE OR DELETE OR TRUNCATE ON learners.merge
FOR EACH STATEMENT EXECUTE FUNCTION learners.kept_for_ever();

CREATE TRIGGER kept BEFORE UPDATE OR DELETE OR TRUNCATE ON learners.unmerge
FOR EACH STATEMENT EXECUTE FUNCTION learners.kept_for_ever();

CREATE TRIGGER kept BEFORE UPDATE OR DELETE OR TRUNCATE ON learners.look_up
FOR EACH STATEMENT EXECUTE FUNCTION learners.kept_for_ever();
