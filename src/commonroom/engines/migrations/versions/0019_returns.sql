CREATE SCHEMA returns;

-- What a party owes to one collection of one year, sent or not.
CREATE TABLE returns.return (
    id uuid PRIMARY KEY,
    collection text NOT NULL,
    year integer NOT NULL,
    party text NOT NULL,
    -- Who checks it before the collector; none for an academy.
    approver text,
    state text NOT NULL,
    -- Rises with everything that is done to it: who acts on an older one is told so.
    revision bigint NOT NULL DEFAULT 1,
    version integer,
    opened_at timestamptz NOT NULL,
    UNIQUE (collection, year, party)
);

CREATE INDEX return_by_party ON returns.return (party);
CREATE INDEX return_by_approver ON returns.return (approver);

-- A version of the content: a file that was sent, or one made from the record. The content itself lies in the data
-- folder under its digest.
CREATE TABLE returns.version (
    return uuid NOT NULL REFERENCES returns.return,
    number integer NOT NULL,
    kind text NOT NULL CHECK (kind IN ('file', 'live')),
    file_name text,
    file_digest text,
    content text NOT NULL,
    -- The declarations it was checked by.
    rules text NOT NULL,
    records bigint NOT NULL,
    modules jsonb NOT NULL,
    outcomes jsonb NOT NULL,
    reasons jsonb NOT NULL,
    errors bigint NOT NULL,
    queries bigint NOT NULL,
    -- What the live record was known to be when it was made from it.
    known_at timestamptz,
    made_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    who text NOT NULL,
    -- The message that tells it to the centre, and what became of that.
    message uuid NOT NULL,
    told text NOT NULL DEFAULT 'not sent' CHECK (told IN ('not sent', 'waiting', 'posted', 'taken', 'refused')),
    told_reason text NOT NULL DEFAULT '',
    PRIMARY KEY (return, number)
);

CREATE UNIQUE INDEX version_by_message ON returns.version (message);
CREATE INDEX version_waiting ON returns.version (recorded_at) WHERE told = 'waiting';
CREATE INDEX version_by_content ON returns.version (content);

-- `key` is the same for the same finding in every version, whatever the values; `values` is what was found. Both are
-- hashes with a key of the installation: they tell nothing to who reads them.
CREATE TABLE returns.finding (
    return uuid NOT NULL,
    version integer NOT NULL,
    number integer NOT NULL,
    key bytea NOT NULL,
    values bytea NOT NULL,
    rule text NOT NULL,
    severity text NOT NULL CHECK (severity IN ('error', 'query')),
    -- The authority whose own rule it is.
    local text,
    reason_kind text CHECK (reason_kind IN ('confirm', 'explain')),
    message text NOT NULL,
    locations jsonb NOT NULL,
    PRIMARY KEY (return, version, number),
    FOREIGN KEY (return, version) REFERENCES returns.version (return, number)
);

CREATE INDEX finding_by_key ON returns.finding (return, version, key);

-- What people say of findings. Nothing is changed: the newest of a key counts.
CREATE TABLE returns.note (
    entry bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    return uuid NOT NULL REFERENCES returns.return,
    key bytea NOT NULL,
    values bytea NOT NULL,
    version integer NOT NULL,
    kind text NOT NULL CHECK (kind IN ('confirmed', 'explained', 'ok')),
    note text NOT NULL,
    who text NOT NULL,
    role text NOT NULL,
    at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX note_by_key ON returns.note (return, key, entry);

-- Every step of every return, for ever.
CREATE TABLE returns.step (
    entry bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    return uuid NOT NULL REFERENCES returns.return,
    step text NOT NULL,
    from_state text NOT NULL,
    to_state text NOT NULL,
    version integer,
    who text NOT NULL,
    role text NOT NULL,
    on_behalf_of text,
    reason text NOT NULL,
    at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX step_by_return ON returns.step (return, entry);

-- What was authorised, as it lies in the warehouse's folder.
CREATE TABLE returns.frozen (
    return uuid PRIMARY KEY REFERENCES returns.return,
    version integer NOT NULL,
    content text NOT NULL,
    folder text NOT NULL,
    rules text NOT NULL,
    known_at timestamptz NOT NULL,
    frozen_at timestamptz NOT NULL
);

-- Rules of an authority for the returns of its own schools, as written.
CREATE TABLE returns.local_rules (
    authority text NOT NULL,
    collection text NOT NULL,
    name text NOT NULL,
    file text NOT NULL,
    rules integer NOT NULL,
    who text NOT NULL,
    added_at timestamptz NOT NULL,
    PRIMARY KEY (authority, collection, name)
);

-- Reminders sent: each once.
CREATE TABLE returns.reminder (
    return uuid NOT NULL REFERENCES returns.return,
    kind text NOT NULL,
    message uuid NOT NULL,
    posted boolean NOT NULL DEFAULT false,
    at timestamptz NOT NULL,
    PRIMARY KEY (return, kind)
);

CREATE FUNCTION returns.kept_for_ever() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION 'what happened to returns is kept for ever';
END
$$;

CREATE TRIGGER kept BEFORE UPDATE OR DELETE OR TRUNCATE ON returns.step
FOR EACH STATEMENT EXECUTE FUNCTION returns.kept_for_ever();

CREATE TRIGGER kept BEFORE UPDATE OR DELETE OR TRUNCATE ON returns.note
FOR EACH STATEMENT EXECUTE FUNCTION returns.kept_for_ever();

-- Findings of every version with what is said of them. A note counts when it was written of these very values; one of
-- earlier values stays to be read and answers nothing.
CREATE VIEW returns.answered_finding AS
SELECT f.*,
    note.kind AS note_kind, note.note, note.who AS note_who, note.at AS note_at, note.version AS note_version,
    coalesce(note.values = f.values, false) AS note_counts,
    coalesce(ok.values = f.values, false) AS is_ok
FROM returns.finding f
LEFT JOIN LATERAL (
    SELECT n.* FROM returns.note n
    WHERE n.return = f.return AND n.key = f.key AND n.kind <> 'ok' ORDER BY n.entry DESC LIMIT 1
) note ON true
LEFT JOIN LATERAL (
    SELECT n.values FROM returns.note n
    WHERE n.return = f.return AND n.key = f.key AND n.kind = 'ok' ORDER BY n.entry DESC LIMIT 1
) ok ON true;
