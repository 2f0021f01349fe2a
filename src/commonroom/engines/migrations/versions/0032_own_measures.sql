-- Measures of schools, authorities and trusts of their own: each as it was written, checked before it came here.
CREATE TABLE warehouse.own_measure (
    owner text NOT NULL, -- the party that defined it
    name text NOT NULL,
    declaration text NOT NULL CHECK (length(declaration) <= 16384),
    defined_at timestamptz NOT NULL,
    PRIMARY KEY (owner, name)
);
