-- API processes keep the answers of finished jobs; a revocation is what can still change one.

CREATE FUNCTION tell_of_revocation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('jobseal_answers', NEW.id::text);
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION tell_of_revocation FROM PUBLIC;
CREATE TRIGGER revocation AFTER UPDATE OF revoked_at ON jobs FOR EACH ROW
    WHEN (NEW.revoked_at IS DISTINCT FROM OLD.revoked_at) EXECUTE FUNCTION tell_of_revocation();
