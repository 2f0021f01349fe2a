-- Figures as they were released, and what was hidden of them: never decided again, for whoever kept them has them still.
CREATE TABLE warehouse.release (
    -- A measure with what hangs together with it, in a term or year; the moment; and the part that was asked for.
    publication text NOT NULL,
    moment timestamptz NOT NULL,
    part text NOT NULL,
    -- As of which state of the warehouse it was worked out.
    batch bigint NOT NULL,
    position bigint NOT NULL,
    figures bytea NOT NULL,
    is_empty boolean NOT NULL,  -- nothing was known of it
    PRIMARY KEY (publication, moment, part)
);

-- What each release added to what is known of a publication: values, whether they were hidden, the sums they are in.
CREATE TABLE warehouse.decision (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    publication text NOT NULL,
    moment timestamptz NOT NULL,
    decided bytea NOT NULL
);

CREATE INDEX decision_of_publication ON warehouse.decision (publication, number);
