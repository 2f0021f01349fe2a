-- Named sets of days for schedules, published by those who know them. Opaque to the hub.
CREATE TABLE hub.calendar (
    name text NOT NULL,
    day date NOT NULL,
    PRIMARY KEY (name, day)
);
