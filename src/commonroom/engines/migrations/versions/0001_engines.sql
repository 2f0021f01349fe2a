CREATE SCHEMA engines;

-- The domain clock: what the day is for windows, deadlines and retention. Leases and tokens use the real clock.
CREATE TABLE engines.domain_clock (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    ahead interval NOT NULL DEFAULT '0'
);

INSERT INTO engines.domain_clock DEFAULT VALUES;

CREATE FUNCTION engines.domain_now() RETURNS timestamptz
LANGUAGE sql STABLE
AS $$ SELECT clock_timestamp() + ahead FROM engines.domain_clock $$;
