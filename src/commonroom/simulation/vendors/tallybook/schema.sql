-- Tallybook: a normalised system of the nineties. Whole-number codes, a history table for everything that changes,
-- and session dates as day numbers counted from 30 December 1899.

CREATE TABLE establishment (
    establishment_id INTEGER PRIMARY KEY,
    dfe_number TEXT NOT NULL,
    name TEXT NOT NULL
);

CREATE TABLE ethnic_group (ethnic_group_id INTEGER PRIMARY KEY, census_code TEXT NOT NULL UNIQUE);
INSERT INTO ethnic_group (census_code) VALUES
    ('WBRI'), ('WIRI'), ('WIRT'), ('WOTH'), ('WROM'), ('MWBC'), ('MWBA'), ('MWAS'), ('MOTH'), ('AIND'),
    ('APKN'), ('ABAN'), ('AOTH'), ('BCRB'), ('BAFR'), ('BOTH'), ('CHNE'), ('OOTH'), ('REFU'), ('NOBT');

CREATE TABLE mark_code (mark_code_id INTEGER PRIMARY KEY, letter TEXT NOT NULL UNIQUE);
INSERT INTO mark_code (letter) VALUES
    ('/'), ('\'), ('L'), ('K'), ('V'), ('P'), ('W'), ('B'), ('C'), ('C1'), ('C2'), ('E'), ('I'), ('J1'), ('M'), ('R'),
    ('S'), ('T'), ('G'), ('N'), ('O'), ('U'), ('D'), ('X'), ('Q'), ('Y1'), ('Y2'), ('Y3'), ('Y4'), ('Y5'), ('Y6'),
    ('Y7'), ('Z'), ('#');

CREATE TABLE person (
    person_id INTEGER PRIMARY KEY,
    upn TEXT NOT NULL UNIQUE,
    uln TEXT,
    forename TEXT NOT NULL,
    surname TEXT NOT NULL,
    born TEXT NOT NULL,               -- 2015-03-01 00:00:00
    gender_id INTEGER NOT NULL,       -- 1 male, 2 female
    ethnic_group_id INTEGER NOT NULL REFERENCES ethnic_group,
    first_language TEXT NOT NULL
);

CREATE TABLE address_history (
    person_id INTEGER NOT NULL REFERENCES person,
    start_date TEXT NOT NULL,
    end_date TEXT,                    -- the last day at this address
    line_1 TEXT NOT NULL,
    town TEXT NOT NULL,
    postcode TEXT NOT NULL,
    PRIMARY KEY (person_id, start_date)
) WITHOUT ROWID;

CREATE TABLE free_meal_history (
    person_id INTEGER NOT NULL REFERENCES person,
    start_date TEXT NOT NULL,
    end_date TEXT,
    PRIMARY KEY (person_id, start_date)
) WITHOUT ROWID;

CREATE TABLE sen_history (
    person_id INTEGER NOT NULL REFERENCES person,
    start_date TEXT NOT NULL,
    stage INTEGER NOT NULL,           -- 0 none, 1 support, 2 plan
    PRIMARY KEY (person_id, start_date)
) WITHOUT ROWID;

CREATE TABLE stay (
    stay_id INTEGER PRIMARY KEY,
    person_id INTEGER NOT NULL REFERENCES person,
    admitted TEXT NOT NULL,
    left_on TEXT,
    leaving_reason TEXT,
    next_school INTEGER,              -- URN
    registration INTEGER NOT NULL,    -- 1 single
    year_group INTEGER NOT NULL,      -- -2 and -1 nursery, 0 reception, 99 none
    half_days INTEGER NOT NULL,       -- 1 part-time
    UNIQUE (person_id, admitted)
);

CREATE TABLE session_mark (
    session_day INTEGER NOT NULL,     -- days since 30 December 1899
    half INTEGER NOT NULL,            -- 1 morning, 2 afternoon
    person_id INTEGER NOT NULL REFERENCES person,
    mark_code_id INTEGER NOT NULL REFERENCES mark_code,
    PRIMARY KEY (session_day, half, person_id)
) WITHOUT ROWID;

CREATE TABLE intake (
    opens INTEGER NOT NULL,           -- in September of this year
    year_group INTEGER NOT NULL,
    seats INTEGER NOT NULL,
    announced_on TEXT NOT NULL,
    PRIMARY KEY (opens, year_group, announced_on)
) WITHOUT ROWID;

-- What other schools sent about pupils who come here.
CREATE TABLE incoming_person (
    from_school TEXT NOT NULL,
    upn TEXT NOT NULL,
    forename TEXT,
    surname TEXT,
    born TEXT,
    gender TEXT,
    ethnic_group TEXT,
    first_language TEXT,
    free_meals INTEGER,
    sen TEXT,
    line_1 TEXT,
    town TEXT,
    postcode TEXT,
    uln TEXT,
    valid_from TEXT NOT NULL,
    record_version INTEGER NOT NULL,
    withdrawn INTEGER NOT NULL DEFAULT 0,
    sender TEXT,
    UNIQUE (from_school, upn, valid_from)
);

CREATE TABLE incoming_stay (
    from_school TEXT NOT NULL,
    upn TEXT NOT NULL,
    admitted TEXT NOT NULL,
    registration TEXT,
    year_group TEXT,
    left_on TEXT,
    leaving_reason TEXT,
    next_school TEXT,
    half_days INTEGER,
    valid_from TEXT NOT NULL,
    record_version INTEGER NOT NULL,
    withdrawn INTEGER NOT NULL DEFAULT 0,
    sender TEXT,
    UNIQUE (from_school, upn, admitted, valid_from)
);

-- Numbers that the register of learners sent. The program keeps the newest with the person.
CREATE TABLE incoming_number (
    for_school TEXT NOT NULL,
    upn TEXT NOT NULL,
    uln TEXT NOT NULL,
    former_uln TEXT,
    valid_from TEXT NOT NULL,
    record_version INTEGER NOT NULL,
    withdrawn INTEGER NOT NULL DEFAULT 0,
    sender TEXT,
    UNIQUE (for_school, upn, valid_from)
);
CREATE TRIGGER number_came AFTER INSERT ON incoming_number
BEGIN
    UPDATE person SET uln = (
        SELECT uln FROM incoming_number WHERE upn = NEW.upn AND NOT withdrawn ORDER BY record_version DESC LIMIT 1
    ) WHERE upn = NEW.upn;
END;
CREATE TRIGGER number_came_anew AFTER UPDATE ON incoming_number
BEGIN
    UPDATE person SET uln = (
        SELECT uln FROM incoming_number WHERE upn = NEW.upn AND NOT withdrawn ORDER BY record_version DESC LIMIT 1
    ) WHERE upn = NEW.upn;
END;
