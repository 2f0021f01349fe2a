-- Bodies too large for the database: one file for each content in the body store, named by its SHA-256.
-- A row here means that the file is there whole; a file without a row is litter that the sweeper takes away.
CREATE TABLE hub.stored_body (
    digest bytea PRIMARY KEY CHECK (length(digest) = 32),
    size bigint NOT NULL CHECK (size > 0),
    stored_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A body on its way in. How much has come is the length of its part file; once `stored_at` is set the digest is proved.
-- The same party asking for the same content again gets the same upload. Real time: uploads do not follow the domain clock.
CREATE TABLE hub.upload (
    id uuid PRIMARY KEY,
    party text NOT NULL,
    digest bytea NOT NULL CHECK (length(digest) = 32),
    size bigint NOT NULL CHECK (size > 0),
    expires_at timestamptz NOT NULL,
    stored_at timestamptz,
    UNIQUE (party, digest, size)
);

CREATE INDEX upload_expiry ON hub.upload (expires_at);

-- A letter's body is either in the row or in the store. The row of hub.body is the reference that keeps a stored file.
ALTER TABLE hub.body
    ALTER COLUMN body DROP NOT NULL,
    ADD COLUMN stored bytea REFERENCES hub.stored_body,
    ADD CHECK ((body IS NULL) <> (stored IS NULL));

CREATE INDEX body_stored ON hub.body (stored) WHERE stored IS NOT NULL;

ALTER TABLE hub.message ALTER COLUMN size TYPE bigint;
