-- Extracts: who asked for what and why, every step with who took it, and what was frozen. The files lie in the data folder.
CREATE TABLE warehouse.extract (
    name text PRIMARY KEY,
    requester text NOT NULL,
    declaration jsonb NOT NULL,
    digest text NOT NULL,
    state text NOT NULL CHECK (state IN ('requested', 'refused', 'approved', 'frozen', 'expired')),
    known_at timestamptz,
    manifest jsonb,
    CHECK ((state IN ('frozen', 'expired')) = (manifest IS NOT NULL AND known_at IS NOT NULL))
);

CREATE TABLE warehouse.extract_step (
    extract text NOT NULL REFERENCES warehouse.extract,
    number integer NOT NULL,
    step text NOT NULL,
    who text NOT NULL,
    why text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (extract, number)
);
