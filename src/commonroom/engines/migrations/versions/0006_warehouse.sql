CREATE SCHEMA warehouse;

-- Our own key of a learner, given before any fact that names the pupil is written.
CREATE TABLE warehouse.learner_key (
    upn text PRIMARY KEY CHECK (length(upn) <= 32),
    learner_id uuid NOT NULL UNIQUE
);

-- The newest row is the head: the table versions that readers may read. Batches are numbered without gaps.
CREATE TABLE warehouse.head (
    number bigint PRIMARY KEY,
    batch uuid NOT NULL UNIQUE,
    position bigint NOT NULL,
    tables jsonb NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT engines.domain_now()
);

-- What was wrong with a letter or with a record in it. `key` and `value` may be personal: readers go through policies.
CREATE TABLE warehouse.finding (
    message text NOT NULL,
    ordinal integer NOT NULL,
    sender text NOT NULL,
    position bigint NOT NULL,
    refused boolean NOT NULL,
    severity text NOT NULL,
    rule text NOT NULL,
    entity text NOT NULL,
    record integer,
    key jsonb NOT NULL,
    item text,
    value text,
    message_text text NOT NULL,
    remedy text NOT NULL,
    found_at timestamptz NOT NULL DEFAULT engines.domain_now(),
    PRIMARY KEY (message, ordinal)
);

CREATE INDEX finding_by_sender ON warehouse.finding (sender, found_at);
