-- Who made a version that no file brought: the id of the person who keeps the provider's own entries.
ALTER TABLE providers.version ADD COLUMN made_by text;
CREATE INDEX version_by_load ON providers.version (load);

-- Every word that people may search for. Words are never taken away: one that nothing has any more finds nothing.
CREATE TABLE providers.word (
    word text COLLATE "C" PRIMARY KEY
);

INSERT INTO providers.word (word)
SELECT DISTINCT lexeme
FROM providers.organisation, unnest(tsvector_to_array(search)) AS lexeme
WHERE lexeme ~ '^[a-z]{3,}$';

-- As before, and with trading names and numbers of the other nations. Rows written before have none of these.
CREATE OR REPLACE FUNCTION providers.search_words(facts jsonb) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN array_to_tsvector(
    array_remove(
        string_to_array(
            providers.plain(
                concat_ws(
                    ' ',
                    facts ->> 'name', facts ->> 'town', facts ->> 'locality', facts ->> 'la_name',
                    facts ->> 'postcode', replace(facts ->> 'postcode', ' ', ''),
                    facts ->> 'urn', facts ->> 'ukprn', facts ->> 'laestab',
                    facts ->> 'la_code', facts ->> 'establishment_number', facts ->> 'group_uid', facts ->> 'group_id',
                    facts ->> 'trading_names', facts ->> 'legal_name', facts ->> 'school_number'
                )
            ),
            ' '
        ),
        ''
    )
);

-- What became of each link and membership, load by load. `relation` is link or membership, `other` a URN or group UID.
CREATE TABLE providers.link_version (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    relation text NOT NULL,
    urn text NOT NULL,
    other text NOT NULL,
    link_type text NOT NULL,
    what text NOT NULL,
    name text,
    since date,
    load bigint NOT NULL REFERENCES providers.load,
    recorded_at timestamptz NOT NULL
);

CREATE INDEX link_version_by_urn ON providers.link_version (urn);
CREATE INDEX link_version_by_load ON providers.link_version (load);

INSERT INTO providers.link_version (relation, urn, other, link_type, what, name, since, load, recorded_at)
SELECT 'link', urn, link_urn, link_type, 'added', link_name, established, load, recorded_at
FROM providers.link
UNION ALL
SELECT 'membership', urn, group_uid, '', 'added', NULL, joined, load, recorded_at
FROM providers.membership;

-- A range of versions is told to each audience by itself: the warehouse, and those who subscribe to changes.
ALTER TABLE providers.announcement ADD COLUMN audience text NOT NULL DEFAULT 'warehouse';
DROP INDEX providers.announcement_last;
CREATE INDEX announcement_last ON providers.announcement (audience, last_position);
