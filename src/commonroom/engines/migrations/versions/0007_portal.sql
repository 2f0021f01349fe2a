CREATE SCHEMA IF NOT EXISTS portal;

-- The demonstration's sample sign-ins, shown on /demo. Production never writes here: its passwords exist only as hashes.
CREATE TABLE portal.sample_person (
    position bigint GENERATED ALWAYS AS IDENTITY,
    username text PRIMARY KEY,
    password text NOT NULL,
    role text NOT NULL,
    name text NOT NULL,
    sees text NOT NULL
);
