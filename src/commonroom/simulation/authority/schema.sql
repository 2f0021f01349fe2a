-- The store of a local authority: what its schools send, the whole history of it. `record_version` decides which of
-- two arrivals is the later; a withdrawn record stays with its mark.

CREATE TABLE learner (
    school TEXT NOT NULL,
    upn TEXT NOT NULL,
    given_name TEXT,
    family_name TEXT,
    date_of_birth TEXT,
    sex TEXT,
    ethnicity TEXT,
    language TEXT,
    fsm INTEGER,
    sen_provision TEXT,
    address_line1 TEXT,
    town TEXT,
    postcode TEXT,
    uln TEXT,
    valid_from TEXT NOT NULL,
    record_version INTEGER NOT NULL,
    withdrawn INTEGER NOT NULL DEFAULT 0,
    sender TEXT,
    UNIQUE (school, upn, valid_from)
);

CREATE TABLE enrolment (
    school TEXT NOT NULL,
    upn TEXT NOT NULL,
    entry_date TEXT NOT NULL,
    enrolment_status TEXT,
    nc_year TEXT,
    leaving_date TEXT,
    leaving_reason TEXT,
    destination TEXT,
    part_time INTEGER,
    valid_from TEXT NOT NULL,
    record_version INTEGER NOT NULL,
    withdrawn INTEGER NOT NULL DEFAULT 0,
    sender TEXT,
    UNIQUE (school, upn, entry_date, valid_from)
);

CREATE TABLE attendance_mark (
    school TEXT NOT NULL,
    upn TEXT NOT NULL,
    date TEXT NOT NULL,
    session TEXT NOT NULL,
    code TEXT,
    valid_from TEXT NOT NULL,
    record_version INTEGER NOT NULL,
    withdrawn INTEGER NOT NULL DEFAULT 0,
    sender TEXT,
    UNIQUE (school, upn, date, session, valid_from)
);

CREATE TABLE admission_number (
    school TEXT NOT NULL,
    admission_year TEXT NOT NULL,
    nc_year TEXT NOT NULL,
    published_number INTEGER,
    applications INTEGER,
    admitted INTEGER,
    valid_from TEXT NOT NULL,
    record_version INTEGER NOT NULL,
    withdrawn INTEGER NOT NULL DEFAULT 0,
    sender TEXT,
    UNIQUE (school, admission_year, nc_year, valid_from)
);
