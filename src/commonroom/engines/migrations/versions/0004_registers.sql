CREATE SCHEMA providers;
CREATE SCHEMA learners;

-- One row a file that was read: what it was and what it did. A file is known by its digest.
CREATE TABLE providers.load (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    file text NOT NULL,
    digest bytea NOT NULL,
    kind text NOT NULL,
    encoding text NOT NULL,
    file_date date NOT NULL,
    recorded_at timestamptz NOT NULL,
    issue_count integer NOT NULL DEFAULT 0,
    report jsonb
);

CREATE INDEX load_by_digest ON providers.load (digest);

CREATE TABLE providers.load_issue (
    load bigint NOT NULL REFERENCES providers.load ON DELETE CASCADE,
    number integer NOT NULL,
    line integer NOT NULL,
    record text NOT NULL,
    item text NOT NULL,
    effect text NOT NULL,
    reason text NOT NULL,
    remedy text NOT NULL,
    PRIMARY KEY (load, number)
);

-- Text as people search it: no accents, no apostrophes, no case, the usual short forms.
CREATE FUNCTION providers.plain(words text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN trim(
    regexp_replace(
        regexp_replace(
            ' ' || regexp_replace(
                regexp_replace(
                    lower(regexp_replace(normalize(coalesce(words, ''), NFKD), '[\u0300-\u036f''’‘`´.]', '', 'g')),
                    '[^a-z0-9]+', ' ', 'g'
                ),
                '\m(saint)\M', 'st', 'g'
            ) || ' ',
            ' (church of england|c of e|c e|ce) ', ' cofe ', 'g'
        ),
        '\m(and|the)\M ', '', 'g'
    )
);

CREATE FUNCTION providers.search_words(facts jsonb) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN array_to_tsvector(
    array_remove(
        string_to_array(
            providers.plain(
                concat_ws(
                    ' ',
                    facts ->> 'name', facts ->> 'town', facts ->> 'locality', facts ->> 'la_name',
                    facts ->> 'postcode', replace(facts ->> 'postcode', ' ', ''),
                    facts ->> 'urn', facts ->> 'ukprn', facts ->> 'laestab',
                    facts ->> 'la_code', facts ->> 'establishment_number', facts ->> 'group_uid', facts ->> 'group_id'
                )
            ),
            ' '
        ),
        ''
    )
);

-- An organisation as it is now. `scheme` and `value` are its natural key: urn, la, group or platform.
CREATE TABLE providers.organisation (
    id uuid PRIMARY KEY,
    scheme text NOT NULL,
    value text NOT NULL,
    kind text NOT NULL,
    facts jsonb NOT NULL,
    valid_from date NOT NULL,
    version bigint NOT NULL,
    last_seen date NOT NULL,
    name text GENERATED ALWAYS AS (facts ->> 'name') STORED,
    plain_name text GENERATED ALWAYS AS (providers.plain(facts ->> 'name')) STORED,
    is_open boolean GENERATED ALWAYS AS (coalesce(facts ->> 'status', 'Open') LIKE 'Open%') STORED,
    la_code text GENERATED ALWAYS AS (facts ->> 'la_code') STORED,
    region_code text GENERATED ALWAYS AS (facts ->> 'region_code') STORED,
    phase text GENERATED ALWAYS AS (facts ->> 'phase') STORED,
    pupils integer GENERATED ALWAYS AS ((facts ->> 'pupils')::integer) STORED,
    search tsvector GENERATED ALWAYS AS (providers.search_words(facts)) STORED,
    UNIQUE (scheme, value)
);

CREATE INDEX organisation_search ON providers.organisation USING gin (search);
CREATE INDEX organisation_by_la ON providers.organisation (la_code, kind);

-- Every state an organisation was known to have. `position` rises in the order of commit: loads hold one lock.
CREATE TABLE providers.version (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation uuid NOT NULL REFERENCES providers.organisation,
    kind text NOT NULL,
    valid_from date NOT NULL,
    recorded_at timestamptz NOT NULL,
    load bigint REFERENCES providers.load,
    line integer,
    facts jsonb NOT NULL,
    digest bytea NOT NULL
);

CREATE INDEX version_by_organisation ON providers.version (organisation, valid_from, position);

-- Numbers an organisation is or was known by. One LAESTAB or UKPRN may pass from a closed school to its successor.
CREATE TABLE providers.alias (
    scheme text NOT NULL,
    value text NOT NULL,
    organisation uuid NOT NULL REFERENCES providers.organisation,
    valid_from date NOT NULL,
    valid_to date,
    PRIMARY KEY (scheme, value, organisation)
);

CREATE INDEX alias_by_organisation ON providers.alias (organisation);

-- Predecessors, successors, mergers; by URN, because either side may be missing from a cut extract.
CREATE TABLE providers.link (
    urn text NOT NULL,
    link_urn text NOT NULL,
    link_type text NOT NULL,
    link_name text,
    established date,
    load bigint NOT NULL REFERENCES providers.load,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (urn, link_urn, link_type)
);

CREATE INDEX link_by_other ON providers.link (link_urn);

-- Which school joined which group (trust, federation, sponsor), by URN and group UID.
CREATE TABLE providers.membership (
    urn text NOT NULL,
    group_uid text NOT NULL,
    joined date,
    load bigint NOT NULL REFERENCES providers.load,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (urn, group_uid)
);

CREATE INDEX membership_by_group ON providers.membership (group_uid);

-- Ranges of versions told to the warehouse. The message id is fixed before the first attempt, so repeats are harmless.
CREATE TABLE providers.announcement (
    message uuid PRIMARY KEY,
    first_position bigint NOT NULL,
    last_position bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    accepted boolean NOT NULL DEFAULT false
);

CREATE INDEX announcement_waiting ON providers.announcement (first_position) WHERE NOT accepted;
CREATE INDEX announcement_last ON providers.announcement (last_position);

CREATE TABLE learners.learner (
    id uuid PRIMARY KEY,
    recorded_at timestamptz NOT NULL
);

-- The numbers by which a learner is known; our own id joins records, never what a sender typed.
CREATE TABLE learners.identifier (
    scheme text NOT NULL,
    value text NOT NULL,
    learner uuid NOT NULL REFERENCES learners.learner,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (scheme, value)
);

CREATE INDEX identifier_by_learner ON learners.identifier (learner);
