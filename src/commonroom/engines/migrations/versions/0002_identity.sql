CREATE SCHEMA IF NOT EXISTS identity;

-- Software that speaks for an organisation: an agent, the warehouse, a register.
CREATE TABLE identity.end_point (
    id uuid PRIMARY KEY,
    party text NOT NULL,                      -- urn:commonroom:org:<uuid>
    name text NOT NULL,                       -- what its owner calls it; never a person
    public_key bytea NOT NULL CHECK (length(public_key) = 32),  -- Ed25519
    enrolled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz,
    revoked_by text
);

CREATE INDEX end_point_by_party ON identity.end_point (party);

-- One-time codes. Only the hash is kept; a code has 160 random bits, so a plain SHA-256 cannot be searched.
CREATE TABLE identity.enrolment_code (
    code_hash bytea PRIMARY KEY,
    party text NOT NULL,
    issued_by text NOT NULL,
    issued_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    end_point uuid REFERENCES identity.end_point (id),
    CHECK ((used_at IS NULL) = (end_point IS NULL))
);

-- Assertions already exchanged for a token. Logged, so that a crash of the database opens no window for a replay.
CREATE TABLE identity.used_assertion (
    jti_hash bytea PRIMARY KEY,               -- over end point and jti
    expires_at timestamptz NOT NULL
);

CREATE INDEX used_assertion_by_expiry ON identity.used_assertion (expires_at);

CREATE TABLE identity.person (
    id uuid PRIMARY KEY,
    username text NOT NULL UNIQUE,            -- normalised: NFKC, case folded
    password_hash text NOT NULL,              -- argon2id
    role text NOT NULL CHECK (role IN ('school', 'authority', 'operator', 'governance', 'analyst', 'learner')),
    party text,
    name text NOT NULL,
    added_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    suspended_at timestamptz,
    -- Who acts for an organisation must say which; nobody else may seem to.
    CHECK ((role IN ('school', 'authority')) = (party IS NOT NULL))
);

CREATE TABLE identity.session (
    token_hash bytea PRIMARY KEY,
    person uuid NOT NULL REFERENCES identity.person (id) ON DELETE CASCADE,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL
);

CREATE INDEX session_by_person ON identity.session (person);
CREATE INDEX session_by_expiry ON identity.session (expires_at);

-- Attempts to sign in since the last success, by the hash of the username, whether there is such a person or not.
CREATE TABLE identity.sign_in_attempt (
    username_hash bytea PRIMARY KEY,
    attempts integer NOT NULL,
    last_at timestamptz NOT NULL,
    blocked_until timestamptz NOT NULL
);

CREATE INDEX sign_in_attempt_by_time ON identity.sign_in_attempt (last_at);
