-- Files of learners that a provider has handed in, worked off in chunks. Gone a while after they are finished.
CREATE TABLE learners.batch (
    id uuid PRIMARY KEY,
    party text NOT NULL,
    person text,
    role text NOT NULL,
    purpose text NOT NULL,
    file_name text NOT NULL,
    form text NOT NULL CHECK (form IN ('csv', 'xml', 'ctf', 'census')),
    ukprn text,
    digest bytea NOT NULL,
    remarks text [] NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'finished', 'failed')),
    -- Why it failed, in words without personal data.
    reason text NOT NULL DEFAULT '',
    records integer NOT NULL,
    answered integer NOT NULL,
    counts jsonb NOT NULL DEFAULT '{}',
    submitted_at timestamptz NOT NULL DEFAULT engines.domain_now(),
    started_at timestamptz,
    finished_at timestamptz,
    -- The real clock: batches take turns, the one that has waited longest first.
    touched_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX batch_to_do ON learners.batch (touched_at) WHERE state IN ('waiting', 'running');
CREATE INDEX batch_by_party ON learners.batch (party, submitted_at);
CREATE INDEX batch_by_finish ON learners.batch (finished_at) WHERE finished_at IS NOT NULL;

-- A record and its answer. What has an answer is done: that is all that a batch remembers of how far it has come.
CREATE TABLE learners.batch_record (
    batch uuid NOT NULL REFERENCES learners.batch ON DELETE CASCADE,
    position integer NOT NULL,
    line integer NOT NULL,
    -- As it was sent, for the result file.
    sent jsonb NOT NULL,
    -- What is registered; none for a record that cannot be used.
    learner jsonb,
    code text,
    uln text,
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (batch, position)
);

CREATE INDEX batch_record_to_do ON learners.batch_record (batch, position) WHERE code IS NULL;

-- What a party calls a learner over SIF: a RefId of its own, that says nothing to others.
CREATE TABLE learners.sif_object (
    ref uuid PRIMARY KEY,
    party text NOT NULL,
    uln text NOT NULL,
    local_id text,
    UNIQUE (party, uln)
);

-- A party's queue of events: how far it has read, and the message that it was offered and has not deleted yet.
CREATE TABLE learners.sif_queue (
    id uuid PRIMARY KEY,
    party text NOT NULL,
    after_tx xid8 NOT NULL,
    after_person uuid NOT NULL,
    offered uuid,
    offered_tx xid8,
    offered_person uuid
);

-- The transaction that wrote a person last. Events are read in this order, and only behind the oldest one that is still
-- open: whatever commits later stands behind what was read. Times do not do: a clerk decides weeks after a registration.
ALTER TABLE learners.person ADD COLUMN changed_in xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX person_by_change ON learners.person (changed_in, id);

-- Why the sender of a registration may change the person and have everything: the first who registered him, the letter of
-- a school that tells of its pupil, a clerk who saw both records. Null: it only met somebody who was registered already.
ALTER TABLE learners.identity_link
ADD COLUMN holds_by text CHECK (holds_by IN ('first', 'letter', 'clerk'));
