-- The parts of a version that the centre has taken in, as records of the standard; the bodies lie in the data folder.
CREATE TABLE returns.part (
    version_message uuid NOT NULL,
    part integer NOT NULL,
    parts integer NOT NULL CHECK (part BETWEEN 1 AND parts),
    sender text NOT NULL,
    message text NOT NULL,
    records bigint NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (version_message, part)
);
