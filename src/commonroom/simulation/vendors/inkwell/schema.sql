-- Inkwell: one wide table of pupils and one row for each pupil and week, as a spreadsheet would have it. Dates are
-- dd/mm/yyyy, nothing is NULL, and what changes is written over: only the present state is kept.

CREATE TABLE SCHOOL (DfENumber TEXT NOT NULL, SchoolName TEXT NOT NULL);

CREATE TABLE PUPILS (
    UPN TEXT PRIMARY KEY,
    ULN TEXT NOT NULL DEFAULT '',
    Forename TEXT NOT NULL,
    Surname TEXT NOT NULL,
    DOB TEXT NOT NULL,
    Gender TEXT NOT NULL,             -- Male, Female
    EthnicCode TEXT NOT NULL,
    LanguageCode TEXT NOT NULL,
    FreeMeals TEXT NOT NULL,          -- Y, N
    SENStage TEXT NOT NULL,           -- No SEN, SEN Support, EHC Plan
    Address TEXT NOT NULL,
    Town TEXT NOT NULL,
    PostCode TEXT NOT NULL,
    YearGroup TEXT NOT NULL,          -- Nursery 1, Reception, Year 7, Ungraded
    PartTime TEXT NOT NULL,
    DateOfEntry TEXT NOT NULL,
    DateOfLeaving TEXT NOT NULL DEFAULT '',
    LeavingCode TEXT NOT NULL DEFAULT '',
    NextSchool TEXT NOT NULL DEFAULT '',  -- URN
    LastAmended TEXT NOT NULL
) WITHOUT ROWID;

-- Marks holds ten characters: Monday morning, Monday afternoon ... Friday afternoon; a full stop is "no register yet".
CREATE TABLE WEEKLY_REGISTER (
    UPN TEXT NOT NULL,
    WeekBeginning TEXT NOT NULL,
    Marks TEXT NOT NULL,
    PRIMARY KEY (UPN, WeekBeginning)
) WITHOUT ROWID;

CREATE TABLE ADMISSION_LIMITS (
    AcademicYear TEXT NOT NULL,       -- 2026-2027
    YearGroup TEXT NOT NULL,
    Places INTEGER NOT NULL,
    LastAmended TEXT NOT NULL,
    PRIMARY KEY (AcademicYear, YearGroup)
) WITHOUT ROWID;

CREATE TABLE TRANSFER_IN (
    SendingSchool TEXT NOT NULL,
    UPN TEXT NOT NULL,
    Forename TEXT,
    Surname TEXT,
    DOB TEXT,
    Gender TEXT,
    EthnicCode TEXT,
    LanguageCode TEXT,
    FreeMeals INTEGER,
    SENStage TEXT,
    Address TEXT,
    Town TEXT,
    PostCode TEXT,
    ULN TEXT,
    valid_from TEXT NOT NULL,
    record_version INTEGER NOT NULL,
    withdrawn INTEGER NOT NULL DEFAULT 0,
    sender TEXT,
    UNIQUE (SendingSchool, UPN, valid_from)
);

CREATE TABLE TRANSFER_IN_ENTRY (
    SendingSchool TEXT NOT NULL,
    UPN TEXT NOT NULL,
    DateOfEntry TEXT NOT NULL,
    Status TEXT,
    YearGroup TEXT,
    DateOfLeaving TEXT,
    LeavingCode TEXT,
    NextSchool TEXT,
    PartTime INTEGER,
    valid_from TEXT NOT NULL,
    record_version INTEGER NOT NULL,
    withdrawn INTEGER NOT NULL DEFAULT 0,
    sender TEXT,
    UNIQUE (SendingSchool, UPN, DateOfEntry, valid_from)
);

-- Numbers that the register of learners sent. The newest is written into the pupil's row, which counts as no amendment.
CREATE TABLE ULN_IN (
    School TEXT NOT NULL,
    UPN TEXT NOT NULL,
    ULN TEXT NOT NULL,
    FormerULN TEXT,
    valid_from TEXT NOT NULL,
    record_version INTEGER NOT NULL,
    withdrawn INTEGER NOT NULL DEFAULT 0,
    sender TEXT,
    UNIQUE (School, UPN, valid_from)
);
CREATE TRIGGER ULN_CAME AFTER INSERT ON ULN_IN
BEGIN
    UPDATE PUPILS SET ULN = coalesce((
        SELECT ULN FROM ULN_IN WHERE UPN = NEW.UPN AND NOT withdrawn ORDER BY record_version DESC LIMIT 1
    ), '') WHERE UPN = NEW.UPN;
END;
CREATE TRIGGER ULN_CAME_ANEW AFTER UPDATE ON ULN_IN
BEGIN
    UPDATE PUPILS SET ULN = coalesce((
        SELECT ULN FROM ULN_IN WHERE UPN = NEW.UPN AND NOT withdrawn ORDER BY record_version DESC LIMIT 1
    ), '') WHERE UPN = NEW.UPN;
END;
