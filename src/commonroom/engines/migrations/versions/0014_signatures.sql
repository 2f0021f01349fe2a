-- The name of a key: its RFC 7638 thumbprint, so that whoever holds the key knows its name.
CREATE FUNCTION identity.thumbprint(use text, public_key bytea) RETURNS text
LANGUAGE sql IMMUTABLE STRICT
RETURN translate(rtrim(encode(sha256(convert_to(
    '{"crv":"' || CASE use WHEN 'sig' THEN 'Ed25519' ELSE 'X25519' END || '","kty":"OKP","x":"'
        || translate(rtrim(encode(public_key, 'base64'), '='), '+/', '-_') || '"}', 'UTF8'
)), 'base64'), '='), '+/', '-_');

-- Every key an end point has or had. Nothing is ever removed: what an old key signed must stay verifiable.
CREATE TABLE identity.end_point_key (
    end_point uuid NOT NULL REFERENCES identity.end_point,
    use text NOT NULL CHECK (use IN ('sig', 'enc')),  -- Ed25519 signs, X25519 is encrypted to
    public_key bytea NOT NULL CHECK (length(public_key) = 32),
    kid text NOT NULL GENERATED ALWAYS AS (identity.thumbprint(use, public_key)) STORED,
    -- Real time, like everything of signing in.
    valid_from timestamptz NOT NULL DEFAULT clock_timestamp(),
    valid_until timestamptz,
    PRIMARY KEY (end_point, kid)
);

CREATE INDEX end_point_key_ending ON identity.end_point_key (valid_until) WHERE valid_until IS NOT NULL;

INSERT INTO identity.end_point_key (end_point, use, public_key, valid_from, valid_until)
SELECT id, 'sig', public_key, enrolled_at, revoked_at FROM identity.end_point;

-- By trigger, so that no way of enrolling or revoking an end point can forget its keys.
CREATE FUNCTION identity.end_point_enrolled() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO identity.end_point_key (end_point, use, public_key, valid_from, valid_until)
    VALUES (NEW.id, 'sig', NEW.public_key, NEW.enrolled_at, NEW.revoked_at);
    RETURN NULL;
END
$$;

CREATE TRIGGER enrolled AFTER INSERT ON identity.end_point
FOR EACH ROW EXECUTE FUNCTION identity.end_point_enrolled();

CREATE FUNCTION identity.end_point_revoked() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    UPDATE identity.end_point_key SET valid_until = NEW.revoked_at
    WHERE end_point = NEW.id AND (valid_until IS NULL OR valid_until > NEW.revoked_at);
    RETURN NULL;
END
$$;

CREATE TRIGGER revoked AFTER UPDATE OF revoked_at ON identity.end_point
FOR EACH ROW WHEN (NEW.revoked_at IS NOT NULL) EXECUTE FUNCTION identity.end_point_revoked();

-- Hub processes remember tokens and keys; they listen here, and look by themselves every second.
CREATE FUNCTION identity.key_ended() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    NOTIFY identity_key_ended;
    RETURN NULL;
END
$$;

CREATE TRIGGER ended AFTER UPDATE OF valid_until ON identity.end_point_key
FOR EACH STATEMENT EXECUTE FUNCTION identity.key_ended();
