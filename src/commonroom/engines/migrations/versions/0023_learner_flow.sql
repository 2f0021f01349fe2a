-- What schools told of their pupils in letters, each day from which something holds; the details are kept as they came.
CREATE TABLE learners.told (
    school text NOT NULL,
    upn text NOT NULL,
    valid_from date NOT NULL,
    version bigint NOT NULL,
    -- Null: withdrawn.
    details jsonb,
    -- The first day of the school year in which the pupil becomes 14.
    due_on date,
    PRIMARY KEY (school, upn, valid_from)
);

-- Where each pupil of each school stands: waiting for the age, submitted, numbered.
CREATE TABLE learners.pupil (
    school text NOT NULL,
    upn text NOT NULL,
    -- To whom the number is sent.
    party text NOT NULL,
    -- As told last; null once every telling is withdrawn.
    details jsonb,
    due_on date,
    -- The school says that it is time now.
    early boolean NOT NULL DEFAULT false,
    -- A digest of the details, and of those that were submitted last.
    digest bytea,
    submitted bytea,
    -- The registration whose link says who this is.
    registration uuid,
    -- What the school was told last, and how many times.
    uln text,
    since date,
    version integer NOT NULL DEFAULT 0,
    -- Something failed with this school's pupils: not before this moment of the real clock again.
    held_until timestamptz,
    PRIMARY KEY (school, upn)
);

CREATE INDEX pupil_to_submit ON learners.pupil (due_on)
WHERE digest IS NOT NULL AND submitted IS DISTINCT FROM digest;
CREATE UNIQUE INDEX pupil_by_registration ON learners.pupil (registration) WHERE registration IS NOT NULL;

-- Registrations of pupils whose link was written anew: decided by a clerk, merged, or a merge undone.
CREATE TABLE learners.relinked (registration uuid PRIMARY KEY);

CREATE FUNCTION learners.note_relinked() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO learners.relinked (registration)
    SELECT DISTINCT link.registration
    FROM new_links AS link
    JOIN learners.pupil AS pupil ON pupil.registration = link.registration
    ORDER BY link.registration
    ON CONFLICT (registration) DO NOTHING;
    RETURN NULL;
END
$$;

CREATE TRIGGER relinked AFTER INSERT ON learners.identity_link
REFERENCING NEW TABLE AS new_links
FOR EACH STATEMENT EXECUTE FUNCTION learners.note_relinked();

-- Letters that were taken: one that comes again changes nothing.
CREATE TABLE learners.taken (
    sender text NOT NULL,
    message text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (sender, message)
);

CREATE INDEX taken_by_time ON learners.taken (at);

-- Letters to schools, written with the numbers in them; the bodies go once the hub has them.
CREATE TABLE learners.number_letter (
    message uuid PRIMARY KEY,
    recipient text NOT NULL,
    dataschema text NOT NULL,
    records integer NOT NULL,
    body bytea,
    accepted boolean NOT NULL DEFAULT false,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX number_letter_waiting ON learners.number_letter (at) WHERE NOT accepted;
