-- How often names are borne in the register, as the matcher folds them: counted anew each night. Whoever decides loads them,
-- and loads them again when `version` is another one. What is too rare to tell anything is left out.
CREATE TABLE learners.name_count (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version uuid NOT NULL,
    persons bigint NOT NULL,
    counted_at timestamptz NOT NULL
);

CREATE TABLE learners.name_bearers (
    kind text NOT NULL CHECK (kind IN ('given', 'family')),
    name text NOT NULL,
    bearers integer NOT NULL,
    PRIMARY KEY (kind, name)
);

CREATE TABLE learners.names_together (
    given text NOT NULL,
    family text NOT NULL,
    bearers integer NOT NULL,
    PRIMARY KEY (given, family)
);

-- Whose number stays when a pair is one person, where a clerk said so; else the one that was given first.
ALTER TABLE learners.review ADD COLUMN master uuid;

-- The clerk of the register of learners has a role of his own.
ALTER TABLE identity.person DROP CONSTRAINT person_role_check;
ALTER TABLE identity.person ADD CONSTRAINT person_role_check
CHECK (role IN ('school', 'authority', 'operator', 'governance', 'analyst', 'learner', 'clerk'));
