-- Chalkstone: everything is an entry that is added and never changed. Learners are attributes with the day they took
-- effect, membership is a log of events with JSON details, registers are words, one table for each session, and a
-- wrong mark is followed by an amendment. Dates are yyyymmdd.

CREATE TABLE organisation (dfe_number TEXT NOT NULL, title TEXT NOT NULL);

CREATE TABLE learner_attribute (
    entry INTEGER PRIMARY KEY,
    learner TEXT NOT NULL,            -- the maker's own reference
    attribute TEXT NOT NULL,
    value TEXT NOT NULL,
    effective_on TEXT NOT NULL
);
CREATE INDEX learner_attribute_by_learner ON learner_attribute (learner, attribute, effective_on);

CREATE TABLE membership_event (
    entry INTEGER PRIMARY KEY,
    learner TEXT NOT NULL,
    stay TEXT NOT NULL,               -- the events of one stay share it
    kind TEXT NOT NULL,               -- admitted, left
    effective_on TEXT NOT NULL,
    detail TEXT NOT NULL              -- JSON: {"year": "7", "fullTime": "true"} or {"reason": "IM", "next": "990001"}
);
CREATE INDEX membership_event_by_stay ON membership_event (stay, kind);

CREATE TABLE register_am (
    taken_on TEXT NOT NULL,
    learner TEXT NOT NULL,
    mark TEXT NOT NULL,
    PRIMARY KEY (taken_on, learner)
) WITHOUT ROWID;

CREATE TABLE register_pm (
    taken_on TEXT NOT NULL,
    learner TEXT NOT NULL,
    mark TEXT NOT NULL,
    PRIMARY KEY (taken_on, learner)
) WITHOUT ROWID;

CREATE TABLE register_amendment (
    entry INTEGER PRIMARY KEY,
    taken_on TEXT NOT NULL,
    half TEXT NOT NULL,               -- am, pm
    learner TEXT NOT NULL,
    mark TEXT NOT NULL
);
CREATE INDEX register_amendment_by_mark ON register_amendment (taken_on, half, learner);

CREATE TABLE intake_announcement (
    entry INTEGER PRIMARY KEY,
    effective_on TEXT NOT NULL,
    detail TEXT NOT NULL              -- JSON: {"september": 2026, "year": "7", "seats": 120}
);

CREATE TABLE arrival (
    origin TEXT NOT NULL,
    upn TEXT NOT NULL,
    given TEXT,
    family TEXT,
    born TEXT,
    sex TEXT,
    ethnic TEXT,
    tongue TEXT,
    free_meals TEXT,
    support TEXT,
    home_line TEXT,
    home_town TEXT,
    home_postcode TEXT,
    uln TEXT,
    valid_from TEXT NOT NULL,
    record_version INTEGER NOT NULL,
    withdrawn INTEGER NOT NULL DEFAULT 0,
    sender TEXT,
    UNIQUE (origin, upn, valid_from)
);

CREATE TABLE arrival_stay (
    origin TEXT NOT NULL,
    upn TEXT NOT NULL,
    admitted_on TEXT NOT NULL,
    status TEXT,
    year TEXT,
    left_on TEXT,
    reason TEXT,
    next TEXT,
    part_time TEXT,
    valid_from TEXT NOT NULL,
    record_version INTEGER NOT NULL,
    withdrawn INTEGER NOT NULL DEFAULT 0,
    sender TEXT,
    UNIQUE (origin, upn, admitted_on, valid_from)
);

-- Numbers that the register of learners sent. Each becomes an attribute, from the day it holds or the learner's first.
CREATE TABLE arrival_number (
    organisation TEXT NOT NULL,
    upn TEXT NOT NULL,
    uln TEXT NOT NULL,
    former_uln TEXT,
    valid_from TEXT NOT NULL,
    record_version INTEGER NOT NULL,
    withdrawn INTEGER NOT NULL DEFAULT 0,
    sender TEXT,
    UNIQUE (organisation, upn, valid_from)
);
CREATE TRIGGER arrival_number_new AFTER INSERT ON arrival_number
WHEN NOT EXISTS (
    SELECT 1 FROM arrival_number WHERE upn = NEW.upn AND record_version > NEW.record_version
)
BEGIN
    INSERT INTO learner_attribute (learner, attribute, value, effective_on)
    SELECT named.learner, 'uln', NEW.uln, max(replace(NEW.valid_from, '-', ''), min(stated.effective_on))
    FROM learner_attribute AS named
    JOIN learner_attribute AS stated ON stated.learner = named.learner
    WHERE named.attribute = 'upn' AND named.value = NEW.upn AND NOT NEW.withdrawn
    GROUP BY named.learner;
END;
CREATE TRIGGER arrival_number_anew AFTER UPDATE ON arrival_number
WHEN NOT EXISTS (
    SELECT 1 FROM arrival_number WHERE upn = NEW.upn AND record_version > NEW.record_version
)
BEGIN
    INSERT INTO learner_attribute (learner, attribute, value, effective_on)
    SELECT named.learner, 'uln', NEW.uln, max(replace(NEW.valid_from, '-', ''), min(stated.effective_on))
    FROM learner_attribute AS named
    JOIN learner_attribute AS stated ON stated.learner = named.learner
    WHERE named.attribute = 'upn' AND named.value = NEW.upn AND NOT NEW.withdrawn
    GROUP BY named.learner;
END;
