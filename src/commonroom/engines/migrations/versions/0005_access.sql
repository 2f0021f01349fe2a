CREATE SCHEMA access;

-- Who read what, why: one row per read of a protected dataset. Never the rows themselves.
CREATE TABLE access.audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT engines.domain_now(),
    principal_kind text NOT NULL,
    principal text NOT NULL,
    role text NOT NULL,
    party text,
    dataset text NOT NULL,
    purpose text NOT NULL,
    rows bigint NOT NULL CHECK (rows >= 0)
);

CREATE INDEX audit_by_dataset ON access.audit (dataset, at);
CREATE INDEX audit_by_party ON access.audit (party, at);
