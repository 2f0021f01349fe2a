-- Keys that became others: what a sender knew under `old` it knows under `new`. Values are in the order of `names`.
CREATE TABLE warehouse.rekeyed (
    entity text NOT NULL, -- the only one that it holds for; empty: all whose key has these items
    names text[] NOT NULL,
    old text[] NOT NULL,
    new text[] NOT NULL CHECK (new <> old),
    known_position bigint NOT NULL,
    known_from timestamp NOT NULL,
    message text NOT NULL,
    sender text NOT NULL,
    PRIMARY KEY (entity, names, old, new)
);
